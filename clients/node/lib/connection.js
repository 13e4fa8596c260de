// One connection to one peer.
'use strict'

const { EventEmitter } = require('node:events')
const { P2PError, native } = require('./errors')
const { P2PStream } = require('./stream')
const { tell } = require('./tell')

/** How long `close()` waits for the peer to have what was sent, in milliseconds. */
const GOODBYE_MS = 5000

/** A connection. Emits `message`, `stream`, `drain`, `pathchange` and, once, `close`. */
class Connection extends EventEmitter {
  #native
  #last = { path: null, verdict: null, stats: null }
  #closing = null
  #closed = false
  #ended
  #messages = { backlog: [], pump: null }
  #streams = { backlog: [], pump: null }
  #openStreams = new Set()

  constructor(connection) {
    super()
    this.#native = connection
    /** The other peer, as the coordinator named it and its key has proven. */
    this.peerId = connection.peer
    /** The attempt that this connection came of; the same on both sides. */
    this.id = connection.attempt
    // Messages and streams are fetched while somebody listens, so none is lost before that.
    this.on('newListener', (event) => {
      if (event === 'message') queueMicrotask(() => this.#pumpMessages())
      if (event === 'stream') queueMicrotask(() => this.#pumpStreams())
    })
    this.#ended = this.#watch()
  }

  /** The path at the moment; `null` while one is being looked for. */
  get path() {
    return this.#native ? this.#native.path() : this.#last.path
  }

  /** The verdict on the attempt so far. */
  get verdict() {
    return this.#native ? this.#native.verdict() : this.#last.verdict
  }

  /** Whether the connection has ended. */
  get closed() {
    return this.#closed
  }

  /** What the connection has carried. */
  stats() {
    return this.#native ? this.#native.stats() : this.#last.stats
  }

  /**
   * Sends a message: text arrives as a string, bytes as a Buffer.
   *
   * @param {string | ArrayBuffer | ArrayBufferView} data at most 16 MiB
   * @returns {boolean} `false` when it is enough for now: wait for `drain`
   */
  send(data) {
    const connection = this.#open()
    if (typeof data === 'string') return native(() => connection.sendText(data))
    const bytes = bytesOf(data)
    if (bytes) return native(() => connection.sendBinary(bytes))
    const kind = data === null ? 'null' : typeof data
    throw new P2PError(
      'usage',
      `send() expects a string, a Buffer or other bytes, got ${kind}`,
      'turn objects into text with JSON.stringify()',
    )
  }

  /** Opens a stream; the other side gets it by the event `stream`, with its first byte. */
  async openStream() {
    const connection = this.#open()
    return this.#keep(await native(() => connection.openStream()))
  }

  /** Asks the other side's client for an answer; the round trip in milliseconds. */
  async ping() {
    const connection = this.#open()
    return native(() => connection.ping())
  }

  /**
   * Closes the connection when the peer has the messages sent so far, or after 5 s.
   * Resolves when it is closed. Doing it again changes nothing.
   *
   * @param {string} [reason] told to the peer
   */
  close(reason = '') {
    this.#closing ??= this.#close(reason)
    return this.#closing
  }

  async #close(reason) {
    const connection = this.#native
    if (connection) {
      await native(() => connection.goodbye(String(reason), GOODBYE_MS))
      connection.close(String(reason))
    }
    await this.#ended
  }

  #open() {
    if (!this.#native || this.#closing) {
      throw new P2PError('closed', 'the connection is closed', 'connect again')
    }
    return this.#native
  }

  async #watch() {
    for (;;) {
      const news = await this.#native.news()
      if (news.path) tell(this, 'pathchange', this.path)
      if (news.drain) tell(this, 'drain')
      if (news.closed !== undefined && news.closed !== null) {
        // What came before the end is told before the end.
        await this.#messages.pump
        this.#end(this.#closing ? 'closed here' : news.closed)
        return
      }
    }
  }

  #keep(nativeStream) {
    const stream = new P2PStream(nativeStream)
    this.#openStreams.add(stream)
    stream.once('close', () => this.#openStreams.delete(stream))
    return stream
  }

  #end(reason) {
    const connection = this.#native
    this.#last = {
      path: connection.path(),
      verdict: connection.verdict(),
      stats: connection.stats(),
    }
    this.#native = null
    this.#closed = true
    connection.release()
    // A stream with something left to read has its reader told by that; the others wait for nothing.
    for (const stream of this.#openStreams) if (stream.readableEnded) stream.destroy()
    tell(this, 'close', reason)
  }

  #pumpMessages() {
    const values = (batch) => batch.map(({ binary, text }) => binary ?? text)
    this.#pump('message', this.#messages, async (connection) => {
      const batch = await connection.messages()
      return batch && values(batch)
    })
  }

  #pumpStreams() {
    this.#pump('stream', this.#streams, async (connection) => {
      const stream = await connection.nextStream()
      return stream && [this.#keep(stream)]
    })
  }

  #pump(event, state, next) {
    if (state.pump || !this.#native) return
    state.pump = this.#fetch(event, state, next, this.#native).finally(() => {
      state.pump = null
    })
  }

  async #fetch(event, state, next, connection) {
    while (this.listenerCount(event) > 0) {
      if (state.backlog.length > 0) {
        tell(this, event, state.backlog.shift())
        continue
      }
      const batch = await next(connection)
      if (!batch) return
      state.backlog.push(...batch)
    }
  }
}

/**
 * The bytes of what `send()` takes besides text; `null` where it is no bytes.
 *
 * @param {unknown} data
 */
function bytesOf(data) {
  try {
    if (data instanceof ArrayBuffer) return new Uint8Array(data)
    if (!ArrayBuffer.isView(data)) return null
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  } catch (cause) {
    const text = 'send() expects bytes that are still there, got a buffer that was transferred away'
    throw new P2PError('usage', text, 'send them before they are transferred, or a copy', { cause })
  }
}

module.exports = { Connection }
