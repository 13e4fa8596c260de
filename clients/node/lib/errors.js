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

/** The coordinator does not have this program back: it was replaced, or its token has run out. */
function registrationEnded(code, cause) {
  const text = `the registration has ended: ${cause}`
  return new P2PError(code, text, 'call registerPeer() to register again')
}

/**
 * Why `connectToPeer()` has failed, in the words of the troubleshooting list.
 *
 * @param {unknown} error
 * @param {string} peerId
 * @param {{ connected: boolean, cause: string | null }} signaling
 */
function connectionFailed(error, peerId, signaling) {
  const failed = fromNative(error)
  const { code, message, fix } = failed
  const cause = { cause: error }
  if (code === 'peer_not_found') return new P2PError(code, `Peer not found: ${peerId}`, fix, cause)
  if (code !== 'timeout') return failed
  if (!signaling.connected) {
    const text = `the coordinator is not connected: ${signaling.cause ?? 'no cause is known'}`
    return new P2PError('unreachable', text, 'wait for the coordinator to come back', cause)
  }
  if (message.startsWith('Connection timeout')) return failed
  return new P2PError(code, `Connection timeout: ${message}`, fix, cause)
}

module.exports = {
  P2PError,
  native,
  notRunning,
  initializationFailed,
  connectionFailed,
  registrationEnded,
}
