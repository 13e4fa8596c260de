// A stream of a connection's as a Node stream.
'use strict'

const { Duplex } = require('node:stream')
const { native } = require('./errors')

/** Bytes both ways, in order, with back-pressure. Ending one direction leaves the other open. */
class P2PStream extends Duplex {
  #native

  constructor(stream) {
    super({ allowHalfOpen: true, highWaterMark: 256 * 1024 })
    this.#native = stream
  }

  _read() {
    native(() => this.#native.read()).then(
      (bytes) => this.push(bytes),
      (error) => this.destroy(error),
    )
  }

  _write(chunk, encoding, done) {
    native(() => this.#native.write(chunk)).then(() => done(), done)
  }

  _writev(chunks, done) {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'buffer', done)
  }

  _final(done) {
    native(() => this.#native.finish()).then(() => done(), done)
  }

  _destroy(error, done) {
    this.#native.destroy()
    done(error)
  }
}

module.exports = { P2PStream }
