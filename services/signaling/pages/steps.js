// The list of steps: each waits, runs, and ends in a mark, a time and words.

import { Fault } from './api.js'
import { h, fill, ms, trouble } from './elements.js'

const MARKS = { waiting: '·', running: '', ok: '✔', note: '!', failed: '✘', skipped: '–' }
const WORDS = { waiting: 'waits', running: 'runs', ok: 'ok', note: 'worth a look', failed: 'failed', skipped: 'left out' }

/** Steps in a list of the page; `tell` says their ends to whoever listens to the page. */
export class Steps {
  #list
  #tell
  all = []

  constructor(list, tell = () => {}) {
    this.#list = list
    this.#tell = tell
    fill(list)
  }

  /** A step at the end of the list. */
  add(id, name) {
    const step = { id, name, state: 'waiting', element: h('li') }
    this.#list.append(step.element)
    this.all.push(step)
    this.#show(step)
    return step
  }

  /**
   * Runs a step. What it returns is `{ detail, ms?, note? }`; a note is a fault that is worth a look
   * and no failure. Without an `ms` of its own it has the time that it took.
   */
  async run(step, work) {
    step.state = 'running'
    this.#show(step)
    const started = performance.now()
    try {
      const done = (await work()) ?? {}
      const { note, detail = '', value } = done
      Object.assign(step, { state: note ? 'note' : 'ok', detail, note, value, ms: done.ms ?? performance.now() - started })
    } catch (error) {
      const fault = error instanceof Fault ? error : new Fault('A fault of this page', String(error), 'load it again')
      Object.assign(step, { state: 'failed', fault, ms: performance.now() - started })
    }
    this.#show(step)
    this.#tell(`${step.name}: ${WORDS[step.state]}. ${step.detail ?? step.fault?.cause ?? ''}`)
    return step
  }

  /** Leaves a step out, and says why. */
  skip(step, why) {
    Object.assign(step, { state: 'skipped', detail: why })
    this.#show(step)
  }

  /** For a program; nothing of the token is in it. */
  report() {
    return this.all.map(({ id, name, state, ms, detail, note, fault }) => {
      const wrong = fault ?? note
      const took = ms === undefined ? {} : { ms: Math.round(ms * 10) / 10 }
      const why = wrong && { title: wrong.title, cause: wrong.cause, fix: wrong.fix, code: wrong.code || undefined }
      return { id, name, state, ...took, detail: detail || undefined, ...why }
    })
  }

  #show(step) {
    const { element, id, name, state, detail, fault, note } = step
    element.className = state
    element.dataset.step = id
    fill(
      element,
      h('span', { class: 'mark', role: 'img', 'aria-label': WORDS[state] }, MARKS[state]),
      h('span', { class: 'name' }, name),
      h('span', { class: 'time' }, ['ok', 'note', 'failed'].includes(state) ? ms(step.ms) : ''),
      h('span', { class: 'detail' }, detail ?? ''),
      fault && trouble(fault),
      note && trouble(note, 'fair'),
    )
  }
}
