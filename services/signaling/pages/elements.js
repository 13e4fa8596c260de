// Elements made of text: nothing that a server or a peer says is ever parsed as HTML.

export const byId = (id) => document.getElementById(id)

/** An element with these attributes; children are elements, texts, or nothing. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value)
    else if (value === true) element.setAttribute(key, '')
    else if (value !== undefined && value !== false) element.setAttribute(key, value)
  }
  element.append(...present(children))
  return element
}

/** Puts these in the place of what the element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children))
}

/** A table: columns are `[heading, isNumber]`; with `stack`, narrow screens show rows as small cards. */
export function table(columns, rows, { stack = false } = {}) {
  const cell = (name) => (content, at) => {
    return h(name, { class: columns[at][1] && 'number' }, content)
  }
  const head = columns.map(([heading]) => heading).map(cell('th'))
  for (const one of head) one.setAttribute('scope', 'col')
  const lines = rows.map((row) => h('tr', {}, ...row.map(cell('td'))))
  const whole = h('table', { class: stack && 'stack' }, h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...lines))
  return h('div', { class: 'scroll' }, whole)
}

/** What is wrong, why, and what helps. `tone` is `fair` where it is no error. */
export function trouble({ title, cause, fix }, tone = '') {
  return h(
    'div',
    { class: `trouble ${tone}` },
    h('p', {}, h('strong', {}, title)),
    cause && h('p', {}, ...words(sentence(cause))),
    fix && h('p', {}, h('b', {}, 'What helps: '), ...words(sentence(fix))),
  )
}

/** A text with what stands between backticks as code, as the server and these scripts write it. */
export const words = (text) => text.split('`').map((part, at) => (at % 2 ? h('code', {}, part) : part))

/** With a capital and a full stop: the server says causes and fixes without. */
export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(whole) ? whole : `${whole}.`
}

export const ms = (value) => {
  if (value === undefined || value === null) return '–'
  if (value >= 10_000) return `${(value / 1000).toFixed(0)} s`
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`
  return value > 0 && value < 1 ? '< 1 ms' : `${Math.round(value)} ms`
}

export const percent = (share) =>
  share === undefined || share === null ? '–' : `${(share * 100).toFixed(share > 0.995 && share < 1 ? 1 : 0)} %`

export const count = (number) => number.toLocaleString('en')

export function bytes(number) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let at = 0
  while (number >= 1000 && at < units.length - 1) {
    number /= 1000
    at += 1
  }
  return `${at === 0 ? number : number.toFixed(1)} ${units[at]}`
}

/** A time that is left or has passed, by its two largest parts. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  const parts = [[86_400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]
  const first = parts.findIndex(([size]) => whole >= size)
  if (first < 0) return '0 s'
  const [size, unit] = parts[first]
  const [next, nextUnit] = parts[first + 1] ?? [0, '']
  const rest = next ? Math.floor((whole % size) / next) : 0
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${nextUnit}` : ''}`
}

const present = (children) => children.flat().filter((one) => one !== undefined && one !== null && one !== false && one !== '')
