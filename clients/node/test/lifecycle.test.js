// Starting twice, stopping, using what is stopped, and ending with the process.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const net = require('node:net')
const { once } = require('node:events')
const { Worker } = require('node:worker_threads')
const { P2PCoordinator } = require('..')
const { host, pair, joining } = require('./support/peers')
const { program, folder } = require('./support/programs')

const limit = { timeout: 60_000 }
const code = (expected) => (error) => {
  assert.equal(error.code, expected, error.stack)
  assert.ok(error.fix)
  return true
}

test('initialize() twice starts once', limit, async (t) => {
  const p2p = new P2PCoordinator({ signalingPort: 0 })
  t.after(() => p2p.shutdown())
  const [first, second] = [p2p.initialize(), p2p.initialize()]
  assert.equal(first, second)
  await first
  assert.equal(p2p.initialize(), first)
  assert.equal(p2p.getStats().registeredPeers, 1)
})

test('use before initialize() is an error that says so', async () => {
  const p2p = new P2PCoordinator()
  await assert.rejects(p2p.connectToPeer('bob'), code('not_initialized'))
  await assert.rejects(p2p.registerPeer('alice'), code('not_initialized'))
  assert.throws(() => p2p.getNATInfo(), code('not_initialized'))
  assert.throws(() => p2p.getRecommendedStrategy(), code('not_initialized'))
  assert.throws(() => p2p.createToken('bob'), code('not_initialized'))
  assert.equal(p2p.healthCheck().healthy, false)
  assert.equal(p2p.getStats().performance.successRate, '0.00')
})

test('use after shutdown() is an error that says so', limit, async (t) => {
  const p2p = await host(t)
  const stopped = once(p2p, 'close')
  await p2p.shutdown()
  await stopped
  await assert.rejects(p2p.initialize(), code('closed'))
  await assert.rejects(p2p.connectToPeer('bob'), code('closed'))
  await assert.rejects(p2p.registerPeer('alice'), code('closed'))
  assert.throws(() => p2p.getNATInfo(), code('closed'))
  assert.throws(() => p2p.createToken('bob'), code('closed'))
  const health = p2p.healthCheck()
  assert.equal(health.healthy, false)
  assert.equal(health.services.signaling.status, 'stopped')
})

test('shutdown() twice, and before initialize(), is no error', limit, async (t) => {
  const p2p = await host(t)
  assert.equal(p2p.shutdown(), p2p.shutdown())
  await p2p.shutdown()
  await new P2PCoordinator().shutdown()
})

test('shutdown() during initialize() ends it, and frees the port', limit, async () => {
  const p2p = new P2PCoordinator({ signalingPort: 0 })
  const starting = p2p.initialize()
  const outcome = assert.rejects(starting, code('closed'))
  await p2p.shutdown()
  await outcome
})

test('shutdown() tells the other side, and keeps the statistics', limit, async (t) => {
  const { alice, bob, here } = await pair(t)
  const told = once(here, 'close')
  await alice.shutdown()
  assert.match((await told)[0], /closed by the other side/)
  assert.equal(alice.getStats().totalConnections, 1)
  assert.equal(bob.getStats().peers.connections, 0)
})

/** A UDP port that nobody has. */
async function freePort() {
  const socket = require('node:dgram').createSocket('udp6').bind(0)
  await once(socket, 'listening')
  const { port } = socket.address()
  await new Promise((resolve) => socket.close(resolve))
  return port
}

test('a fixed localPort is kept by registerPeer(), and so is what was counted', limit, async (t) => {
  const localPort = await freePort()
  const p2p = await host(t, { localPort })
  await joining(t, p2p, 'bob')
  await (await p2p.connectToPeer('bob')).close()
  await p2p.registerPeer('my-peer-id')
  assert.equal(p2p.getNATInfo().publicPort, localPort)
  assert.equal(p2p.getStats().totalConnections, 1)
})

test('a refused id leaves a program with a fixed localPort without one, which it can mend', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  const bob = await joining(t, alice, 'bob', { localPort: await freePort() })
  await assert.rejects(bob.registerPeer('somebody-else'), code('auth'))
  const { services, issues } = bob.healthCheck()
  assert.equal(services.signaling.status, 'disconnected')
  assert.match(issues.at(-1), /^Registration failed: /)
  await bob.registerPeer('bob')
  assert.equal(bob.healthCheck().healthy, true)
  await (await bob.connectToPeer('alice')).ping()
})

test('a process ends by itself after shutdown()', limit, async (t) => {
  const { code: exit, errors } = await program(t, 'test/support/short-life.js').ended
  assert.equal(exit, 0, errors)
})

test('a program that never calls shutdown() ends with SIGTERM and frees its port', limit, async (t) => {
  const child = program(t, 'test/support/careless.js')
  const [, url] = (await child.line('ready')).split(' ')
  child.child.kill('SIGTERM')
  const { signal } = await child.ended
  assert.equal(signal, 'SIGTERM')
  const server = net.createServer().listen(Number(new URL(url).port), '127.0.0.1')
  await once(server, 'listening')
  server.close()
})

test('two programs in two processes connect and exchange', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  const env = { P2P_URL: alice.signalingUrl, P2P_TOKEN: alice.createToken('bob') }
  await program(t, 'test/support/waiting-peer.js', { env }).line('ready')
  const connection = await alice.connectToPeer('bob')
  const answer = once(connection, 'message')
  connection.send('across processes')
  assert.deepEqual(await answer, ['across processes'])
})

test('worker threads have coordinators of their own', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  const workers = ['one', 'two', 'three'].map((name) => {
    const workerData = { signalingUrl: alice.signalingUrl, token: alice.createToken(name) }
    const worker = new Worker(`${folder}/test/support/worker.js`, { workerData })
    t.after(() => worker.terminate())
    return { name, worker, ready: once(worker, 'message') }
  })
  for (const { name, ready } of workers) {
    await ready
    const connection = await alice.connectToPeer(name)
    const answer = once(connection, 'message')
    connection.send(`to ${name}`)
    assert.deepEqual(await answer, [`to ${name}`])
  }
})

test('a terminated worker takes its client with it, whatever that was waiting for', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  const bob = await joining(t, alice, 'bob')
  for (let round = 0; round < 5; round += 1) {
    const workerData = { signalingUrl: alice.signalingUrl, token: alice.createToken('worker') }
    const worker = new Worker(`${folder}/test/support/worker.js`, { workerData })
    await once(worker, 'message')
    const connection = await bob.connectToPeer('worker')
    const answer = once(connection, 'message')
    connection.send('hello')
    await answer
    await worker.terminate()
  }
  const connection = await alice.connectToPeer('bob')
  await connection.ping()
})
