/** Records that are no usage: what tokenmeter must say of each, by Kafka and by HTTP. */

export interface BadRecord {
  readonly name: string
  readonly value: string
  readonly reason: string
  readonly field: string | null
  /** Null: the body as a whole is refused with this code, record by record it can't be judged. */
  readonly wholeBodyCode?: string
}

export const BAD_CUSTOMER = 'bad-input'

const HOUR_MS = 3_600_000

function event(name: string, data: string, { time = Date.now(), type = '"ai.tokens.used"' } = {}): string {
  return `{"specversion":"1.0","id":"bad ${name}","source":"e2e","type":${type},"subject":"${BAD_CUSTOMER}","time":"${new Date(time).toISOString()}","data":${data}}`
}

function tokens(pools: string): string {
  return `{"model":"gpt-5.1","provider":"openai","tokens":${pools}}`
}

export function badRecords(): BadRecord[] {
  const now = Date.now()
  const ofInput = (name: string, input: string): BadRecord => ({
    name,
    value: event(name, tokens(`{"input":${input}}`)),
    reason: 'invalid-data',
    field: 'data.tokens.input'
  })
  const usage = '{"prompt_tokens":5,"completion_tokens":5,"total_tokens":11}'
  const one = tokens('{"input":1}')
  return [
    ofInput('a negative count', '-1'),
    ofInput('half a token', '1.5'),
    ofInput('a count beyond every double', '1e400'),
    ofInput('2^53 + 1', '9007199254740993'),
    ofInput('a count in quotes', '"7"'),
    {
      name: 'a key that would reach the prototype',
      value: event('prototype', tokens('{"input":1,"__proto__":{"admin":true}}')),
      reason: 'forbidden-key',
      field: '__proto__'
    },
    {
      name: 'half a JSON text',
      value: '{"specversion":"1.0",',
      reason: 'not-json',
      field: null,
      wholeBodyCode: 'malformed-json'
    },
    {
      name: 'another type',
      value: event('type', one, { type: '"com.example.clicked"' }),
      reason: 'unknown-type',
      field: 'type'
    },
    {
      name: 'a value over 64 KB',
      value: event(
        'size',
        `{"model":"gpt-5.1","provider":"openai","tokens":{"input":1},"prompt":"${'x'.repeat(65_536)}"}`
      ),
      reason: 'too-large',
      field: null
    },
    {
      name: 'usage that does not add up',
      value: event('sum', `{"model":"gpt-5.1","provider":"openai","usage":${usage}}`),
      reason: 'usage-does-not-add-up',
      field: 'data.usage.total_tokens'
    },
    {
      name: 'an event two days old',
      value: event('old', one, { time: now - 48 * HOUR_MS }),
      reason: 'too-late',
      field: 'time'
    },
    {
      name: 'an event an hour ahead',
      value: event('ahead', one, { time: now + HOUR_MS }),
      reason: 'too-early',
      field: 'time'
    }
  ]
}
