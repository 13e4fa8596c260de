// What RTCPeerConnection finds out about servers and the network.

import { Fault } from './api.js'

const LOOPBACK = /^(127\.|\[?::1\]?(:|$))/

/** How long a server is waited for. Chromium itself repeats a question for nearly ten seconds. */
const PATIENCE = 6000

/** Whether this browser says of servers that they did not answer; where it does not, silence proves nothing. */
const TELLS = 'onicecandidateerror' in (globalThis.RTCPeerConnection?.prototype ?? {})

/** Firefox leaves relays at a loopback address out, and says nothing of it. */
const IS_FIREFOX = navigator.userAgent.includes('Firefox/')

/** Each server by itself and once, with what its URL says: the handed-out entries hold several URLs each. */
export function servers(iceServers) {
  const all = iceServers.flatMap(({ urls, username, credential }) =>
    [urls].flat().map((url) => ({ url, ...parts(url), server: { urls: [url], username, credential } })),
  )
  return all.filter(({ url }, at) => all.findIndex((other) => other.url === url) === at)
}

// RFC 7064 §3.1, RFC 7065 §3.1: scheme:host[:port][?transport=…].
function parts(url) {
  const [, scheme, host, port, query] = url.match(/^(stuns?|turns?):(\[[^\]]*\]|[^:?]*)(?::(\d+))?(?:\?(.*))?$/) ?? []
  const secure = scheme?.endsWith('s')
  const named = new URLSearchParams(query).get('transport')
  const isRelay = scheme?.startsWith('turn') ?? false
  const transport = secure ? 'tls' : (named ?? 'udp')
  return { isRelay, transport, address: `${host}:${port ?? (secure ? 5349 : 3478)}` }
}

/**
 * Gathers candidates until there are enough of them, gathering is over, or the time is.
 * `errors` are the browser's own words on servers.
 */
export function gather(configuration, enough = () => false) {
  return new Promise((resolve) => {
    const connection = new RTCPeerConnection(configuration)
    const started = performance.now()
    const found = { candidates: [], errors: [], complete: false, ms: 0 }
    const end = () => {
      clearTimeout(timer)
      connection.onicecandidate = connection.onicecandidateerror = connection.onicegatheringstatechange = null
      connection.close()
      resolve({ ...found, ms: performance.now() - started })
    }
    const timer = setTimeout(end, PATIENCE)
    connection.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return
      found.candidates.push(candidate)
      if (enough(candidate)) end()
    }
    connection.onicecandidateerror = ({ errorCode, errorText, url }) => found.errors.push({ errorCode, errorText, url })
    connection.onicegatheringstatechange = () => {
      if (connection.iceGatheringState !== 'complete') return
      found.complete = true
      end()
    }
    connection.createDataChannel('gather')
    connection.setLocalDescription().catch(end)
  })
}

/** Asks one STUN server. `address` is where it sees this browser; none where that is no NAT's. */
export async function askStun({ server, address }) {
  const found = await gather({ iceServers: [server] }, ({ type }) => type === 'srflx')
  const mirrored = found.candidates.find(({ type }) => type === 'srflx')
  if (mirrored) return { ms: found.ms, candidate: mirrored }
  // A server that sees the very address of the socket adds no candidate, and no error.
  if (TELLS && found.complete && found.errors.length === 0 && found.candidates.length > 0) return { ms: found.ms }
  throw new Fault(
    'No answer over UDP',
    `${address} did not answer within ${PATIENCE / 1000} s`,
    'let UDP out to this address and port, or look whether the server runs: `coordinator status` at its admin port',
  )
}

/** Asks one relay for an allocation, over the transport that its URL names. */
export async function allocate({ server, address, transport }) {
  const only = { iceServers: [server], iceTransportPolicy: 'relay' }
  const found = await gather(only, ({ type }) => type === 'relay')
  const relayed = found.candidates.find(({ type }) => type === 'relay')
  if (relayed) return { ms: found.ms, candidate: relayed }
  // STUN error codes are the server's own words; 701 is the browser's for none at all (W3C WebRTC §4.8.2).
  const told = found.errors.find(({ errorCode }) => errorCode < 700) ?? found.errors[0]
  throw new Fault('No allocation', ...why(told, address, transport))
}

function why(told, address, transport) {
  const over = { udp: 'UDP', tcp: 'TCP', tls: 'TLS' }[transport] ?? transport
  switch (told?.errorCode) {
    case 401:
      return [
        `${address} refuses the credentials that this server made (401 over ${over})`,
        'give `coordinator signaling` and `coordinator relay` the same first line in --turn-secret-file, and look whether their clocks agree',
      ]
    case 403:
      return [`${address} forbids it (403)`, 'look into the relay’s log for the rule that does']
    case 486:
      return [`${address}: this user has all the allocations it may have (486)`, 'close other tests and programs of this user, or wait ten minutes for what they left behind']
    case 508:
      return [`${address} has no room left (508)`, 'add a relay, or widen its --port-range']
    case undefined:
    case 701:
      if (IS_FIREFOX && LOOPBACK.test(address)) {
        return [
          `this browser reaches no relay on its own machine, and ${address} is one`,
          'in Firefox, set `media.peerconnection.ice.loopback` in about:config for tests on one machine; a relay elsewhere needs no setting',
        ]
      }
      return [
        `${address} was not reached over ${over}`,
        transport === 'udp'
          ? 'look whether the relay runs and UDP passes to its port; relays over TCP and TLS help where a network lets no UDP out'
          : `look whether the relay listens on ${over} (--listen ${transport}://…), and a firewall lets its port through`,
      ]
    default:
      return [`${address} answers ${told.errorCode} ${told.errorText}`, 'look into the relay’s log of this moment']
  }
}

/**
 * How the NAT maps, as far as one socket and these STUN servers tell: `mapping` is `local` (the server
 * is on this machine), `none`, `endpoint-independent`, `address-dependent` or `unknown`.
 */
export async function natMapping(urls) {
  const { candidates, errors, complete, ms } = await gather({ iceServers: urls.length > 0 ? [{ urls }] : [] })
  const hosts = candidates.filter(({ type, protocol }) => type === 'host' && protocol === 'udp')
  const mirrored = candidates.filter(({ type }) => type === 'srflx')
  // Those that said the same as another one add no candidate; who has not answered in time is no error yet.
  const heard = new Set(mirrored.map(({ url }) => url)).size
  const silent = new Set(errors.map(({ url }) => url)).size
  const answered = TELLS && complete ? urls.length - Math.min(silent, urls.length) : heard
  if (mirrored.length === 0) {
    const mapping = answered > 0 && candidates.length > 0 ? 'none' : 'unknown'
    return { mapping, answered, candidates, ms }
  }
  const ports = new Set(hosts.map(({ port }) => port))
  const { address, port } = mirrored[0]
  // One socket of one interface may have several faces; another interface’s do not count.
  const ofSame = mirrored.filter((one) => one.relatedPort === mirrored[0].relatedPort && one.address === address)
  const faces = new Set(ofSame.map(({ port }) => port)).size
  const several = answered > 1 ? 'endpoint-independent' : 'unknown'
  const mapping = LOOPBACK.test(address) ? 'local' : faces > 1 ? 'address-dependent' : several
  return { mapping, answered, candidates, ms, address, port, portPreserving: ports.has(port) }
}

/** A data channel from this page to itself, both ends behind the relay. */
export async function throughRelay({ server }) {
  const only = { iceServers: [server], iceTransportPolicy: 'relay' }
  const [near, far] = [new RTCPeerConnection(only), new RTCPeerConnection(only)]
  try {
    const started = performance.now()
    const channel = near.createDataChannel('loop')
    trickle(near, far)
    trickle(far, near)
    far.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(data))
    await near.setLocalDescription()
    await far.setRemoteDescription(near.localDescription)
    await far.setLocalDescription()
    await near.setRemoteDescription(far.localDescription)
    await opened(channel, near, 2 * PATIENCE)
    const ms = performance.now() - started
    const rtt = await roundTrip(channel)
    const pair = await selectedPair(near)
    return { ms, rtt, pair }
  } finally {
    near.close()
    far.close()
  }
}

const trickle = (from, to) =>
  (from.onicecandidate = ({ candidate }) => {
    if (candidate) to.addIceCandidate(candidate).catch(() => {})
  })

/** Resolves when the channel is open. */
export function opened(channel, connection, patience) {
  return new Promise((resolve, reject) => {
    const fail = (cause) =>
      reject(
        new Fault(
          'No path came about',
          cause,
          'look at the relay’s log: its --deny-peer may cover its own addresses, or its --external-ip be another one than clients reach',
        ),
      )
    const timer = setTimeout(() => fail(`the data channel did not open within ${patience / 1000} s`), patience)
    channel.onopen = () => {
      clearTimeout(timer)
      resolve()
    }
    connection.addEventListener('connectionstatechange', () => {
      if (connection.connectionState !== 'failed') return
      clearTimeout(timer)
      fail('every pair of addresses was tried and none answered')
    })
  })
}

/** The median round trip over a channel whose other end sends back what comes. */
export async function roundTrip(channel, times = 5) {
  const trips = []
  for (let turn = 0; turn < times; turn += 1) {
    const started = performance.now()
    const echo = new Promise((resolve, reject) => {
      channel.onmessage = resolve
      setTimeout(() => reject(new Fault('No echo', 'data went out and none came back', 'run the test again')), PATIENCE)
    })
    channel.send(`ping ${turn}`)
    await echo
    trips.push(performance.now() - started)
  }
  return median(trips)
}

export const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

/** The pair of candidates in use: the two ends’ types and the relay’s transport. */
export async function selectedPair(connection) {
  const stats = await connection.getStats()
  const all = [...stats.values()]
  const transport = all.find(({ type }) => type === 'transport')
  // Firefox names it on the pair itself.
  const pair = stats.get(transport?.selectedCandidatePairId) ?? all.find(({ type, selected }) => type === 'candidate-pair' && selected)
  const [local, remote] = [stats.get(pair?.localCandidateId), stats.get(pair?.remoteCandidateId)]
  return { local: local?.candidateType, remote: remote?.candidateType, relayProtocol: local?.relayProtocol, protocol: local?.protocol }
}
