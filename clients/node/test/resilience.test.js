// What goes wrong while it runs: the coordinator dies, a program is replaced, many come at once,
// a connection is closed while it is used, a worker is terminated.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const net = require('node:net')
const { once } = require('node:events')
const { setTimeout: pause } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')
const { P2PCoordinator } = require('..')
const { host, joining, pair, until } = require('./support/peers')
const { program, folder } = require('./support/programs')

const limit = { timeout: 90_000 }

test('connections outlive their coordinator, and new ones are refused with the reason', limit, async (t) => {
  const coordinator = program(t, 'test/support/careless.js', { args: ['alice', 'bob'] })
  const [, signalingUrl, ...tokens] = (await coordinator.line('ready')).split(' ')
  const [alice, bob] = await Promise.all(
    tokens.map(async (token) => {
      const p2p = new P2PCoordinator({ signalingUrl, token, connectionTimeout: 2000 })
      t.after(() => p2p.shutdown())
      await p2p.initialize()
      return p2p
    }),
  )
  const [[here], there] = await Promise.all([once(bob, 'connection'), alice.connectToPeer('bob')])
  await until(() => there.path?.kind === 'direct' && here.path?.kind === 'direct')
  const unwell = once(alice, 'health')
  coordinator.child.kill('SIGKILL')
  const [health] = await unwell
  assert.equal(health.services.signaling.status, 'disconnected')
  const arrived = once(here, 'message')
  there.send('still here')
  assert.deepEqual(await arrived, ['still here'])
  await assert.rejects(
    alice.connectToPeer('bob'),
    (error) => error.code === 'unreachable' && /^the coordinator is not connected: /.test(error.message),
  )
  await there.close()
})

test('a program whose id another one takes says so, and can take it back', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  const bob = await joining(t, alice, 'bob')
  const told = once(bob, 'health')
  const usurper = await joining(t, alice, 'bob')
  const [{ issues }] = await told
  assert.match(issues[0], /^Signaling is disconnected: .*replaced.*registerPeer\(\) registers again$/)
  await assert.rejects(
    bob.connectToPeer('alice'),
    (error) => /the registration has ended: .*replaced/.test(error.message) && /registerPeer/.test(error.fix),
  )
  await usurper.shutdown()
  await bob.registerPeer('bob')
  assert.equal(bob.healthCheck().healthy, true)
  await (await bob.connectToPeer('alice')).ping()
})

// More than the 64 attempts that one peer may have open: the rest wait and try again. Each has the
// time that a busy machine takes for all of them.
test('a hundred peers connect to one at the same moment', { timeout: 400_000 }, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  alice.on('connection', (connection) => {
    connection.on('message', (message) => connection.send(message))
  })
  const peers = await Promise.all(
    Array.from({ length: 100 }, (_, number) => joining(t, alice, `peer-${number}`, { connectionTimeout: 300_000 })),
  )
  const answers = await Promise.all(
    peers.map(async (peer) => {
      const connection = await peer.connectToPeer('alice')
      const answer = once(connection, 'message')
      connection.send(peer.peerId)
      return (await answer)[0]
    }),
  )
  assert.deepEqual(answers, peers.map((peer) => peer.peerId))
  const { registeredPeers, activePeers, totalConnections } = alice.getStats()
  assert.deepEqual({ registeredPeers, activePeers, totalConnections }, {
    registeredPeers: 101,
    activePeers: 100,
    totalConnections: 100,
  })
  await Promise.all(peers.map((peer) => peer.shutdown()))
  await until(() => alice.getStats().peers.connections === 0)
})

test('the largest message arrives whole', limit, async (t) => {
  const { there, here } = await pair(t)
  const arrived = once(here, 'message')
  const largest = Buffer.alloc(16 * 1024 * 1024, 7)
  there.send(largest)
  assert.ok(largest.equals((await arrived)[0]))
})

test('close() in the middle of sending delivers what was sent before, and nothing after', limit, async (t) => {
  const { there, here } = await pair(t)
  let received = 0
  here.on('message', () => (received += 1))
  const gone = once(here, 'close')
  for (let count = 0; count < 50; count += 1) there.send(Buffer.alloc(100_000))
  const closing = there.close()
  assert.throws(() => there.send('too late'), (error) => error.code === 'closed')
  await closing
  await gone
  assert.equal(received, 50)
})

test('both sides close at once, while both send', limit, async (t) => {
  const { there, here } = await pair(t)
  for (const side of [there, here]) {
    for (let count = 0; count < 20; count += 1) side.send(Buffer.alloc(10_000))
  }
  const ends = [once(there, 'close'), once(here, 'close')]
  await Promise.all([there.close(), here.close(), ...ends])
  assert.deepEqual([there.closed, here.closed], [true, true])
})

test('shutdown() ends a connectToPeer() that waits', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  const bob = await joining(t, alice, 'bob')
  const outcome = bob.connectToPeer('alice').then(
    () => 'connected',
    (error) => error.code,
  )
  await bob.shutdown()
  assert.match(await outcome, /^(connected|closed)$/)
})

test('a terminated worker frees the ports of its coordinator', limit, async (t) => {
  const worker = new Worker(`${folder}/test/support/worker.js`, { workerData: { signalingPort: 0 } })
  t.after(() => worker.terminate())
  const [{ url }] = await once(worker, 'message')
  const port = Number(new URL(url).port)
  await worker.terminate()
  for (;;) {
    const server = net.createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
      return server.close()
    } catch (error) {
      assert.equal(error.code, 'EADDRINUSE')
      await pause(10)
    }
  }
})
