// The same script for PeerServer and for us: what clients hear is the same, to the letter, where
// PeerServer is right.
'use strict'

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { join } = require('node:path')
const { test } = require('node:test')

const WebSocket = require('ws')

const { dev, program } = require('./support/programs')

/** A client that writes down what it hears. */
class Client {
  constructor(server, id, token = `token-of-${id}`) {
    const query = id === undefined ? '' : `&id=${encodeURIComponent(id)}&token=${token}`
    this.socket = new WebSocket(`ws://${server.host}${server.path}peerjs?key=peerjs${query}`)
    this.heard = []
    this.waiting = () => {}
    this.socket.on('message', (data) => {
      this.heard.push(data.toString())
      this.waiting()
    })
    this.ended = once(this.socket, 'close')
  }

  /** One that has its id. */
  static async open(server, id, token) {
    const client = new Client(server, id, token)
    await client.until(1)
    assert.deepEqual(client.heard, ['{"type":"OPEN"}'])
    return client
  }

  send(frame) {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  /** Waits for so many frames in all. */
  async until(count) {
    const ended = this.ended.then(() => { throw new Error(`it ended after ${this.heard}`) })
    ended.catch(() => {})
    while (this.heard.length < count) {
      await Promise.race([ended, new Promise((heard) => { this.waiting = heard })])
    }
  }

  /** All frames but OPEN, once a frame to itself has come back: what came before it is all there is. */
  async everything() {
    const mark = `mark-${this.heard.length}`
    this.send({ type: 'OFFER', payload: mark, dst: this.id })
    while (!this.heard.some((text) => text.includes(mark))) await this.until(this.heard.length + 1)
    return this.heard.slice(1).filter((text) => !text.includes(mark))
  }

  get id() {
    return new URL(this.socket.url).searchParams.get('id')
  }
}

const offer = (dst, connectionId) => ({
  type: 'OFFER',
  payload: {
    sdp: { type: 'offer', sdp: 'v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n' },
    type: 'data', connectionId, metadata: { a: [1, null, 'ü'] }, label: connectionId, reliable: true,
    serialization: 'binary',
  },
  dst,
})

/** What is done at either server, and what is heard there. */
const SCRIPTS = {
  async 'frames are passed on with the sender that the server knows, and nothing else'(server) {
    const [alice, bob] = [await Client.open(server, 'alice'), await Client.open(server, 'bob b')]
    alice.send({ ...offer('bob b', 'dc_1'), src: 'mallory', extra: 1 })
    await bob.until(2)
    const connectionId = 'dc_1'
    bob.send({ type: 'ANSWER', payload: { sdp: { type: 'answer', sdp: '' }, type: 'data', connectionId }, dst: 'alice' })
    const candidate = { candidate: 'candidate:1', sdpMid: '0', sdpMLineIndex: 0, usernameFragment: null }
    bob.send({ type: 'CANDIDATE', payload: { candidate, type: 'data', connectionId }, dst: 'alice' })
    bob.send({ type: 'LEAVE', dst: 'alice' })
    bob.send({ type: 'EXPIRE', dst: 'alice' })
    await alice.until(5)
    return [await alice.everything(), await bob.everything()]
  },

  async 'heartbeats, unknown types and what is no frame are taken without a word'(server) {
    const [alice, bob] = [await Client.open(server, 'alice'), await Client.open(server, 'bob')]
    for (const frame of [
      { type: 'HEARTBEAT' }, { type: 'HEARTBEAT', dst: 'bob' }, { type: 'OPEN', dst: 'bob' },
      { type: 'ERROR', payload: { msg: 'x' }, dst: 'bob' }, { type: 'ID-TAKEN', dst: 'bob' },
      { type: 'offer', dst: 'bob' }, { type: 'OFFER', payload: 1 }, 'nonsense', { type: 'HEARTBEAT' },
    ]) {
      alice.send(frame)
    }
    return [await alice.everything(), await bob.everything()]
  },

  async 'an id is taken by another token'(server) {
    await Client.open(server, 'alice')
    const other = new Client(server, 'alice', 'other')
    await other.ended
    return other.heard
  },

  async 'what is sent to an id that nobody has yet comes in order when it is there'(server) {
    const alice = await Client.open(server, 'alice')
    for (const connection of ['dc_1', 'dc_2', 'dc_3']) alice.send(offer('bob', connection))
    alice.send({ type: 'LEAVE', dst: 'bob' })
    const before = await alice.everything()
    const bob = new Client(server, 'bob')
    await bob.until(4)
    return [before, bob.heard, await alice.everything()]
  },

  async 'who does not come is told of once'(server) {
    const alice = await Client.open(server, 'alice')
    for (const connection of ['dc_1', 'dc_2']) alice.send(offer('nobody', connection))
    await alice.until(2)
    return alice.everything()
  },

  async 'a peer that is gone for good is nobody, and others are not told'(server) {
    const alice = await Client.open(server, 'alice')
    const bob = await Client.open(server, 'bob')
    bob.socket.close()
    await bob.ended
    const carol = await Client.open(server, 'carol')
    carol.send({ type: 'LEAVE' })
    // Its id is free for whoever comes, as soon as the server has read it.
    const answers = []
    while (answers.at(-1) !== '{"type":"OPEN"}') {
      const another = new Client(server, 'carol', 'another')
      await another.until(1)
      answers.push(another.heard[0])
    }
    return [answers.at(-1), await alice.everything()]
  },

  async 'the plain requests'(server) {
    const get = async (path, key = 'peerjs/') => {
      const headers = { origin: 'https://app.example.org' }
      const answer = await fetch(`http://${server.host}${server.path}${key}${path}`, { headers })
      const [type, origin] = ['content-type', 'access-control-allow-origin'].map((name) => answer.headers.get(name))
      return { status: answer.status, type, origin, body: await answer.text() }
    }
    await Client.open(server, 'alice')
    const about = await get('', '')
    const { name, website } = JSON.parse(about.body)
    const id = await get('id?ts=17643&version=1.5.5')
    const shape = id.body.replaceAll(/[0-9a-f]/g, 'x')
    const peers = await get('peers?ts=17643&version=1.5.5')
    return [
      { ...about, body: { name, website } }, { ...id, body: shape }, peers,
    ].map((answer) => ({ ...answer, type: answer.type.toLowerCase().replace('; charset=utf-8', '') }))
  },
}

/** PeerServer, and a coordinator that asks for no JWT either; each script has them for itself. */
async function both(t) {
  const reference = program(t, process.execPath, [join(__dirname, 'support', 'peerserver.js')])
  const [ready, ours] = await Promise.all([
    reference.line((line) => line.startsWith('ready on ')), dev(t, ['--peerjs-open']),
  ])
  return [
    { host: `127.0.0.1:${ready.split(' ').at(-1)}`, path: '/' },
    { host: new URL(ours.origin).host, path: '/peerjs/' },
  ]
}

for (const [name, script] of Object.entries(SCRIPTS)) {
  test(`as PeerServer: ${name}`, async (t) => {
    const [reference, ours] = await Promise.all((await both(t)).map(script))
    assert.deepEqual(ours, reference)
  })
}

test('unlike PeerServer: who comes again with the same token is told that it is open', async (t) => {
  const [reference, ours] = await both(t)
  await Client.open(reference, 'alice')
  const again = new Client(reference, 'alice')
  // Its frames come through, and OPEN never does: to PeerJS it stays closed.
  await once(again.socket, 'open')
  again.send(offer('alice', 'dc_1'))
  await again.until(1)
  assert.match(again.heard[0], /^{"type":"OFFER"/)

  const old = await Client.open(ours, 'alice')
  await Client.open(ours, 'alice')
  assert.equal((await old.ended)[0], 4409)
})

test('as PeerServer, and with what to do about it: what is missing in the URL', async (t) => {
  const said = await Promise.all((await both(t)).map(async (server) => {
    const client = new Client(server)
    await client.ended
    return JSON.parse(client.heard[0])
  }))
  assert.equal(said[1].type, said[0].type)
  const [theirs, ours] = said.map((frame) => frame.payload.msg)
  assert.ok(ours.startsWith(theirs) && ours.includes('Fix: '), ours)
})
