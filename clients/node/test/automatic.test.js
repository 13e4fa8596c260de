// What happens by itself after initialize(): twelve things, one test each.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { P2PCoordinator } = require('..')
const { host, joining, pair, until } = require('./support/peers')
const { program } = require('./support/programs')
const { stunServer } = require('./support/stun')

const limit = { timeout: 60_000 }
/** A NAT that maps a socket to one port whatever the destination. */
const cone = () => ({ address: '203.0.113.7', port: 40_000 })

test('the NAT type is detected', limit, async (t) => {
  const stunServers = [await stunServer(t, '127.0.0.1', cone), await stunServer(t, '127.0.0.2', cone)]
  const p2p = await host(t, { stunServers })
  const nat = p2p.getNATInfo()
  assert.equal(nat.type, 'Port-Restricted Cone')
  assert.equal(nat.mapping, 'endpoint-independent')
  assert.match(nat.unknownBecause.filtering, /second address/)
})

test('the public address is detected', limit, async (t) => {
  const p2p = await host(t, { stunServers: [await stunServer(t, '127.0.0.1', cone)] })
  const { publicIP, publicPort } = p2p.getNATInfo()
  assert.deepEqual({ publicIP, publicPort }, { publicIP: '203.0.113.7', publicPort: 40_000 })
})

test('the signaling server is started on signalingPort', limit, async (t) => {
  const first = await host(t)
  const { port } = new URL(first.signalingUrl)
  await first.shutdown()
  const p2p = await host(t, { signalingPort: Number(port) })
  assert.equal(p2p.signalingUrl, `ws://127.0.0.1:${port}`)
  const answer = await fetch(`http://127.0.0.1:${port}/livez`)
  assert.equal(answer.status, 200)
})

test('a cluster is joined with signalingUrl and token', limit, async (t) => {
  const cluster = await host(t)
  const p2p = await joining(t, cluster, 'bob')
  assert.equal(p2p.peerId, 'bob')
  assert.equal(p2p.signalingUrl, cluster.signalingUrl)
  assert.equal(cluster.getStats().registeredPeers, 2)
})

test('the program is registered, and registerPeer() gives it its name', limit, async (t) => {
  const p2p = await host(t)
  assert.match(p2p.peerId, /^peer-/)
  assert.equal(p2p.getStats().registeredPeers, 1)
  await p2p.registerPeer('my-peer-id', { name: 'My Server' })
  assert.equal(p2p.peerId, 'my-peer-id')
  await until(() => p2p.getStats().registeredPeers === 1)
})

test('the program is discoverable: others see it and its metadata, and reach it', limit, async (t) => {
  const p2p = await host(t)
  await p2p.registerPeer('my-peer-id', { name: 'My Server' })
  const authorization = `Bearer ${p2p.createToken('visitor')}`
  const url = p2p.signalingUrl.replace('ws:', 'http:')
  const answer = await fetch(`${url}/v1/peers`, { headers: { authorization } })
  assert.equal(answer.status, 200)
  const found = JSON.stringify(await answer.json())
  assert.match(found, /my-peer-id/)
  const visitor = await joining(t, p2p, 'visitor')
  const connection = await visitor.connectToPeer('my-peer-id')
  assert.equal(connection.peerId, 'my-peer-id')
})

test('health is monitored: a lost coordinator is told and shows in healthCheck()', limit, async (t) => {
  const cluster = await host(t)
  const p2p = await joining(t, cluster, 'bob')
  assert.equal(p2p.healthCheck().healthy, true)
  const told = once(p2p, 'health')
  await cluster.shutdown()
  const [health] = await told
  assert.equal(health.healthy, false)
  assert.equal(health.services.signaling.status, 'disconnected')
  assert.match(health.issues[0], /^Signaling is disconnected/)
})

test('idle connections are kept alive', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice', keepAliveInterval: 1000 })
  await joining(t, alice, 'bob', { keepAliveInterval: 1000 })
  const connection = await alice.connectToPeer('bob')
  await connection.ping()
  const before = connection.stats()
  await until(() => connection.stats().packetsSent >= before.packetsSent + 3)
  assert.equal(connection.closed, false)
})

test('statistics are kept', limit, async (t) => {
  const { alice } = await pair(t)
  for (let calls = 1; calls < 5; calls += 1) await alice.connectToPeer('bob')
  await assert.rejects(alice.connectToPeer('nobody'))
  // The relay may carry the first bytes; the direct path takes over.
  await until(() => alice.getStats().successfulPunches === 5)
  const stats = alice.getStats()
  assert.deepEqual(stats.performance, { successRate: '83.33', failureRate: '16.67' })
  assert.deepEqual(stats.peers, { registered: 2, active: 1, connections: 5 })
  assert.equal(stats.registeredPeers, 2)
  assert.equal(stats.activePeers, 1)
  assert.equal(stats.totalConnections, 5)
  assert.equal(stats.relayedConnections, 0)
  assert.equal(stats.failedAttempts, 1)
  assert.ok(stats.uptime > 0)
})

test('each peer gets the best strategy: a peer on the same host is dialled directly', limit, async (t) => {
  const { alice, there } = await pair(t)
  assert.deepEqual(alice.getRecommendedStrategy(), {
    method: 'direct',
    successRate: 95,
    natType: 'Open',
    relayAvailable: true,
  })
  await until(() => there.path?.method === 'direct')
  assert.equal(there.verdict.outcome, 'direct')
})

test('the relay is there to fall back on, and carries data', limit, async (t) => {
  const { there, here } = await pair(t, { policy: 'relay' })
  assert.equal(there.path.kind, 'relay')
  assert.equal(there.path.method, 'relay')
  const arrived = once(here, 'message')
  there.send('through the relay')
  assert.deepEqual(await arrived, ['through the relay'])
  assert.equal(there.verdict.outcome, 'relay')
})

test('dead connections are cleaned up', { timeout: 90_000 }, async (t) => {
  const alice = await host(t, { peerId: 'alice', keepAliveInterval: 1000 })
  const env = { P2P_URL: alice.signalingUrl, P2P_TOKEN: alice.createToken('bob') }
  const bob = program(t, 'test/support/waiting-peer.js', { env })
  await bob.line('ready')
  const connection = await alice.connectToPeer('bob')
  const closed = once(connection, 'close')
  bob.child.kill('SIGKILL')
  const [reason] = await closed
  assert.match(reason, /nothing was heard/)
  assert.equal(alice.getStats().activePeers, 0)
  assert.equal(alice.getStats().peers.connections, 0)
})

test('none of it needs an option', () => {
  assert.doesNotThrow(() => new P2PCoordinator())
})
