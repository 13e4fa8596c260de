// Two copies of the page connect through the server: registered as peers, introduced by an attempt,
// their offers and candidates carried as messages, and the outcome reported like any client’s.

import { Fault } from './api.js'
import { byId, ms, sentence } from './elements.js'
import { opened, roundTrip, selectedPair } from './ice.js'
import { Session } from './session.js'
import { Steps } from './steps.js'
import { claims } from './token.js'

const PAGE = 'connectivity test'
const PATIENCE = 25_000

let session
let beat

/** Makes the form work; `getToken` is the token of the moment. */
export function prepareMeeting(getToken) {
  byId('meet').addEventListener('submit', async (event) => {
    event.preventDefault()
    byId('wait').disabled = true
    const steps = new Steps(byId('meeting-steps'))
    const step = steps.add('register', 'Registered as a peer')
    await steps.run(step, () => register(getToken()))
    if (step.state === 'failed') byId('wait').disabled = false
  })
  byId('call').addEventListener('click', () => call(byId('peer').value.trim()))
  byId('peer').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return
    event.preventDefault()
    call(byId('peer').value.trim())
  })
  // Left for good: whoever would call hears at once that nobody is there.
  addEventListener('pagehide', () => session?.close())
}

async function register(token) {
  const { sub } = claims(token)
  // A token for many ids leaves the choice: one that nobody has.
  const peer = sub.endsWith('*') ? `${sub.slice(0, -1)}page-${Math.random().toString(36).slice(2, 8)}` : sub
  session = await Session.open(token)
  const welcome = await session.request({ type: 'hello', peer, meta: { page: PAGE } }, ({ type }) => type === 'welcome')
  session.stun = welcome.ice_servers.filter(({ username }) => !username)
  session.onframe = onFrame
  session.onend = (fault) => {
    clearInterval(beat)
    byId('wait').disabled = false
    byId('calling').hidden = true
    byId('meeting-says').textContent = `${fault.title}: ${sentence(fault.cause)} ${fault.fix ? sentence(fault.fix) : ''}`
  }
  beat = setInterval(() => session.ping().catch(() => {}), welcome.heartbeat_ms)
  byId('calling').hidden = false
  byId('meeting-says').textContent = `Registered as ${peer}. Open this page in another browser, register there with another token, and connect from either.`
  byId('peer').focus()
  return { detail: `as ${peer}, seen from ${welcome.observed_address}` }
}

/** What comes unasked: messages of the other page, and the attempts that it begins. */
function onFrame(frame) {
  if (frame.type === 'message') {
    session.send({ type: 'ack', seq: frame.seq })
    talks.get(frame.payload?.attempt)?.hear(frame.kind, frame.payload)
  } else if (frame.type === 'attempt') {
    meet(frame, new Steps(byId('meeting-steps')))
  } else if (frame.type === 'ended') {
    talks.get(frame.attempt)?.fail(ENDED[frame.reason] ?? frame.reason)
  }
}

const ENDED = {
  peer_gone: 'the other one is gone',
  peer_failed: 'the other one found no path',
  timeout: 'neither side reported a path in time',
}

async function call(peer) {
  const steps = new Steps(byId('meeting-steps'))
  const step = steps.add('attempt', 'The server introduces both')
  const id = `call-${Date.now()}`
  await steps.run(step, async () => {
    if (!peer) throw new Fault('Nobody is named', 'the field above is empty', 'write the peer id that the other copy shows')
    const connect = { type: 'connect', id, to: peer, policy: 'auto' }
    const attempt = await session.request(connect, (frame) => frame.type === 'attempt' && frame.id === id)
    return { detail: `attempt ${attempt.attempt}`, value: attempt }
  })
  if (step.state === 'ok') await meet(step.value, steps)
}

/** Attempts that go on, by their id. */
const talks = new Map()

async function meet(attempt, steps) {
  const talk = new Talk(attempt)
  talks.set(attempt.attempt, talk)
  byId('meeting-says').textContent = `Connects to ${attempt.peer} …`
  const path = steps.add('path', 'A path is found and a data channel opens')
  const echo = steps.add('echo', attempt.controlling ? 'Data goes there and back' : 'The other one hears its echo')
  await steps.run(path, () => talk.connect())
  const found = path.value
  session.send(talk.report(path))
  if (found) await steps.run(echo, () => talk.echo())
  else steps.skip(echo, 'needs a path')
  talks.delete(attempt.attempt)
  byId('meeting-says').textContent = sentence(found ? `Connected to ${attempt.peer}: ${found.verdict}` : `Not connected: ${path.fault.cause}`)
}

/** One attempt’s RTCPeerConnection. */
class Talk {
  #attempt
  #connection
  /** What the other side says is taken in one after the other, and not before there is an offer. */
  #heard = Promise.resolve()
  #fail = () => {}
  #channel
  #done

  constructor(attempt) {
    this.#attempt = attempt
    const { attempt: id, peer } = attempt
    const policy = attempt.policy === 'relay' ? 'relay' : 'all'
    const connection = new RTCPeerConnection({ iceServers: [...session.stun, ...attempt.relays], iceTransportPolicy: policy })
    this.#connection = connection
    this.say = (kind, payload) => session.send({ type: 'send', id: `${kind}-${(sent += 1)}`, to: peer, kind, payload: { attempt: id, ...payload } })
    connection.onicecandidate = ({ candidate }) => candidate && this.say('candidate', { candidate: candidate.toJSON() })
  }

  async connect() {
    const { controlling, peer, peer_meta: meta } = this.#attempt
    if (meta?.page !== PAGE) {
      throw new Fault('No copy of this page', `${peer} is a program, which speaks another language after the introduction`, `reach it with \`p2p connect ${peer}\`, or open this page with its token`)
    }
    const started = performance.now()
    const ended = new Promise((_, reject) => (this.#fail = (cause) => reject(new Fault('The attempt ended', cause, 'try again; both pages have to stay open'))))
    ended.catch(() => {})
    await Promise.race([ended, controlling ? this.#offer() : this.#answer()])
    const took = performance.now() - started
    const pair = await selectedPair(this.#connection)
    return { ms: took, detail: `${pair.local} to ${pair.remote} over ${(pair.relayProtocol ?? pair.protocol ?? 'udp').toUpperCase()}`, value: { ...judge(pair), ms: took } }
  }

  async #offer() {
    this.#channel = this.#connection.createDataChannel('meeting')
    const open = opened(this.#channel, this.#connection, PATIENCE)
    await this.#connection.setLocalDescription()
    this.say('offer', { sdp: this.#connection.localDescription.sdp })
    await open
  }

  #answer() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Fault('No path came about', `no data channel within ${PATIENCE / 1000} s`, 'look at the other copy: its steps say more')), PATIENCE)
      this.#connection.ondatachannel = ({ channel }) => {
        clearTimeout(timer)
        this.#channel = channel
        this.#done = new Promise((resolve) => (channel.onclose = resolve))
        channel.onmessage = ({ data }) => channel.send(data)
        if (channel.readyState === 'open') resolve()
        else channel.onopen = resolve
      }
    })
  }

  /** Takes what the other page says. */
  hear(kind, payload) {
    this.#heard = this.#heard.then(() => this.#take(kind, payload)).catch((error) => this.#fail(String(error)))
  }

  async #take(kind, { sdp, candidate }) {
    const connection = this.#connection
    if (kind === 'offer' || kind === 'answer') await connection.setRemoteDescription({ type: kind, sdp })
    if (kind === 'candidate') await connection.addIceCandidate(candidate)
    if (kind === 'offer') {
      await connection.setLocalDescription()
      this.say('answer', { sdp: connection.localDescription.sdp })
    }
  }

  fail(cause) {
    this.#fail(cause)
  }

  /** The caller measures; the other one sends back until the caller has closed. */
  async echo() {
    if (!this.#attempt.controlling) {
      await Promise.race([this.#done, new Promise((resolve) => setTimeout(resolve, PATIENCE))])
      this.#connection.close()
      return { detail: 'done' }
    }
    const rtt = await roundTrip(this.#channel)
    this.#channel.close()
    return { ms: rtt, detail: `median of five round trips: ${ms(rtt)}` }
  }

  /** As clients tell it: docs/protocol.md, section 5. */
  report({ value, fault }) {
    const head = { type: 'report', attempt: this.#attempt.attempt }
    if (!value) {
      this.#connection.close()
      return { ...head, outcome: 'failed', ms: PATIENCE, steps: [], verdict: `failed: ${fault.cause}`.slice(0, 500) }
    }
    const took = Math.round(value.ms)
    const direct = value.outcome === 'direct' ? { direct_ms: took } : {}
    const step = { method: value.method, result: 'ok', ms: took, detail: 'two browsers, WebRTC' }
    return { ...head, outcome: value.outcome, method: value.method, ms: took, ...direct, steps: [step], verdict: value.verdict }
  }
}

let sent = 0

function judge({ local, remote }) {
  if (local === 'relay' || remote === 'relay') {
    return { outcome: 'relay', method: 'relay', verdict: 'relay: no direct pair of the two browsers’ addresses answered' }
  }
  if (local === 'host' || remote === 'host') {
    return { outcome: 'direct', method: 'direct', verdict: 'direct: one side reaches the other’s address' }
  }
  return { outcome: 'direct', method: 'udp-hole-punch', verdict: 'direct: both NATs were punched over UDP' }
}
