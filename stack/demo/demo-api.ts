/** The API as the demo calls it: JSON in and out, and whatever is not well done ends the demo. */

export interface DemoApi {
  readonly url: string
  readonly key: string
}

/** Throws unless it answers 2xx. */
export async function send<T>({ url, key }: DemoApi, request: string, body?: object): Promise<T> {
  const [method = 'GET', path = ''] = request.split(' ')
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) })
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${request} answered ${response.status}: ${text}`)
  return JSON.parse(text)
}
