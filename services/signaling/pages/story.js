// One attempt's whole story, as `coordinator attempts ID` tells it.

import { bytes, h, ms, percent, sentence, table } from './elements.js'
import { methodName } from './figures.js'

export const OUTCOMES = {
  direct: ['good', 'direct'],
  relay: ['fair', 'relay'],
  failed: ['bad', 'failed'],
}

const REASONS = {
  no_report: 'neither side reported how it went: an older client, or both are gone',
  timeout: 'nobody reported in time',
  peer_gone: 'the other side was gone',
  peer_failed: 'the other side gave up',
  reported_failed: 'no path came about',
}

const POLICIES = { auto: 'any path, the best one in the end', direct: 'never through a relay', relay: 'never directly' }
const KINDS = { host: 'its own address', srflx: 'behind the NAT', prflx: 'as the peer sees it', relay: 'relay' }
const BECAUSE = {
  first: 'the first that answered',
  better: 'better than before',
  silent: 'the one before fell silent',
  lossy: 'the one before lost packets',
  moved: 'another address',
  closed: 'the connection was closed',
  other: 'another reason',
}

/** How it ended, in words that need no table of codes. */
export function verdictOf({ verdict, reason, outcome, method }) {
  // The outcome stands beside it.
  if (verdict) return verdict.startsWith(`${outcome}: `) ? verdict.slice(outcome.length + 2) : verdict
  if (reason) return REASONS[reason] ?? reason
  return outcome === 'failed' ? 'no path came about' : `connected by ${methodName(method)}`
}

/** A peer with its network. */
export const side = (peer, nat) => (nat ? `${peer} (${nat.type})` : peer)

/** Everything that is kept of it. */
export function story(one) {
  const [tone, word] = OUTCOMES[one.outcome]
  const { caller_candidates, callee_candidates, caller_paths = [], callee_paths = [] } = one.story ?? {}
  const fact = (name, value) => [h('dt', {}, name), h('dd', {}, value)]
  return [
    h('p', { class: 'verdict' }, h('span', { class: `pill ${tone}` }, word), ` ${sentence(verdictOf(one))}`),
    h(
      'dl',
      { class: 'facts' },
      ...fact('Attempt', h('span', { class: 'mono' }, one.attempt)),
      ...fact('Began', `${new Date(one.started_unix_ms).toLocaleString()}`),
      ...fact('Times', `first path in ${ms(one.connected_ms)}, direct path in ${ms(one.direct_ms)}`),
      ...fact('Policy', `${one.policy}: ${POLICIES[one.policy]}`),
      ...fact('App', one.app),
      ...fact('Caller', network(one.caller, one.caller_nat)),
      ...fact('Caller reachable', candidates(caller_candidates)),
      ...fact('Callee', network(one.callee, one.callee_nat)),
      ...fact('Callee reachable', candidates(callee_candidates)),
    ),
    ...plan(one.plan),
    ...steps(`What ${one.caller}, who called, tells`, one.caller_steps),
    ...steps(`What ${one.callee}, who was called, tells`, one.callee_steps),
    ...paths(`What the connection used, as ${one.caller} tells`, caller_paths),
    ...paths(`What the connection used, as ${one.callee} tells`, callee_paths),
  ]
}

function network(peer, nat) {
  if (!nat) return `${peer}, whose network is not known`
  const at = nat.network ? ` in ${nat.network}` : ''
  return `${peer}, ${nat.type}${at} (mapping ${nat.mapping}, filtering ${nat.filtering})`
}

function candidates(all = []) {
  if (all.length === 0) return 'nowhere that was told'
  return all.map(({ kind, network = '', tcp }) => `${KINDS[kind] ?? kind} ${network}${tcp ? ' over TCP' : ''}`.trim()).join(', ')
}

function plan(all) {
  if (all.length === 0) return []
  const rows = all.map((step) => [methodName(step.method), step.tactic ?? '–', percent(step.chance), ms(step.after_ms)])
  return [h('h3', {}, 'The plan that both were given'), table([['Method', false], ['How', false], ['Chance', true], ['Begins after', true]], rows)]
}

const RESULTS = { ok: ['good', '✔ worked'], failed: ['bad', '✘ failed'], skipped: ['faint', '– left out'] }

function steps(heading, all = []) {
  if (all.length === 0) return [h('h3', {}, heading), h('p', { class: 'faint small' }, 'Nothing.')]
  const rows = all.map((step) => {
    const [tone, words] = RESULTS[step.result] ?? ['', step.result]
    return [methodName(step.method), h('span', { class: tone }, words), ms(step.ms), step.detail ?? '']
  })
  return [h('h3', {}, heading), table([['Method', false], ['Result', false], ['After', true], ['', false]], rows)]
}

function paths(heading, all) {
  if (all.length === 0) return []
  const rows = all.map((path) => [
    ms(path.at_ms),
    path.method ? methodName(path.method) : 'none',
    bytes(path.sent_bytes),
    bytes(path.received_bytes),
    BECAUSE[path.reason] ?? path.reason,
  ])
  const columns = [['From', true], ['Path', false], ['Sent', true], ['Received', true], ['Because', false]]
  return [h('h3', {}, heading), table(columns, rows)]
}
