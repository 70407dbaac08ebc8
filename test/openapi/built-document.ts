import { openapi } from '../../api/openapi.ts'
import { startTestApp } from '../../api/ports-in-memory.ts'

/** The OpenAPI document of the app as it is built: of its routes alone, so that no service has to run. */
export async function builtDocument(): Promise<object> {
  const { app } = await startTestApp()
  try {
    return openapi(app)
  } finally {
    await app.close()
  }
}
