/**
 * Reads just enough of a ClickHouse statement to do what the server does around one: give it the settings of the request,
 * keep an INSERT's data apart from its head, and refuse two statements in one request. The engine parses the rest.
 */

export type Settings = Readonly<Record<string, string>>

export interface InsertStatement {
  /** `INSERT INTO t (a, b)`, as written. */
  head: string
  target: string
  /** The column list as written, without its parentheses; null when there is none. */
  columns: string | null
  /** What follows the head, from SETTINGS, FORMAT, VALUES, SELECT or WITH on, without the data of a FORMAT clause. */
  tail: string
  /** Null for VALUES and SELECT, which have no data apart from their text. */
  format: string | null
  /** Data that stands in the statement's own text, after FORMAT <name>. */
  inlineData: string
}

const SPACE = String.raw`(?:\s|--[^\n]*(?:\n|$)|/\*[\s\S]*?\*/)`
const NAME = String.raw`(?:[A-Za-z_]\w*|${'`'}(?:[^${'`'}\\]|\\.)*${'`'}|"(?:[^"\\]|\\.)*")`
const INSERT_HEAD = new RegExp(
  String.raw`^${SPACE}*insert${SPACE}+into${SPACE}+(?:table${SPACE}+)?(${NAME}(?:\.${NAME})*)${SPACE}*`,
  'i'
)
const FORMAT_CLAUSE = new RegExp(
  String.raw`^((?:settings\b(?:[^'f]|f(?!ormat\b)|'(?:[^'\\]|\\.)*')*)?)format${SPACE}+(\w+)[ \t]*;?(?:\r?\n|$|[ \t]*)`,
  'i'
)
const FIRST_WORD = new RegExp(String.raw`^(?:${SPACE}|\()*(\w+)`)
const QUOTED_OR_COMMENT = /'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`|--[^\n]*|\/\*[\s\S]*?\*\//g

export function firstWord(sql: string): string {
  return FIRST_WORD.exec(sql)?.[1]?.toUpperCase() ?? ''
}

/** Null when the statement is no INSERT into a named table (an INSERT INTO FUNCTION is run as it is written). */
export function parseInsert(sql: string): InsertStatement | null {
  const match = INSERT_HEAD.exec(sql)
  const target = match?.[1]
  if (match === null || target === undefined) return null
  const columnsEnd = sql[match[0].length] === '(' ? findClosing(sql, match[0].length) : match[0].length
  const columns = columnsEnd === match[0].length ? null : sql.slice(match[0].length + 1, columnsEnd - 1)
  const head = sql.slice(0, columnsEnd).trim()
  const rest = sql.slice(columnsEnd).trimStart()
  const clause = FORMAT_CLAUSE.exec(rest)
  if (clause === null) return { head, target, columns, tail: rest, format: null, inlineData: '' }
  const [text, settings = '', format = ''] = clause
  return { head, target, columns, tail: `${settings}FORMAT ${format}`, format, inlineData: rest.slice(text.length) }
}

/** The position after the parenthesis that closes the one at `open`. */
function findClosing(sql: string, open: number): number {
  let depth = 0
  for (let position = open; position < sql.length; position++) {
    if (sql[position] === '(') depth++
    if (sql[position] === ')' && --depth === 0) return position + 1
  }
  return sql.length
}

export function hasSeveralStatements(sql: string): boolean {
  return /;\s*\S/.test(sql.replace(QUOTED_OR_COMMENT, (text) => (/^(?:--|\/\*)/.test(text) ? ' ' : 'x')))
}

/** A SETTINGS clause; numbers bare, everything else as a quoted string. */
export function formatSettings(settings: Settings): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = ${/^-?\d{1,15}$/.test(value) ? value : quote(value)}`)
    .join(', ')
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n')}'`
}

/** An INSERT with the request's settings before its own, so that those the statement names win. */
export function addSettingsToInsert({ head, tail }: InsertStatement, settings: Settings): string {
  const clause = formatSettings(settings)
  if (clause === '') return `${head} ${tail}`
  const own = /^settings\b/i.exec(tail)
  return own === null
    ? `${head} SETTINGS ${clause} ${tail}`
    : `${head} SETTINGS ${clause}, ${tail.slice(own[0].length)}`
}

/** Definitions whose own SETTINGS clause belongs to what they define; FORMAT Null in between keeps the two apart. */
const DEFINITION =
  /^(?:create|attach|replace)\b(?:\s+(?:or\s+replace|temporary|materialized|live|window))*\s+(?:table|database|view|dictionary)\b/i
/** Statements whose grammar ends without a SETTINGS clause, and which no setting of a request could change. */
const WITHOUT_SETTINGS = /^(?:set|use|system|grant|revoke|kill|create|attach|replace)\b/i
const OWN_SETTINGS = /\bsettings\s+\w+\s*=(?:[^'"`)]|'(?:[^'\\]|\\.)*')*$/i

/**
 * Settings go into the statement, never into a SET of their own: the session outlives the request, and SET would leave
 * them on for whoever comes next. What the statement sets itself wins.
 */
export function addSettings(sql: string, settings: Settings): string {
  const statement = sql.replace(/[\s;]+$/, '')
  const start = statement.replace(new RegExp(`^${SPACE}+`), '')
  if (DEFINITION.test(start)) return appendClause(statement, 'FORMAT Null SETTINGS', settings)
  if (WITHOUT_SETTINGS.test(start)) return statement
  const own = OWN_SETTINGS.exec(statement)?.[0]
  if (own === undefined) return appendClause(statement, 'SETTINGS', settings)
  const others = Object.entries(settings).filter(([name]) => !new RegExp(`\\b${name}\\s*=`).test(own))
  return appendClause(statement, ',', Object.fromEntries(others))
}

function appendClause(statement: string, separator: string, settings: Settings): string {
  const clause = formatSettings(settings)
  return clause === '' ? statement : `${statement}\n${separator} ${clause}`
}

/** A statement that changes its session, which therefore must not serve another request. */
export function changesSession(sql: string): boolean {
  return /^(?:SET|USE)$/.test(firstWord(sql)) || /^\s*create\s+(?:or\s+replace\s+)?temporary\b/i.test(sql)
}
