// The examples run, as they stand.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { mkdtemp, readFile, rm, writeFile } = require('node:fs/promises')
const { randomBytes } = require('node:crypto')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { program } = require('./support/programs')
const { stunServer } = require('./support/stun')
const { host } = require('./support/peers')

const limit = { timeout: 60_000 }
const preload = { NODE_OPTIONS: '--require ./test/support/other-peer.js' }
const anyPort = { ...preload, SIGNALING_PORT: '0', PORT: '0' }

test('the program of the design runs word for word', limit, async (t) => {
  const seen = () => ({ address: '203.0.113.7', port: 40_000 })
  const stun = [await stunServer(t, '127.0.0.1', seen), await stunServer(t, '127.0.0.2', seen)]
  const reserved = await host(t)
  const port = new URL(reserved.signalingUrl).port
  await reserved.shutdown()
  const env = { ...preload, P2P_TEST_STUN: stun.join(','), P2P_TEST_PORT: port }
  const { code, output, errors } = await program(t, 'examples/simple.js', { env }).ended
  assert.equal(code, 0, errors)
  for (const field of [
    /type: 'Port-Restricted Cone'/,
    /publicIP: '203\.0\.113\.7'/,
    /publicPort: 40000/,
    /method: 'udp-hole-punch'/,
    /successRate: 85/,
    /kind: '(direct|relay)'/,
    /registeredPeers: 2/,
    /activePeers: 1/,
    /totalConnections: 1/,
    /successfulPunches: [01]/,
    /failedAttempts: 0/,
    /uptime: \d+/,
    /peers: \{ registered: 2, active: 1, connections: 1 \}/,
    /performance: \{ successRate: '100\.00', failureRate: '0\.00' \}/,
    /healthy: true/,
    /holePunching: \{ status: 'active', natType: 'Port-Restricted Cone' \}/,
    new RegExp(`signaling: \\{ status: 'active', port: ${port}, peers: 2 \\}`),
    /issues: \[\]/,
  ]) {
    assert.match(output, field)
  }
})

test('the program of the design is the one of the interface description', async () => {
  const text = await readFile(join(__dirname, '..', 'examples', 'simple.js'), 'utf8')
  for (const words of [
    "new P2PCoordinator({ signalingPort: 8080, stunServers: ['stun:stun.example.org:3478'],",
    "turnServers: [{ urls: 'turn:turn.example.org:3478', username: 'user', credential: 'pass' }],",
    'localPort: 0, keepAliveInterval: 25000, connectionTimeout: 30000, maxRetries: 3, enableDetailedLogging: false })',
    "p2p.registerPeer('my-peer-id', { name: 'My Server' })",
    "const connection = await p2p.connectToPeer('other-peer-id')",
  ]) {
    assert.ok(text.includes(words), words)
  }
})

test('the first program of docs/node.md runs as it stands', limit, async (t) => {
  const page = await readFile(join(__dirname, '..', '..', '..', 'docs', 'node.md'), 'utf8')
  const [, source] = /```js\n([\s\S]*?)```/.exec(page)
  const folder = await mkdtemp(join(tmpdir(), 'p2p-docs-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'first.js')
  await writeFile(file, source)
  const { code, output, errors } = await program(t, file, { env: preload }).ended
  assert.equal(code, 0, errors)
  assert.equal(output, 'you said: hello')
})

test('integration: P2P starts before the server, and SIGTERM shuts both down', limit, async (t) => {
  const server = program(t, 'examples/integration.js', { env: anyPort })
  const url = (await server.line('listening on')).split(' ').at(-1)
  const answer = await (await fetch(url)).json()
  assert.equal(answer.usesP2P, true)
  assert.equal(answer.health.healthy, true)
  server.child.kill('SIGTERM')
  const { code, signal, output } = await server.ended
  assert.deepEqual({ code, signal }, { code: 0, signal: null })
  assert.match(output, /stopped/)
})

test('integration: the server carries on without P2P', limit, async (t) => {
  const other = await host(t)
  const { port } = new URL(other.signalingUrl)
  const env = { ...anyPort, SIGNALING_PORT: port }
  const server = program(t, 'examples/integration.js', { env })
  const url = (await server.line('listening on')).split(' ').at(-1)
  const answer = await (await fetch(url)).json()
  assert.equal(answer.usesP2P, false)
  assert.equal(answer.health.healthy, false)
  server.child.kill('SIGTERM')
  const { code, errors } = await server.ended
  assert.equal(code, 0)
  assert.match(errors, new RegExp(`Port ${port} already in use \\(port_taken\\): `))
})

test('chat: two programs talk, and one notices that the other leaves', limit, async (t) => {
  const alice = program(t, 'examples/chat.js', { args: ['alice'], env: anyPort })
  const args = (await alice.line('join with')).split(' ').slice(4)
  const bob = program(t, 'examples/chat.js', { args, env: anyPort })
  await Promise.all([alice.line('bob is here'), bob.line('alice is here')])
  bob.child.stdin.write('hello alice\n')
  await alice.line('bob: hello alice')
  alice.child.stdin.write('hello bob\n')
  await bob.line('alice: hello bob')
  bob.child.stdin.end()
  assert.equal((await bob.ended).code, 0)
  await alice.line('bob has gone')
  assert.equal((await alice.ended).code, 0)
})

test('file transfer: the file arrives whole, with a progress bar on both sides', limit, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'p2p-files-'))
  t.after(() => rm(folder, { recursive: true }))
  const data = randomBytes(5_000_000)
  await writeFile(join(folder, 'source.bin'), data)
  const inbox = await mkdtemp(join(folder, 'inbox-'))
  const receiver = program(t, 'examples/file-transfer.js', { args: ['receive', inbox], env: anyPort })
  const [, , url, token] = (await receiver.line('send with')).split(' ').slice(4)
  const args = ['send', join(folder, 'source.bin'), url, token]
  const sent = await program(t, 'examples/file-transfer.js', { args, env: anyPort }).ended
  assert.equal(sent.code, 0, sent.errors)
  assert.match(sent.output, /^sent .*source\.bin \((direct|relay)\)$/m)
  assert.match(sent.errors, /\[#{25}\] 100 %/)
  const received = await receiver.ended
  assert.equal(received.code, 0, received.errors)
  assert.match(received.errors, /\[#{25}\] 100 %/)
  assert.ok(data.equals(await readFile(join(inbox, 'source.bin'))))
})
