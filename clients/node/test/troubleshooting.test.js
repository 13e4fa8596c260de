// Every row of the troubleshooting list: what is wrong is said in its words, with a code and a fix.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { existsSync, readFileSync } = require('node:fs')
const net = require('node:net')
const { once } = require('node:events')
const { P2PCoordinator, P2PError } = require('..')
const { assess } = require('../lib/health')
const { host, joining, until } = require('./support/peers')
const { program } = require('./support/programs')
const { stunServer, silentServer } = require('./support/stun')

const limit = { timeout: 60_000 }

/** Asserts that it rejects with a typed error of this code and message. */
async function rejects(promise, code, message) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof P2PError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, message)
    assert.ok(error.fix.length > 0, 'it says what to do')
    return true
  })
}

test('"P2P initialization failed": the coordinator cannot be reached', limit, async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  const p2p = new P2PCoordinator({
    signalingUrl: `ws://127.0.0.1:${port}`,
    token: 'not.a.token',
    peerId: 'bob',
    maxRetries: 0,
  })
  t.after(() => p2p.shutdown())
  await rejects(p2p.initialize(), 'unreachable', /^P2P initialization failed: /)
})

test('"P2P initialization failed": the token is refused', limit, async (t) => {
  const cluster = await host(t)
  const { signalingUrl } = cluster
  const options = { signalingUrl, token: cluster.createToken('bob'), peerId: 'alice' }
  const p2p = new P2PCoordinator(options)
  t.after(() => p2p.shutdown())
  await rejects(p2p.initialize(), 'auth', /^P2P initialization failed: /)
})

test('"P2P initialization failed": the function of token fails, or gives no token', limit, async (t) => {
  const { signalingUrl } = await host(t)
  const starting = (token) => {
    const p2p = new P2PCoordinator({ signalingUrl, token, peerId: 'bob' })
    t.after(() => p2p.shutdown())
    return p2p.initialize()
  }
  const failing = () => {
    throw new Error('no database')
  }
  await rejects(starting(failing), 'auth', /^P2P initialization failed: .*option token.*no database/)
  for (const value of [5, '', undefined, null]) {
    await rejects(starting(async () => value), 'usage', /option token: expected .* a JWT, got /)
  }
})

test('"P2P initialization failed": the fix names the option', limit, async (t) => {
  const starting = (options) => {
    const p2p = new P2PCoordinator({ signalingPort: 0, ...options })
    t.after(() => p2p.shutdown())
    return p2p.initialize()
  }
  await assert.rejects(starting({ signalingHost: '192.0.2.1' }), (error) => {
    assert.equal(error.code, 'address_unknown')
    assert.match(error.fix, /signalingHost/)
    return true
  })
  await assert.rejects(starting({ dataDir: '/proc/none' }), (error) => {
    assert.match(error.message, /^P2P initialization failed: the statistics/)
    assert.match(error.fix, /dataDir/)
    assert.doesNotMatch(error.fix, /--/)
    return true
  })
})

test('"P2P initialization failed": no STUN server answers', limit, async (t) => {
  const p2p = new P2PCoordinator({ signalingPort: 0, stunServers: [await silentServer(t)] })
  t.after(() => p2p.shutdown())
  await rejects(p2p.initialize(), 'stun_unreachable', /^P2P initialization failed: no STUN server/)
})

test('one silent STUN server of two is an issue, not an error', limit, async (t) => {
  const silent = await silentServer(t)
  const good = await stunServer(t, '127.0.0.1', ({ address, port }) => ({ address, port }))
  const p2p = await host(t, { stunServers: [silent, good] })
  assert.deepEqual(p2p.healthCheck().issues, [`STUN server ${silent} does not answer`])
})

test('"Peer not found"', limit, async (t) => {
  const p2p = await host(t)
  await rejects(p2p.connectToPeer('other-peer-id'), 'peer_not_found', /^Peer not found: other-peer-id$/)
})

test('arguments of calls are checked as options are', limit, async (t) => {
  const p2p = await host(t)
  for (const options of [{ policy: 'sideways' }, null, 5, 'relay?']) {
    await rejects(p2p.connectToPeer('bob', options), 'usage', /^policy: expected 'auto', 'direct' or 'relay'/)
  }
  for (const id of [undefined, '', {}, 'a/b']) {
    await rejects(p2p.connectToPeer(id), 'usage', /^peer id: expected 1 to 128 bytes/)
  }
  for (const options of [{ ttl: 0 }, { ttl: 'x' }, null]) {
    assert.throws(() => p2p.createToken('bob', options), /ttl: expected an integer/)
  }
  assert.equal(p2p.getStats().failedAttempts, 0)
  await rejects(p2p.registerPeer('bob', { n: 1n }), 'usage', /^metadata: expected an object/)
})

test('"Connection timeout": the peer has stopped', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice', connectionTimeout: 2000, maxRetries: 0 })
  const env = { P2P_URL: alice.signalingUrl, P2P_TOKEN: alice.createToken('bob') }
  const bob = program(t, 'test/support/waiting-peer.js', { env })
  await bob.line('ready')
  bob.child.kill('SIGSTOP')
  const state = `/proc/${bob.child.pid}/stat`
  if (existsSync(state)) await until(() => readFileSync(state, 'utf8').includes(') T '))
  await rejects(alice.connectToPeer('bob'), 'timeout', /^Connection timeout/)
})

test('"Port 8080 already in use", whichever port it is', limit, async (t) => {
  const first = await host(t)
  const { port } = new URL(first.signalingUrl)
  const second = new P2PCoordinator({ signalingPort: Number(port) })
  t.after(() => second.shutdown())
  await rejects(second.initialize(), 'port_taken', new RegExp(`^Port ${port} already in use$`))
  // The program carries on without P2P, and may try again when the port is free.
  assert.equal(second.healthCheck().healthy, false)
  await first.shutdown()
  await second.initialize()
  assert.equal(second.healthCheck().healthy, true)
})

test('"Port … already in use" is said of localPort, too', limit, async (t) => {
  const dgram = require('node:dgram')
  const socket = dgram.createSocket('udp6')
  t.after(() => socket.close())
  socket.bind(0)
  await once(socket, 'listening')
  const { port } = socket.address()
  const p2p = new P2PCoordinator({ signalingPort: 0, localPort: port })
  t.after(() => p2p.shutdown())
  await rejects(p2p.initialize(), 'port_taken', new RegExp(`^Port ${port} already in use$`))
})

const SYMMETRIC = 'Symmetric NAT detected but no TURN servers configured'
const known = {
  state: 'running',
  nat: { type: 'Symmetric' },
  relayReady: false,
  relayNamed: false,
  silentStun: [],
  signaling: { connected: true, cause: null, port: 8080, peers: 1 },
  registrationError: null,
}

test(`"${SYMMETRIC}" is an issue, not an error`, () => {
  assert.deepEqual(assess(known).issues, [SYMMETRIC])
  assert.equal(assess(known).healthy, false)
  assert.deepEqual(assess({ ...known, relayReady: true }).issues, [])
  assert.deepEqual(assess({ ...known, nat: { type: 'Full Cone' } }).issues, [])
})

test('every issue is told in its own words, and only where it is so', () => {
  const well = { ...known, nat: { type: 'Full Cone' }, relayReady: true, relayNamed: true }
  const issues = (change) => assess({ ...well, ...change }).issues
  const lost = { connected: false, cause: 'the wire is cut', ended: null, port: null, peers: 0 }
  assert.deepEqual(issues({}), [])
  assert.deepEqual(issues({ state: 'stopped', nat: null }), ['P2P is not running (stopped)'])
  assert.deepEqual(issues({ nat: { type: 'UDP Blocked' } }), [
    'UDP is blocked: no STUN server answers, so only what goes over TCP works',
  ])
  assert.deepEqual(issues({ relayReady: false }), ['No TURN server gives a relayed address'])
  assert.deepEqual(issues({ silentStun: ['stun:a:3478', 'stun:b:3478'] }), [
    'STUN server stun:a:3478 does not answer',
    'STUN server stun:b:3478 does not answer',
  ])
  assert.deepEqual(issues({ signaling: lost }), ['Signaling is disconnected: the wire is cut'])
  assert.deepEqual(issues({ signaling: { ...lost, cause: null, ended: 'replaced' } }), [
    'Signaling is disconnected: no cause is known; registerPeer() registers again',
  ])
  assert.deepEqual(issues({ registrationError: 'the token is refused' }), [
    'Registration failed: the token is refused',
  ])
})

test('the bundled relay counts as a TURN server behind a symmetric NAT', limit, async (t) => {
  const seen = (port) => () => ({ address: '203.0.113.7', port })
  const stunServers = [
    await stunServer(t, '127.0.0.1', seen(40_000)),
    await stunServer(t, '127.0.0.2', seen(40_001)),
  ]
  const p2p = await host(t, { stunServers })
  assert.equal(p2p.getNATInfo().type, 'Symmetric')
  assert.equal(p2p.getRecommendedStrategy().method, 'relay')
  assert.deepEqual(p2p.healthCheck(), {
    healthy: true,
    services: {
      holePunching: { status: 'active', natType: 'Symmetric' },
      signaling: { status: 'active', port: Number(new URL(p2p.signalingUrl).port), peers: 1 },
    },
    issues: [],
  })
})

test('a refused registration is an error of what follows, and an issue', limit, async (t) => {
  const cluster = await host(t)
  const bob = await joining(t, cluster, 'bob')
  // Not awaited, as programs do: it must not end the process.
  bob.registerPeer('somebody-else')
  await rejects(bob.connectToPeer('alice'), 'auth', /./)
  assert.match(bob.healthCheck().issues[0], /^Registration failed: /)
  // Nothing has changed for those who come after it: bob is still bob.
  const alice = await joining(t, cluster, 'alice')
  await rejects(bob.registerPeer(undefined), 'usage', /peer id/)
  await (await bob.connectToPeer('alice')).close()
  await (await alice.connectToPeer('bob')).close()
  await bob.registerPeer('bob')
  assert.equal(bob.healthCheck().healthy, true)
})
