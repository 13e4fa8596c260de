// The dashboard: public as it comes; with an admin's token, live figures every few seconds.

import { ask, askJson } from './api.js'
import { list, load } from './attempts.js'
import { byId, fill, h, trouble } from './elements.js'
import { degraded, headline, health, matrix, outcomes, relayTables } from './figures.js'
import { claims, kept, takeFromFragment } from './token.js'

const EVERY_MS = 5000
/** After failures in a row the questions come ever more rarely, down to one a minute. */
const RAREST_MS = 60_000
const PERIODS = [['1 hour', 3600], ['24 hours', 86_400], ['7 days', 7 * 86_400], ['everything kept', 0]]

let token = ''
let period = 86_400
/** Every attempt that was told, by its id; where older ones are asked for, and whether they were. */
let told = new Map()
let next
let expanded = false
let asking
let timer
let failures = 0

for (const place of document.querySelectorAll('[data-server]')) {
  place.textContent = new URL('.', document.baseURI).href.replace(/^http/, 'ws').replace(/\/$/, '')
}
for (const pill of document.querySelectorAll('[data-state]')) {
  pill.classList.add(pill.dataset.state === 'ready' ? 'good' : 'fair')
}
byId('sign-in').addEventListener('submit', (event) => {
  event.preventDefault()
  signIn(byId('token').value.trim())
})
// A page that nobody sees asks nothing.
document.addEventListener('visibilitychange', () => (document.hidden ? stop() : token && refresh()))
addEventListener('hashchange', () => {
  const given = takeFromFragment()
  if (given) signIn(given)
})
const given = takeFromFragment() || kept.get()
if (given) signIn(given)

function signIn(given) {
  if (!given) return show({ title: 'There is no token', cause: 'the field is empty', fix: 'paste a token with the scope `admin`' })
  try {
    claims(given)
  } catch (fault) {
    return show(fault)
  }
  token = given
  kept.set(token)
  byId('token').value = ''
  byId('ways').hidden = byId('public').hidden = byId('now').hidden = byId('paths').hidden = true
  byId('live').hidden = false
  layOut()
  refresh()
}

function signOut(fault) {
  stop()
  token = ''
  kept.forget()
  forgetAttempts()
  byId('ways').hidden = byId('public').hidden = byId('now').hidden = byId('paths').hidden = false
  byId('live').hidden = true
  fill(byId('live'))
  show(fault)
  byId('token').focus()
}

/** The frame that figures go into, made once: what a person has focused or scrolled stays. */
function layOut() {
  const options = PERIODS.map(([words, seconds]) => h('option', { value: seconds, selected: seconds === period }, words))
  const choice = h('select', { id: 'period', 'aria-label': 'Time that is shown', onchange: change }, ...options)
  const card = (id, title, about) =>
    h('section', { class: 'card', 'aria-labelledby': `${id}-title` }, h('h2', { id: `${id}-title` }, title), about && h('p', { class: 'faint small' }, about), h('div', { id }))
  const leave = h('button', { type: 'button', class: 'quiet', onclick: () => signOut() }, 'Sign out')
  byId('live').className = 'live'
  fill(
    byId('live'),
    h('div', { class: 'row' }, h('h1', {}, 'Connections'), choice, h('span', { id: 'as-of', class: 'faint small' }), leave),
    h('div', { id: 'headline' }),
    h('div', { class: 'pair' }, card('outcomes', 'How attempts ended'), card('health', 'This instance', 'The one that answered; where there are several, each speaks for itself.')),
    card('matrix', 'Between which networks', 'Each cell says how many attempts between the two connected, and how.'),
    card('attempts', 'Latest attempts', 'A verdict opens the whole story: what each side tried, and what became of it.'),
    card('relays', 'Relays'),
  )
}

function change({ target }) {
  period = Number(target.value)
  forgetAttempts()
  refresh()
}

function forgetAttempts() {
  told = new Map()
  next = undefined
  expanded = false
}

/** Asks for everything, shows it, and asks again after a while. */
async function refresh() {
  stop()
  const mine = (asking = new AbortController())
  const since = period ? `&since_unix_ms=${Date.now() - period * 1000}` : ''
  const options = { token, signal: mine.signal }
  try {
    const [stats, pairs, page, ready] = await Promise.all([
      askJson(`v1/stats?${since.slice(1)}`, options),
      askJson(`v1/stats/nat-matrix?${since.slice(1)}`, options),
      load(since, options),
      readiness(mine.signal),
    ])
    if (mine.signal.aborted) return
    failures = 0
    byId('live').classList.remove('stale')
    showFigures(stats, pairs, page, ready)
    show(degraded(ready))
  } catch (fault) {
    if (mine.signal.aborted) return
    if (fault.status === 401 || fault.status === 403) return signOut(fault)
    failures += 1
    byId('live').classList.add('stale')
    show(fault)
    await showReadiness(mine.signal)
  }
  if (mine.signal.aborted || document.hidden) return
  timer = setTimeout(refresh, Math.min(EVERY_MS * 2 ** failures, RAREST_MS))
}

function stop() {
  clearTimeout(timer)
  asking?.abort()
}

/** While it drains, the answer is a problem, and no news of what is behind it. */
async function readiness(signal) {
  try {
    return await (await ask('readyz', { signal })).text()
  } catch (fault) {
    if (fault.code === 'draining') return 'draining\n'
    throw fault
  }
}

/** Statistics that do not come may have their cause said by `/readyz`. */
async function showReadiness(signal) {
  try {
    const behind = degraded(await readiness(signal))
    if (behind && !signal.aborted) show(behind)
  } catch {
    // What is shown already says that the server does not answer.
  }
}

function showFigures(stats, pairs, page, ready) {
  fill(byId('headline'), headline(stats))
  fill(byId('outcomes'), stats.attempts ? outcomes(stats) : h('p', { class: 'faint' }, 'No attempts in this time.'))
  fill(byId('health'), health(ready, stats.live))
  fill(byId('matrix'), pairs.cells.length ? matrix(pairs.cells) : h('p', { class: 'faint' }, 'No attempts in this time.'))
  fill(byId('relays'), ...relayTables(stats))
  if (!expanded) forgetAttempts()
  if (!expanded) next = page.next
  showAttempts(page.attempts)
  fill(byId('as-of'), `as of ${new Date().toLocaleTimeString('en-GB')}, every ${EVERY_MS / 1000} s`)
}

/** Takes these in, and shows all that are known, newest first. */
function showAttempts(more) {
  for (const one of more) told.set(one.attempt, one)
  const all = [...told.values()].sort((one, other) => other.started_unix_ms - one.started_unix_ms)
  const place = byId('attempts')
  // A button that somebody is about to press must not go away under the finger.
  const focused = [...place.querySelectorAll('button')].indexOf(document.activeElement)
  const further = next && h('button', { type: 'button', onclick: showOlder }, 'Older ones')
  fill(place, list(all, token), further && h('div', { class: 'row' }, further))
  if (focused >= 0) place.querySelectorAll('button')[focused]?.focus()
}

async function showOlder() {
  const since = period ? `&since_unix_ms=${Date.now() - period * 1000}` : ''
  try {
    const page = await load(`${since}&after=${encodeURIComponent(next)}`, { token })
    expanded = true
    next = page.next
    showAttempts(page.attempts)
  } catch (fault) {
    show(fault)
  }
}

function show(fault) {
  const text = fault ? `${fault.title} ${fault.cause}` : ''
  // Said once, not every five seconds: it is read aloud.
  if (text === (byId('trouble').dataset.told ?? '')) return
  byId('trouble').dataset.told = text
  fill(byId('trouble'), fault && trouble(fault))
}
