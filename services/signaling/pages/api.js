// Questions to this server. Addresses are relative, so that a path in front of the pages goes along.

/** What went wrong, why, and what helps: the server's words where it has any. */
export class Fault extends Error {
  constructor(title, cause, fix, { code = '', status = 0 } = {}) {
    super(cause ? `${title}: ${cause}` : title)
    Object.assign(this, { title, cause, fix, code, status })
  }
}

/** How long an answer is waited for. The server itself gives up after ten seconds. */
const PATIENCE = 12_000

/** Asks for a path; the answer, if it is one of success. */
export async function ask(path, { token, signal } = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {}
  const patience = AbortSignal.timeout(PATIENCE)
  const either = signal ? AbortSignal.any([signal, patience]) : patience
  let answer
  try {
    answer = await fetch(new URL(path, document.baseURI), { headers, signal: either, cache: 'no-store' })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Fault(
      'The server does not answer',
      patience.aborted ? `nothing came within ${PATIENCE / 1000} s` : 'the connection failed',
      'look whether the server runs and this device is online; it is asked again by itself',
      { code: 'unreachable' },
    )
  }
  if (answer.ok) return answer
  throw await problem(answer)
}

/** The same, as JSON. */
export const askJson = async (path, options) => (await ask(path, options)).json()

async function problem(answer) {
  let told = {}
  try {
    if (answer.headers.get('content-type')?.includes('json')) told = await answer.json()
  } catch {
    // A proxy's page, or half an answer: the status says what there is to say.
  }
  return new Fault(
    told.title ?? `The server answered ${answer.status}`,
    told.detail ?? 'the answer is not in the words of P2P Coordinator',
    told.fix ?? 'look at what stands between this browser and the server, such as a proxy',
    { code: told.code ?? '', status: answer.status },
  )
}
