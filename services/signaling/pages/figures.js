// Live figures as elements: what `/v1/stats`, `/v1/stats/nat-matrix` and `/readyz` say.

import { bytes, count, h, ms, percent, span, table } from './elements.js'

const METHODS = { direct: 'direct', 'udp-hole-punch': 'UDP hole punch', 'tcp-hole-punch': 'TCP hole punch', relay: 'relay' }
export const methodName = (method) => METHODS[method] ?? method

/** The few numbers that say how it goes. */
export function headline({ attempts, success_rate, connect_ms, direct_ms, live, relays }) {
  const figure = (name, value, small) => h('div', {}, h('dt', {}, name), h('dd', {}, value, small && h('small', {}, small)))
  const within = ({ p95 }) => (p95 === null ? 'none yet' : `95 % within ${ms(p95)}`)
  const away = live.peers_away > 0 ? `${count(live.peers_away)} away` : 'none away'
  const draining = relays.filter((relay) => relay.draining).length
  return h(
    'dl',
    { class: 'figures' },
    figure('Connected', percent(success_rate), attempts === 0 ? 'no attempts yet' : `of ${count(attempts)} attempts`),
    figure('First path, median', ms(connect_ms.p50), within(connect_ms)),
    figure('Direct path, median', ms(direct_ms.p50), within(direct_ms)),
    figure('Peers connected', count(live.peers_on), away),
    figure('Rooms', count(live.rooms), `${count(live.open_attempts)} open attempts`),
    figure('Relays', count(relays.length), draining ? `${draining} draining` : relays.length ? 'none draining' : 'pairs without a direct path fail'),
  )
}

/** How attempts ended, as a bar and in words. */
export function outcomes({ attempts, direct, relay, failed, by_method }) {
  const parts = [['direct', direct, 'direct'], ['relay', relay, 'by relay'], ['failed', failed, 'failed']]
  const bar = h('div', { class: 'bar', role: 'img', 'aria-label': parts.map(([, n, words]) => `${n} ${words}`).join(', ') })
  for (const [name, number] of parts) {
    if (number === 0) continue
    const part = h('span', { class: name })
    part.style.flex = String(number)
    bar.append(part)
  }
  const share = (number) => percent(number / Math.max(attempts, 1))
  const key = parts.map(([name, number, words]) => h('li', {}, h('i', { class: name }), h('b', {}, share(number)), ` ${words} (${count(number)})`))
  const methods = by_method.map((one) => [methodName(one.method), count(one.attempts), percent(one.share), ms(one.connect_ms.p50), ms(one.connect_ms.p95)])
  const columns = [['Best path', false], ['Attempts', true], ['Share', true], ['First path, median', true], ['95 %', true]]
  return [bar, h('ul', { class: 'key' }, ...key), methods.length > 0 && h('h3', {}, 'By the method of the best path'), methods.length > 0 && table(columns, methods)]
}

/** Pairs of networks as a square: callers down, callees across. */
export function matrix(cells) {
  const names = [...new Set(cells.flatMap(({ caller, callee }) => [caller, callee]))].sort(byOpenness)
  const found = new Map(cells.map((cell) => [`${cell.caller} ${cell.callee}`, cell]))
  const heading = (scope, text) => h('th', { scope }, text)
  const head = h('tr', {}, h('th', { class: 'faint small', scope: 'col' }, 'caller ↓  callee →'), ...names.map((name) => heading('col', name)))
  const rows = names.map((caller) =>
    h('tr', {}, heading('row', caller), ...names.map((callee) => matrixCell(found.get(`${caller} ${callee}`)))),
  )
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Pairs of networks' }, h('table', { class: 'matrix' }, h('thead', {}, head), h('tbody', {}, ...rows)))
}

const OPENNESS = ['Open', 'Full Cone', 'Restricted Cone', 'Port-Restricted Cone', 'Symmetric Firewall', 'Symmetric', 'UDP Blocked', 'Unknown']
const byOpenness = (one, other) => OPENNESS.indexOf(one) - OPENNESS.indexOf(other)

/** Red where a tenth fails, amber where most go by relay: the bounds of `coordinator stats`. */
function matrixCell(cell) {
  if (!cell) return h('td', { class: 'faint' }, '–')
  const { attempts, direct, relay, failed } = cell
  const connected = (direct + relay) / attempts
  const tone = connected < 0.9 ? 'bad' : direct / attempts < 0.5 ? 'fair' : 'good'
  const ends = [[direct, 'direct'], [relay, 'relay'], [failed, 'failed']].filter(([number]) => number > 0)
  return h(
    'td',
    { class: tone },
    h('strong', { class: tone }, `${percent(connected)} connected`),
    h('small', {}, ends.map(([number, words]) => `${count(number)} ${words}`).join(', ')),
    cell.direct_ms_p50 !== null && h('small', {}, `direct in ${ms(cell.direct_ms_p50)}`),
  )
}

/** What the instance that answered rests on. */
export function health(text, live) {
  const lines = text.trim().split('\n')
  const ready = lines[0] === 'ready' && !live.draining
  const rows = lines.slice(1).map((line) => {
    const [name, ...rest] = line.split(': ')
    const said = rest.join(': ')
    const word = said.split(' ')[0]
    const tone = word === 'degraded' ? 'bad' : word === 'ok' ? 'good' : ''
    return [h('dt', {}, name), h('dd', {}, h('span', { class: `pill ${tone}` }, word === 'ok' || word === 'degraded' ? word : said), said !== word && (word === 'ok' || word === 'degraded') ? ` ${said.slice(word.length)}` : '')]
  })
  const state = live.draining ? 'draining' : ready ? 'ready' : 'not ready'
  const lost = live.records_dropped > 0 && [h('dt', {}, 'lost'), h('dd', { class: 'bad' }, `${count(live.records_dropped)} statistics were dropped: these figures are too small`)]
  return h(
    'dl',
    { class: 'facts' },
    h('dt', {}, 'state'),
    h('dd', {}, h('span', { class: `pill ${ready ? 'good' : 'fair'}` }, state), ` up for ${span(live.uptime_secs)}`),
    ...rows,
    ...(lost || []),
  )
}

/** What in `/readyz` is away, with cause and fix. */
export function degraded(text) {
  const away = (name) => new RegExp(`^${name}: degraded`, 'm').test(text)
  if (away('database')) {
    return {
      title: 'The statistics database does not answer',
      cause: 'signaling goes on, and what it records waits in memory or in Redis; the figures below are of before',
      fix: 'see whether it runs and takes the connection of --database: the runbook is P2PDatabaseAway in docs/operations/runbooks.md',
    }
  }
  if (away('registry')) {
    return {
      title: 'Redis does not answer',
      cause: 'peers of one instance still reach each other, those of different instances do not',
      fix: 'see whether it runs and takes the connection of --redis: the runbook is P2PRedisAway in docs/operations/runbooks.md',
    }
  }
  if (away('statistics')) {
    return {
      title: 'Statistics come late',
      cause: 'what waits in the stream is older than half a minute, so the figures below are of before',
      fix: 'see whether an instance writes to the database, and how fast the database takes it',
    }
  }
  return undefined
}

/** The relays of this moment, and what relays carried in the time that is shown. */
export function relayTables({ relays, usage }) {
  const now = relays.map(({ urls, region, load, draining }) => [
    h('span', { class: 'mono' }, urls.join(', ')),
    region ?? '–',
    load === undefined ? '–' : percent(load),
    h('span', { class: `pill ${draining ? 'fair' : ''}` }, draining ? 'draining' : 'in use'),
  ])
  const carried = usage.relays.map((one) => [
    one.region ?? 'no region',
    count(one.allocations),
    bytes(one.to_peer.bytes),
    bytes(one.to_client.bytes),
  ])
  return [
    now.length > 0 ? table([['Relay', false], ['Region', false], ['Load', true], ['State', false]], now) : h('p', { class: 'faint' }, 'None is offered: name one with --relay, or let relays register themselves in Redis.'),
    carried.length > 0 && h('h3', {}, 'Allocations that ended'),
    carried.length > 0 && table([['Region', false], ['Allocations', true], ['To peers', true], ['To clients', true]], carried),
  ]
}
