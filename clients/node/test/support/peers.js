// Coordinators for tests, shut down when the test ends, and waiting for what is to happen.
'use strict'

const { once } = require('node:events')
const { setTimeout: pause } = require('node:timers/promises')
const { P2PCoordinator } = require('../..')

/** Starts a coordinator of its own on free ports. */
async function host(t, options = {}) {
  const p2p = new P2PCoordinator({ signalingPort: 0, ...options })
  t.after(() => p2p.shutdown())
  await p2p.initialize()
  return p2p
}

/** Starts a program that joins another one's coordinator. */
async function joining(t, coordinator, peerId, options = {}) {
  const { signalingUrl } = coordinator
  const token = coordinator.createToken(peerId)
  const p2p = new P2PCoordinator({ signalingUrl, token, ...options })
  t.after(() => p2p.shutdown())
  await p2p.initialize()
  return p2p
}

/** Two connected programs: `there` is alice's side of the connection, `here` is bob's. */
async function pair(t, connecting) {
  const alice = await host(t, { peerId: 'alice' })
  const bob = await joining(t, alice, 'bob')
  const [[here], there] = await Promise.all([
    once(bob, 'connection'),
    alice.connectToPeer('bob', connecting),
  ])
  return { alice, bob, there, here }
}

/** Resolves when the condition holds; a test that waits too long is ended by its own time limit. */
async function until(condition) {
  while (!condition()) await pause(10)
}

module.exports = { host, joining, pair, until }
