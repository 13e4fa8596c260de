// The connectivity test: from the token to a data channel through the relay, one step after the other.

import { Fault, ask, askJson } from './api.js'
import { copy } from './copying.js'
import { byId, fill, h, ms, sentence, span, words } from './elements.js'
import { allocate, askStun, gather, median, natMapping, servers, throughRelay } from './ice.js'
import { prepareMeeting } from './meeting.js'
import { Session } from './session.js'
import { Steps } from './steps.js'
import { claims, isInQuery, scopes, takeFromFragment } from './token.js'
import { verdict } from './verdict.js'

const PINGS = 5
/** By how much clocks may differ before tokens come out as ended or not begun. */
const LEEWAY_SECS = 30
const OVER = { udp: 'UDP', tcp: 'TCP', tls: 'TLS' }

let last

byId('token').value = takeFromFragment()
byId('token').addEventListener('input', describeToken)
byId('ask').addEventListener('submit', async (event) => {
  event.preventDefault()
  // Not `disabled`, which would take the focus of whoever has just pressed it.
  const start = byId('start')
  if (start.ariaDisabled === 'true') return
  start.ariaDisabled = 'true'
  try {
    await test(byId('token').value.trim())
  } finally {
    start.ariaDisabled = 'false'
  }
})
// Return adds a line to a text, but a token has one.
byId('token').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey) return
  event.preventDefault()
  byId('ask').requestSubmit()
})
byId('copy').addEventListener('click', async () => {
  const copied = await copy(JSON.stringify(last, null, 2))
  byId('copied').textContent = copied ? 'Copied, without the token.' : 'The browser does not let this page copy.'
})
addEventListener('hashchange', () => {
  const token = takeFromFragment()
  if (token) byId('token').value = token
  describeToken()
})
prepareMeeting(() => byId('token').value.trim())
describeToken()

function describeToken() {
  const token = byId('token').value.trim()
  byId('token-says').textContent = ''
  if (!token) return
  try {
    const said = claims(token)
    const left = said.exp - Date.now() / 1000
    const when = left > 0 ? `good for ${span(left)} more` : `ended ${span(-left)} ago`
    byId('token-says').textContent = `It is for ${said.sub}${said.app ? ` in ${said.app}` : ''}, ${when}.`
  } catch (fault) {
    byId('token-says').textContent = `${sentence(fault.cause)}`
  }
}

/** Everything, in order; what a failed step takes with it is left out and says so. */
async function test(token) {
  byId('report').hidden = byId('copy').hidden = false
  byId('outcome').hidden = true
  byId('copied').textContent = ''
  const steps = new Steps(byId('steps'), (text) => (byId('progress').textContent = text))
  const found = { token: undefined, session: undefined, list: [], stun: [], relays: [] }

  const server = steps.add('server', 'The server answers')
  const readable = steps.add('token', 'The token is readable and in time')
  const socket = steps.add('websocket', 'A WebSocket opens and the token is taken')
  const ping = steps.add('ping', 'Messages go there and back')
  const offered = steps.add('ice-servers', 'STUN and relay servers are handed out')

  let offset = 0
  await steps.run(server, async () => {
    const step = await reachServer()
    offset = step.value
    return step
  })
  await steps.run(readable, () => readToken(token, offset, found))
  const after = (step, needed, work) =>
    needed.state === 'failed' || needed.state === 'skipped' ? steps.skip(step, 'needs the step before') : steps.run(step, work)
  await after(socket, readable, () => openSession(token, found))
  await after(ping, socket, () => pingServer(found.session))
  found.session?.close()
  await after(offered, socket, () => askForServers(token, found))
  await testNetwork(steps, found)

  conclude(steps, found)
}

async function reachServer() {
  const started = performance.now()
  const answer = await ask('livez')
  const took = performance.now() - started
  const date = Date.parse(answer.headers.get('date') ?? '')
  // The header has whole seconds: half of one is the best guess.
  const offset = Number.isNaN(date) ? 0 : (date + 500 - Date.now()) / 1000
  const apart = Math.abs(offset) > LEEWAY_SECS
  const note = apart && new Fault('The clocks differ', `this device’s is ${span(Math.abs(offset))} ${offset > 0 ? 'behind' : 'ahead of'} the server’s`, 'let both keep time by NTP: tokens and credentials end by the clock')
  return { detail: new URL('.', document.baseURI).host, ms: took, note, value: offset }
}

/** By the server's clock, as far as it is known: it is the one that counts. */
function readToken(token, offset, found) {
  if (!token) {
    throw new Fault('There is no token', 'the field above is empty', 'paste one: `coordinator dev` prints some, `coordinator token --peer NAME --jwt-secret-file FILE` makes one')
  }
  const said = (found.token = claims(token))
  const now = Date.now() / 1000 + offset
  if (said.exp + LEEWAY_SECS < now) {
    throw new Fault('The token has ended', `it was good until ${new Date(said.exp * 1000).toLocaleString()}, which is ${span(now - said.exp)} ago`, 'get a new one from where this one came from: `coordinator token --ttl 1h` says for how long', { code: 'token_expired' })
  }
  if (said.nbf !== undefined && said.nbf - LEEWAY_SECS > now) {
    throw new Fault('The token does not count yet', `it begins in ${span(said.nbf - now)}`, 'wait, or mend the clock of whoever made it', { code: 'token_not_yet_valid' })
  }
  const allows = scopes(said)
  const note = isInQuery() && new Fault('There is a token in the address', 'it was sent as part of the URL, and may stand in logs and histories', 'use #token= instead of ?token=, and let this one end')
  const left = `good for ${span(said.exp - now)}`
  return { detail: `for ${said.sub}${said.app ? ` in ${said.app}` : ''}, ${left}, may ${allows.join(', ')}`, note }
}

async function openSession(token, found) {
  const session = await Session.open(token)
  const opened = performance.now()
  // A token that is not taken is said after the upgrade: the first answer tells.
  await session.ping()
  found.session = session
  return { detail: `${location.protocol === 'https:' ? 'wss' : 'ws'}, p2p.v1; first answer after ${ms(performance.now() - opened)}` }
}

async function pingServer(session) {
  const trips = []
  for (let turn = 0; turn < PINGS; turn += 1) trips.push(await session.ping())
  return { ms: median(trips), detail: `median of ${PINGS}; ${ms(Math.min(...trips))} to ${ms(Math.max(...trips))}` }
}

async function askForServers(token, found) {
  const { iceServers, ttl } = await askJson('v1/ice-servers', { token })
  found.list = servers(iceServers)
  const relays = found.list.filter(({ isRelay }) => isRelay).length
  const detail = `${found.list.length - relays} STUN, ${relays} relay; credentials for ${span(ttl)}`
  if (relays > 0) return { detail }
  const cause = scopes(found.token).includes('relay') ? 'the server offers none' : 'the token lacks the scope `relay`'
  return { detail, note: new Fault('No relay', cause, 'pairs without a direct path cannot connect: offer one with --relay, and mint tokens with `relay` in `scope`') }
}

/** Host addresses, each server, the NAT, and data through a relay. */
async function testNetwork(steps, found) {
  const host = steps.add('host', 'This browser has addresses of its own')
  const each = found.list.map((one) => {
    const name = one.isRelay ? `Relay over ${OVER[one.transport] ?? one.transport}: ${one.address}` : `STUN: ${one.address}`
    const step = steps.add(one.isRelay ? `relay-${one.transport}` : 'stun', name)
    Object.assign(step, { url: one.url, transport: one.transport })
    ;(one.isRelay ? found.relays : found.stun).push(step)
    return { step, one }
  })
  const nat = steps.add('nat', 'How the NAT maps')
  const loop = (found.loop = steps.add('loop', 'Data goes through the relay and back'))

  if (typeof RTCPeerConnection === 'undefined') {
    const fault = new Fault('No WebRTC', 'this browser has no RTCPeerConnection, or an extension took it away', 'use another browser, or allow WebRTC here')
    await steps.run(host, () => Promise.reject(fault))
    for (const step of [...each.map(({ step }) => step), nat, loop]) steps.skip(step, 'needs WebRTC')
    return
  }
  // Together: each of them waits for packets and takes nothing from the others.
  const running = each.map(({ step, one }) => steps.run(step, () => (one.isRelay ? askRelay(one) : askMirror(one))))
  running.push(steps.run(host, hostAddresses), mapNat(found, steps, nat))
  await Promise.all(running)
  const good = each.filter(({ step, one }) => one.isRelay && step.state === 'ok')
  const fastest = good.toSorted((a, b) => a.step.ms - b.step.ms).find(({ one }) => one.transport === 'udp') ?? good[0]
  if (!fastest) {
    steps.skip(loop, found.relays.length ? 'no relay gave an allocation' : 'no relay is offered')
    return
  }
  await steps.run(loop, () => loopBack(fastest.one))
}

async function askMirror(one) {
  const { ms, candidate } = await askStun(one)
  return { ms, detail: candidate ? `sees ${shown(candidate)}` : 'sees this browser at its own address', value: candidate }
}

async function askRelay(one) {
  const { ms, candidate } = await allocate(one)
  return { ms, detail: `relayed address ${shown(candidate)}`, value: candidate }
}

const shown = ({ address, port }) => (address?.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)

async function mapNat(found, steps, nat) {
  const urls = found.list.filter(({ isRelay }) => !isRelay).map(({ url }) => url)
  if (urls.length === 0) {
    steps.skip(nat, 'no STUN server is known to ask')
    return
  }
  await steps.run(nat, async () => {
    found.network = await natMapping(urls)
    return { ms: found.network.ms, detail: mappingWords(found.network) }
  })
  if (nat.state === 'ok' && found.network.answered === 0) steps.skip(nat, 'no STUN server answered')
}

function mappingWords({ mapping, answered, portPreserving, address, port }) {
  const kept = portPreserving === undefined ? '' : portPreserving ? ', the port stays the same' : ', the port changes'
  switch (mapping) {
    case 'local':
      return 'the server is on this machine, so there is none'
    case 'none':
      return 'there is none: the server sees an address of this device'
    case 'endpoint-independent':
      return `the same public address for ${answered} servers (endpoint-independent)${kept}`
    case 'address-dependent':
      return `another public port for each server (symmetric)${kept}`
    default:
      return `public address ${shown({ address, port })}${kept}; one server alone cannot tell whether it is the same for others`
  }
}

async function hostAddresses() {
  const { candidates, ms } = await gather({})
  const hosts = candidates.filter(({ type, protocol }) => type === 'host' && protocol === 'udp')
  if (hosts.length === 0) {
    throw new Fault('No address', 'the browser offers none for WebRTC', 'look for a policy or an extension that restricts WebRTC to proxies (WebRtcIPHandling)')
  }
  const hidden = hosts.some(({ address }) => address?.endsWith('.local'))
  const addresses = [...new Set(hosts.map(({ address }) => address))]
  return { ms, detail: hidden ? `${addresses.length}, hidden behind mDNS names` : addresses.join(', ') }
}

async function loopBack(one) {
  const loop = await throughRelay(one)
  if (loop.pair.local !== 'relay' || loop.pair.remote !== 'relay') {
    throw new Fault('It went another way', `the browser used ${loop.pair.local} to ${loop.pair.remote}`, 'report this with “Copy as JSON”')
  }
  return { detail: `a data channel opened in ${ms(loop.ms)} over ${OVER[one.transport]}; there and back in ${ms(loop.rtt)}`, ms: loop.ms, value: loop }
}

function conclude(steps, found) {
  const failed = steps.all.find(({ state }) => state === 'failed')
  const early = failed && found.list.length === 0 ? failed : undefined
  const { tone, sentence: text, advice } = early
    ? { tone: 'bad', sentence: `${early.fault.title}: ${sentence(early.fault.cause)}`, advice: [sentence(early.fault.fix)] }
    : verdict(found)
  byId('outcome').hidden = false
  const quality = tone === 'good' && failed ? 'fair' : tone
  byId('verdict').className = `verdict ${quality}`
  byId('verdict').textContent = `${{ good: '✔', fair: '!', bad: '✘' }[quality]} ${text}`
  fill(byId('advice'), ...advice.map((one) => h('li', {}, ...words(one))))
  byId('progress').textContent = `Verdict: ${text}`
  last = report({ steps, found, quality, text, advice })
}

/** For a colleague or an issue: no token, no credential. */
function report({ steps, found, quality, text, advice }) {
  const { mapping, portPreserving, address, port, answered } = found.network ?? {}
  const candidate = ({ type, protocol, address, port, relatedPort, tcpType }) => ({ type, protocol, address, port, relatedPort, tcpType })
  return {
    schema_version: 1,
    at: new Date().toISOString(),
    server: location.host,
    browser: navigator.userAgent,
    token: found.token && { sub: found.token.sub, app: found.token.app, exp: found.token.exp, scope: scopes(found.token) },
    ok: quality === 'good',
    verdict: text,
    advice,
    nat: found.network && { mapping, port_preserving: portPreserving, public_address: address && shown({ address, port }), stun_answers: answered },
    candidates: found.network?.candidates.map(candidate) ?? [],
    steps: steps.report(),
  }
}
