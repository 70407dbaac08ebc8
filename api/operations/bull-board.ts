/**
 * The job queues in a browser, at /operations/queues: what waits, runs and failed, with the stack; a failed job can be tried again.
 * Bull Board has no access rules of its own: each of its routes gets ours. A browser sends no header of its own accord, so here, and
 * nowhere else, the key may be the password of HTTP Basic. A browser that knows the password sends it along with whatever another
 * site has it ask for, so what changes something has to come from the board's own pages.
 */
import { createBullBoard } from '@bull-board/api'
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter'
import { FastifyAdapter } from '@bull-board/fastify'
import { PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { handleError, ProblemError } from '../problem.ts'
import type { BoardQueue } from './board-queue.ts'

export const BOARD_PREFIX = '/operations/queues'

/** Its page has scripts, styles and pictures of its own, and addresses relative to `base`. The fonts of another host stay out. */
const BOARD_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD'])

/** Without a queue there is no board. */
export async function bullBoard(app: Api, { jobQueues }: { readonly jobQueues: readonly BoardQueue[] }): Promise<void> {
  if (jobQueues.length === 0) return
  const serverAdapter = new FastifyAdapter().setBasePath(BOARD_PREFIX)
  createBullBoard({
    queues: jobQueues.map((queue) => new BullMQAdapter(queue)),
    serverAdapter,
    options: { uiConfig: { boardTitle: 'tokenmeter', hideDocsLink: true, hideRedisDetails: true } }
  })
  await app.register(async (scope: Api) => {
    scope.addHook('onRoute', (route) => {
      const access = { scope: 'operations', roles: PLATFORM_ONLY } as const
      route.config = { ...route.config, access, takesBasic: true, idempotencyKey: 'ignored' }
      // Its own would answer a refusal of ours with 500.
      route.errorHandler = handleError
    })
    scope.addHook('onRequest', async ({ method, headers }, reply) => {
      const from = headers['sec-fetch-site'] ?? 'same-origin'
      if (!READS.has(method) && from !== 'same-origin')
        throw new ProblemError('access-denied', 'Another site has your browser ask for this.')
      void reply.header('content-security-policy', BOARD_CSP)
    })
    await scope.register(serverAdapter.registerPlugin(), { prefix: BOARD_PREFIX })
  })
}
