// Errors that a person can act on: a code for programs, a message, and what to do about it.
'use strict'

/** An error with a `code` for programs and a `fix` for people. */
class P2PError extends Error {
  /**
   * @param {string} code what went wrong, for programs
   * @param {string} message what went wrong, for people
   * @param {string} fix what to do about it
   * @param {{ cause?: unknown }} [options]
   */
  constructor(code, message, fix, options) {
    super(message, options)
    this.name = 'P2PError'
    this.code = code
    this.fix = fix
  }
}

/**
 * Takes an error of the addon apart, which carries its parts as JSON.
 *
 * @param {unknown} error
 * @returns {P2PError}
 */
function fromNative(error) {
  if (error instanceof P2PError) return error
  const text = error instanceof Error ? error.message : String(error)
  try {
    const { code, message, fix } = JSON.parse(text)
    return new P2PError(code, message, fix)
  } catch {
    return new P2PError('internal', text, 'this is a bug: please report it', { cause: error })
  }
}

/**
 * Calls the addon; what it throws or rejects with comes out as a {@link P2PError}.
 *
 * @template T
 * @param {() => T} work
 * @returns {T}
 */
function native(work) {
  try {
    const result = work()
    if (!(result instanceof Promise)) return result
    return result.catch((error) => {
      throw fromNative(error)
    })
  } catch (error) {
    throw fromNative(error)
  }
}

/** The error of a call that comes before `initialize()` or after `shutdown()`. */
function notRunning(stopped) {
  return stopped
    ? new P2PError('closed', 'P2P is shut down', 'make a new P2PCoordinator')
    : new P2PError('not_initialized', 'P2P is not initialized', 'await initialize() first')
}

/** Why `initialize()` has failed, in the words of the troubleshooting list. */
function initializationFailed(error) {
  const { code, message, fix } = fromNative(error)
  if (code === 'closed') return fromNative(error)
  if (code === 'port_taken') {
    const port = /^Port \d+ already in use/.exec(message)
    return new P2PError(code, port ? port[0] : message, fix, { cause: error })
  }
  return new P2PError(code, `P2P initialization failed: ${message}`, fix, { cause: error })
}

/** Why `connectToPeer()` has failed, in the words of the troubleshooting list. */
function connectionFailed(error, peerId) {
  const { code, message, fix } = fromNative(error)
  if (code === 'peer_not_found') {
    return new P2PError(code, `Peer not found: ${peerId}`, fix, { cause: error })
  }
  if (code === 'timeout' && !message.startsWith('Connection timeout')) {
    return new P2PError(code, `Connection timeout: ${message}`, fix, { cause: error })
  }
  return fromNative(error)
}

module.exports = { P2PError, native, notRunning, initializationFailed, connectionFailed }
