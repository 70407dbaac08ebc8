import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client'
import { translatingErrors } from './store-error.ts'

/** A report reads much and may take its time, but not forever. It must end before the client gives up (20 s). */
const REPORT_SECONDS_MAX = 18

export interface ReportStatement {
  /** Says in errors what could not be done. */
  readonly what: string
  readonly query: string
  readonly params: Readonly<Record<string, string | number | readonly string[] | readonly number[]>>
  readonly settings?: ClickHouseSettings
}

/** Rows of a statement one by one, however many. Parameters beyond 4 KB travel in the body: URLs end at 8 or 16 KB in many a proxy. */
export async function* streamRows<T>(client: ClickHouseClient, statement: ReportStatement): AsyncGenerator<T> {
  const { what, query, params, settings } = statement
  const answer = await translatingErrors(what, () =>
    client.query({
      query,
      query_params: { ...params },
      format: 'JSONEachRow',
      clickhouse_settings: { max_execution_time: REPORT_SECONDS_MAX, ...settings },
      use_multipart_params_auto: true
    })
  )
  const batches = answer.stream<T>()[Symbol.asyncIterator]()
  try {
    for (;;) {
      const batch = await translatingErrors(what, () => batches.next())
      if (batch.done) return
      for (const row of batch.value) yield row.json()
    }
  } finally {
    answer.close()
  }
}
