// The WebSocket to signaling, subprotocol p2p.v1.

import { Fault } from './api.js'

const PATIENCE = 10_000

/** A WebSocket that the server has taken the token on. Nobody is registered before `hello`. */
export class Session {
  #socket
  #waiting = new Set()
  #said
  #pings = 0

  /** Opens one. */
  static async open(token) {
    const url = new URL('v1/ws', document.baseURI)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const session = new Session(new WebSocket(url, ['p2p.v1', `bearer.${token}`]))
    await session.#opened()
    return session
  }

  /** What to do with frames that nobody waits for, and with the end. */
  onframe = () => {}
  onend = () => {}

  constructor(socket) {
    this.#socket = socket
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data))
    socket.onclose = ({ code, reason }) => this.#end(code, reason)
  }

  send(frame) {
    this.#socket.send(JSON.stringify(frame))
  }

  /** Sends a frame and waits for what answers it; an error with its id does, too. */
  async request(frame, passes, patience = PATIENCE) {
    const answer = this.next(passes, { id: frame.id, patience })
    this.send(frame)
    return answer
  }

  /** The next frame that passes. Fails on an error with this id, and when the connection ends. */
  next(passes, { id, patience = PATIENCE } = {}) {
    return new Promise((resolve, reject) => {
      const waiter = { passes, id }
      const settle = (how) => (what) => {
        clearTimeout(timer)
        this.#waiting.delete(waiter)
        how(what)
      }
      const timer = setTimeout(
        () => waiter.reject(new Fault('No answer', `nothing came within ${patience / 1000} s`, SILENCE)),
        patience,
      )
      Object.assign(waiter, { resolve: settle(resolve), reject: settle(reject) })
      this.#waiting.add(waiter)
      if (this.#said) waiter.reject(this.#said)
    })
  }

  /** The round trip of one ping, in milliseconds. */
  async ping() {
    const id = `ping-${(this.#pings += 1)}`
    const started = performance.now()
    await this.request({ type: 'ping', id }, (frame) => frame.type === 'pong' && frame.id === id)
    return performance.now() - started
  }

  close() {
    this.onend = () => {}
    this.#socket.close(1000)
  }

  async #opened() {
    if (this.#socket.readyState === WebSocket.OPEN) return
    await new Promise((resolve, reject) => {
      this.#socket.onopen = resolve
      const failed = () => reject(new Fault('The WebSocket does not open', NOT_OPENED, UPGRADES))
      const timer = setTimeout(() => {
        failed()
        this.#socket.close()
      }, PATIENCE)
      this.#socket.addEventListener('open', () => clearTimeout(timer))
      this.#socket.addEventListener('close', failed)
    })
  }

  #take(frame) {
    // An error without an id comes before the server closes, and says why it does.
    if (frame.type === 'error' && frame.id === undefined) {
      this.#said = new Fault('The server refuses', frame.message, frame.fix, { code: frame.code })
      return
    }
    const refused = frame.type === 'error'
    const waiter = [...this.#waiting].find((one) => (refused ? one.id === frame.id : one.passes(frame)))
    if (waiter && refused) {
      waiter.reject(new Fault('The server refuses', frame.message, frame.fix, { code: frame.code }))
      return
    }
    if (waiter) {
      waiter.resolve(frame)
      return
    }
    this.onframe(frame)
  }

  #end(code, reason) {
    const [cause, fix] = ENDS[code] ?? [`the connection ended with code ${code}${reason && `: ${reason}`}`, SILENCE]
    this.#said ??= new Fault('The connection ended', cause, fix, { code: String(code) })
    for (const waiter of [...this.#waiting]) waiter.reject(this.#said)
    this.onend(this.#said)
  }
}

const SILENCE = 'look whether a proxy in front of the server cuts WebSockets that are open'
const NOT_OPENED = 'HTTP reaches the server and the upgrade to a WebSocket does not come back'
const UPGRADES =
  'let the proxy in front of the server pass on `Upgrade` and `Connection`, and its own idle timeout be above a minute; or the instance is full, and says so at /metrics'

/** Close codes whose reason the server says in no frame. */
const ENDS = {
  1006: ['the connection broke', SILENCE],
  1013: ['the server cannot take it at the moment', 'try again in a few seconds'],
  4409: ['another connection registered with the same peer id', 'give each copy a token of its own'],
  4503: ['the server is shutting down', 'try again: another instance answers, or this one restarted'],
}
