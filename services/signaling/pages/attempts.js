// The latest attempts, and one's story in a dialog.

import { askJson } from './api.js'
import { byId, fill, h, ms, table, trouble } from './elements.js'
import { OUTCOMES, side, story, verdictOf } from './story.js'

const PAGE = 20

/** The attempts as a table; a button in each row opens its story. */
export function list(attempts, token) {
  if (attempts.length === 0) {
    return h('p', { class: 'faint' }, 'None in this time. Connect two peers, and their attempt stands here within seconds.')
  }
  const rows = attempts.map((one) => {
    const [tone, word] = OUTCOMES[one.outcome] ?? ['', one.outcome]
    const open = h('button', { class: 'quiet', type: 'button', onclick: () => tell(one.attempt, token) }, verdictOf(one))
    return [
      time(one.started_unix_ms),
      side(one.caller, one.caller_nat),
      side(one.callee, one.callee_nat),
      h('span', { class: `pill ${tone}` }, word),
      ms(one.connected_ms),
      open,
    ]
  })
  const columns = [['Began', false], ['Caller', false], ['Callee', false], ['Outcome', false], ['First path', true], ['Verdict', false]]
  return table(columns, rows, { stack: true })
}

/** A page of them, and where the next begins. */
export const load = (query, options) => askJson(`v1/attempts?limit=${PAGE}${query}`, options)

async function tell(id, token) {
  const dialog = byId('story')
  const close = h('button', { type: 'button', onclick: () => dialog.close() }, 'Close')
  const head = h('div', { class: 'row' }, h('h2', { id: 'story-title' }, 'One attempt’s story'), close)
  fill(dialog, head, h('p', { class: 'faint' }, 'Asks for it …'))
  dialog.showModal()
  try {
    const one = await askJson(`v1/attempts/${encodeURIComponent(id)}`, { token })
    head.firstChild.textContent = `${one.caller} to ${one.callee}`
    fill(dialog, head, ...story(one))
  } catch (fault) {
    fill(dialog, head, trouble(fault))
  }
}

function time(unixMs) {
  const at = new Date(unixMs)
  const today = at.toDateString() === new Date().toDateString()
  const clock = at.toLocaleTimeString('en-GB')
  const text = today ? clock : `${at.toLocaleDateString('en-CA')} ${clock}`
  return h('time', { datetime: at.toISOString(), title: at.toISOString() }, text)
}
