// Telling listeners, without letting one that throws stop what tells it.
'use strict'

/**
 * Emits an event. A listener that throws is the program's own error: it goes where the errors of
 * timers go, `uncaughtException`, and not up into the code that tells.
 *
 * @param {import('node:events').EventEmitter} emitter
 * @param {string} event
 * @param {...unknown} values
 */
function tell(emitter, event, ...values) {
  try {
    emitter.emit(event, ...values)
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}

module.exports = { tell }
