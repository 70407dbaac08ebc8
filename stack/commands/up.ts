/** `npm run stack:up`: brings the services up, leaves them running and prints their URLs. */
import { createProgress } from '../machine/progress.ts'
import { startServices } from '../services.ts'

const { urls } = await startServices({ onProgress: createProgress() })
for (const [name, url] of Object.entries(urls)) console.log(`${name}=${url}`)
