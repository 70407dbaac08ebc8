/** The five kinds of token a provider bills apart. They are exclusive: a token stands in exactly one pool. */
export const TOKEN_POOLS = ['input', 'cacheRead', 'cacheWrite', 'output', 'reasoning'] as const

export type TokenPool = (typeof TOKEN_POOLS)[number]

/**
 * Tokens by pool, integers. In a usage event each lies in [0, 2^53) and so does their sum; in a correction each lies in
 * (-2^53, 0]. `input` excludes what was read from or written to a cache, `output` excludes reasoning.
 */
export type TokenPools = Readonly<Record<TokenPool, number>>

export const NO_TOKENS: TokenPools = { input: 0, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 }

export function totalTokens(tokens: TokenPools): number {
  return tokens.input + tokens.cacheRead + tokens.cacheWrite + tokens.output + tokens.reasoning
}
