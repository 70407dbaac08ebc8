/** `npm run stack:status [-- --json]`: each service with its URL, process and whether it answers. Ends with 1 if one is down. */
import { parseArgs } from 'node:util'
import { listRunningInDocker } from '../machine/docker.ts'
import { describeServers, readStackRecord, stackFolder } from '../services.ts'

interface ServiceStatus {
  name: string
  state: 'up' | 'down'
  pid: number | null
  url: string | null
}

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false } } })
const statuses = await readStatuses()
if (values.json) console.log(JSON.stringify(statuses, null, 2))
else printTable(statuses)
if (statuses.some(({ state }) => state === 'down')) process.exitCode = 1

async function readStatuses(): Promise<ServiceStatus[]> {
  const record = readStackRecord(stackFolder())
  const runningInDocker = record?.provider === 'docker' ? listRunningInDocker(stackFolder()) : []
  return Promise.all(
    Object.values(describeServers(stackFolder())).map(async (server): Promise<ServiceStatus> => {
      const { name, pid } = server
      const isUp = runningInDocker.includes(name) || (await server.answers(3_000))
      const url = record?.services.find((service) => service.name === name)?.url ?? null
      return { name, state: isUp ? 'up' : 'down', pid, url }
    })
  )
}

function printTable(rows: readonly ServiceStatus[]): void {
  console.log('service     state  process  url')
  for (const { name, state, pid, url } of rows) {
    const shownUrl = (url ?? '-').replace(/:[^:@/]*@/, ':***@')
    console.log(`${name.padEnd(12)}${state.padEnd(7)}${String(pid ?? '-').padEnd(9)}${shownUrl}`)
  }
}
