// Connections: messages, back-pressure, streams, the path, the end.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { createHash, randomBytes } = require('node:crypto')
const { P2PCoordinator, Connection } = require('..')
const { pair, host, joining, until } = require('./support/peers')
const { program } = require('./support/programs')

const limit = { timeout: 60_000 }

/** The next `count` messages. */
function messages(connection, count) {
  return new Promise((resolve) => {
    const received = []
    connection.on('message', (message) => {
      received.push(message)
      if (received.length === count) resolve(received)
    })
  })
}

test('text arrives as text and bytes as a Buffer, whole and in order', limit, async (t) => {
  const { there, here } = await pair(t)
  const large = randomBytes(3_000_000)
  const received = messages(here, 7)
  there.send('grüß dich')
  there.send('')
  there.send(Buffer.from([0, 255]))
  there.send(new Uint16Array([1, 2]).subarray(1))
  there.send(new Uint8Array([7]).buffer)
  there.send(Buffer.alloc(0))
  there.send(large)
  const bytes = (...values) => Buffer.from(values)
  const small = [bytes(0, 255), bytes(2, 0), bytes(7), Buffer.alloc(0)]
  assert.deepEqual(await received, ['grüß dich', '', ...small, large])
})

test('messages go both ways at once', limit, async (t) => {
  const { there, here } = await pair(t)
  const [east, west] = [messages(here, 500), messages(there, 500)]
  for (let n = 0; n < 500; n += 1) {
    there.send(`east ${n}`)
    here.send(`west ${n}`)
  }
  assert.deepEqual(await east, Array.from({ length: 500 }, (_, n) => `east ${n}`))
  assert.deepEqual(await west, Array.from({ length: 500 }, (_, n) => `west ${n}`))
})

test('no message is lost before somebody listens', limit, async (t) => {
  const { there, here } = await pair(t)
  there.send('early')
  await there.ping()
  assert.deepEqual(await once(here, 'message'), ['early'])
})

test('send() answers false when it is enough, and drain follows', limit, async (t) => {
  const { there, here } = await pair(t)
  const chunk = Buffer.alloc(256 * 1024)
  let sent = 0
  while (there.send(chunk)) sent += 1
  sent += 1
  const drained = once(there, 'drain')
  const received = messages(here, sent)
  await drained
  assert.equal((await received).length, sent)
})

test('a program that does not mind the answer gets an error before memory ends', limit, async (t) => {
  const { there } = await pair(t)
  const chunk = Buffer.alloc(8 * 1024 * 1024)
  assert.throws(
    () => {
      for (let n = 0; n < 20; n += 1) there.send(chunk)
    },
    (error) => error.code === 'buffer_full' && /drain/.test(error.fix),
  )
})

test('what cannot be sent is an error that says what can', limit, async (t) => {
  const { there } = await pair(t)
  for (const value of [5, null, undefined, {}, [1]]) {
    assert.throws(() => there.send(value), /send\(\) expects a string, a Buffer/)
  }
  const [bytes, view] = [new ArrayBuffer(8), new Uint8Array(8)]
  structuredClone([bytes, view], { transfer: [bytes, view.buffer] })
  for (const gone of [bytes, view]) {
    assert.throws(() => there.send(gone), (error) => error.code === 'usage' && /transferred/.test(error.message))
  }
  const tooLong = Buffer.alloc(16 * 1024 * 1024 + 1)
  assert.throws(() => there.send(tooLong), (error) => error.code === 'usage' && /stream/.test(error.fix))
})

test('a stream carries bytes both ways and ends each way by itself', limit, async (t) => {
  const { there, here } = await pair(t)
  here.on('stream', (stream) => stream.pipe(stream))
  const data = randomBytes(5_000_000)
  const stream = await there.openStream()
  const hash = createHash('sha256')
  const reading = pipeline(stream, hash)
  Readable.from([data]).pipe(stream)
  await reading
  assert.equal(hash.digest('hex'), createHash('sha256').update(data).digest('hex'))
})

test('a slow reader of a stream slows its writer down', limit, async (t) => {
  const { there, here } = await pair(t)
  const arriving = once(here, 'stream')
  const stream = await there.openStream()
  const chunk = Buffer.alloc(1024 * 1024)
  let written = 0
  while (stream.write(chunk)) written += 1
  const [incoming] = await arriving
  let taken = false
  const drained = Promise.all(Array.from({ length: 30 }, async () => {
    await new Promise((resolve) => stream.write(chunk, resolve))
    written += 1
  })).then(() => assert.ok(taken, 'nobody reads, and all was taken'))
  await there.ping()
  taken = true
  incoming.resume()
  await drained
  stream.end()
  await once(incoming, 'end')
})

test('a stream whose connection ends is an error for its reader', limit, async (t) => {
  const { there, here } = await pair(t)
  const arriving = once(here, 'stream')
  const stream = await there.openStream()
  stream.write('hello')
  const [incoming] = await arriving
  const failed = once(incoming, 'error')
  incoming.resume()
  stream.on('error', () => {})
  await there.close()
  await here.close()
  const [error] = await failed
  assert.equal(error.code, 'closed')
})

test('a stream that has been read to its end closes with its connection', limit, async (t) => {
  const { there, here } = await pair(t)
  const arriving = once(here, 'stream')
  const stream = await there.openStream()
  stream.end('all of it')
  const [incoming] = await arriving
  await once(incoming.resume(), 'end')
  const closed = once(incoming, 'close')
  await there.close()
  await closed
  assert.equal(incoming.errored, null)
})

test('streams that nobody takes hold up neither messages nor the end', limit, async (t) => {
  const { there, here } = await pair(t)
  for (let count = 0; count < 40; count += 1) {
    const stream = await there.openStream()
    stream.on('error', () => {})
    stream.write('nobody reads this')
  }
  const arrived = once(here, 'message')
  there.send('beside them')
  assert.deepEqual(await arrived, ['beside them'])
  await there.close()
  assert.equal(here.closed || (await once(here, 'close')).length === 1, true)
})

test('close() waits until what was sent has arrived, and both sides learn the reason', limit, async (t) => {
  const { there, here } = await pair(t)
  const received = messages(here, 200)
  const [closedHere, closedThere] = [once(here, 'close'), once(there, 'close')]
  for (let n = 0; n < 200; n += 1) there.send(Buffer.alloc(10_000, n))
  await there.close('enough for today')
  assert.equal((await received).length, 200)
  assert.deepEqual(await closedHere, ['closed by the other side: enough for today'])
  assert.equal((await closedThere)[0], 'closed here')
  assert.equal(there.closed, true)
  await there.close()
})

test('a closed connection says so, and keeps its last figures', limit, async (t) => {
  const { there, alice } = await pair(t)
  await there.close()
  assert.throws(() => there.send('x'), (error) => error.code === 'closed')
  await assert.rejects(there.openStream(), (error) => error.code === 'closed')
  assert.match(there.path.kind, /^(direct|relay)$/)
  assert.ok(there.stats().packetsSent > 0)
  assert.equal(alice.getStats().peers.connections, 0)
})

test('the path says kind, method, address and round trip', limit, async (t) => {
  const { there } = await pair(t)
  let path
  await until(() => (path = there.path)?.kind === 'direct' && path.rtt > 0)
  assert.equal(path.method, 'direct')
  assert.match(path.remote, /:\d+$/)
  assert.ok(path.rtt < 1000)
})

test('pathchange tells the new path, and none as null', async () => {
  const direct = { kind: 'direct', method: 'udp-hole-punch', remote: '203.0.113.7:4000', rtt: 9 }
  const paths = [direct, null]
  const news = [{ path: true }, { path: true }, { closed: 'closed here' }]
  const connection = new Connection({
    peer: 'bob',
    attempt: 'a1',
    news: async () => news.shift(),
    path: () => (paths.length > 0 ? paths.shift() : null),
    verdict: () => null,
    stats: () => ({}),
    release: () => {},
  })
  const told = []
  connection.on('pathchange', (path) => told.push(path))
  await once(connection, 'close')
  assert.deepEqual(told, [direct, null])
})

test('close() reaches a peer that no message was sent to', limit, async (t) => {
  const { there, here } = await pair(t)
  await there.ping()
  await here.ping()
  const told = once(here, 'close')
  await there.close('nothing to say')
  assert.match((await told)[0], /closed by the other side/)
})

test('a listener that throws is the program’s error and stops no message', limit, async (t) => {
  const { output, errors } = await program(t, 'test/support/throwing.js').ended
  assert.equal(output, 'uncaught: my own\nlast message: two', errors)
})

test('a token may come from a function, and a pattern gives ids of its own', limit, async (t) => {
  const alice = await host(t, { peerId: 'alice' })
  const asked = []
  const bob = new P2PCoordinator({
    signalingUrl: alice.signalingUrl,
    peerId: 'bob',
    token: async (peerId) => {
      asked.push(peerId)
      return alice.createToken(peerId)
    },
  })
  t.after(() => bob.shutdown())
  await bob.initialize()
  await bob.registerPeer('robert')
  assert.deepEqual(asked, ['bob', 'robert'])
  assert.equal(bob.peerId, 'robert')
})

test('createToken() makes tokens of this program’s own coordinator alone', limit, async (t) => {
  const alice = await host(t)
  assert.throws(() => alice.createToken('bob', { ttl: 0 }), /ttl: expected an integer/)
  const bob = await joining(t, alice, 'bob')
  assert.throws(() => bob.createToken('carol'), /not this program’s own/)
})
