// npm peerjs as it is, in the pages of a real browser: through two instances, one of which dies.
'use strict'

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { readFile } = require('node:fs/promises')
const { createServer } = require('node:http')
const { test } = require('node:test')

const { balancer, cluster } = require('./support/cluster')
const { chromium, openPage } = require('./support/chromium')
const { dev } = require('./support/programs')

/** A site of somebody's with PeerJS on its page: another origin than any coordinator's. */
async function site(t) {
  const script = await readFile(require.resolve('peerjs/dist/peerjs.min.js'))
  const server = createServer((request, response) => {
    if (request.url === '/peerjs.js') {
      response.setHeader('content-type', 'text/javascript')
      return response.end(script)
    }
    response.setHeader('content-type', 'text/html')
    if (request.url === '/') return response.end('<!doctype html><script src="/peerjs.js"></script>')
    response.statusCode = 404
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return `http://127.0.0.1:${server.address().port}/`
}

/** A page with a peer that is open, or that failed: then with why. */
async function peer(browser, url, id, options) {
  const { page } = await openPage(browser, url)
  const said = await page.evaluate((id, options) => new Promise((said) => {
    // No server of others is asked, and no candidate goes beyond this machine.
    const config = { iceServers: [] }
    const all = { host: '127.0.0.1', path: '/peerjs', config, ...options }
    window.peer = id === null ? new Peer(all) : new Peer(id, all)
    window.errors = []
    window.arrived = []
    const listen = (connection) => connection.on('data', (data) => window.arrived.push(data))
    window.peer.on('connection', listen)
    window.peer.on('error', ({ type, message }) => {
      window.errors.push({ type, message })
      said({ type, message })
    })
    window.peer.on('open', (id) => said({ id }))
    window.call = (to) => new Promise((opened, failed) => {
      const connection = window.peer.connect(to, { reliable: true })
      window.connection = connection
      listen(connection)
      connection.on('open', () => opened(true))
      connection.on('error', failed)
      window.peer.on('error', failed)
    })
  }), id, options)
  return { page, said }
}

/** Waits until the page has got this. */
const untilArrived = (page, text) =>
  page.waitForFunction((text) => window.arrived.includes(text), {}, text)

test('PeerJS opens data channels through two instances, and outlives the death of one', async (t) => {
  const [{ instances: [one, two], token }, browser, url] =
    await Promise.all([cluster(t), chromium(t), site(t)])
  const front = await balancer(t, two.port)
  const [forAlice, forBob, forCarol] = await Promise.all(['alice', 'bob', 'carol'].map((id) => token(id)))
  const [alice, bob] = await Promise.all([
    peer(browser, url, 'alice', { port: one.port, token: forAlice }),
    peer(browser, url, 'bob', { port: front.port, token: forBob }),
  ])
  assert.deepEqual([alice.said, bob.said], [{ id: 'alice' }, { id: 'bob' }])

  await alice.page.evaluate(() => window.call('bob'))
  await alice.page.evaluate(() => window.connection.send('hello, bob'))
  await untilArrived(bob.page, 'hello, bob')

  // Bob's instance dies; what the two have does not notice.
  await bob.page.evaluate(() => {
    window.lost = new Promise((lost) => window.peer.on('disconnected', lost))
  })
  front.to = one.port
  await two.stop()
  await bob.page.evaluate(() => window.lost)
  await alice.page.evaluate(() => window.connection.send('still there?'))
  await untilArrived(bob.page, 'still there?')

  // Carol calls bob, who is away. He comes back with the same id, to the instance that is left, and
  // finds her offer.
  const carol = await peer(browser, url, 'carol', { port: one.port, token: forCarol })
  assert.deepEqual(carol.said, { id: 'carol' })
  await carol.page.evaluate(() => { window.calling = window.call('bob') })
  await bob.page.evaluate(() => new Promise((open) => {
    window.peer.on('open', open)
    window.peer.reconnect()
  }))
  await carol.page.evaluate(() => window.calling)
  await carol.page.evaluate(() => window.connection.send('and me'))
  await untilArrived(bob.page, 'and me')
  assert.deepEqual(await alice.page.evaluate(() => window.errors), [])
})

test('PeerJS hears in words why it may not come in, and that an id is taken', async (t) => {
  const [{ instances: [one, two], token }, browser, url] =
    await Promise.all([cluster(t), chromium(t), site(t)])
  const [forAlice, room, another] = await Promise.all([
    token('alice'), token('room-*'), token('room-*', ['--ttl', '2h']),
  ])
  const none = await peer(browser, url, 'alice', { port: one.port })
  assert.equal(none.said.type, 'server-error')
  assert.match(none.said.message, /no JWT.*coordinator token --peer 'alice'/)
  const wrong = await peer(browser, url, 'bob', { port: one.port, token: forAlice })
  assert.match(wrong.said.message, /the token is for alice, not for bob/)

  const first = await peer(browser, url, 'room-1', { port: one.port, token: room })
  assert.deepEqual(first.said, { id: 'room-1' })
  const second = await peer(browser, url, 'room-1', { port: two.port, token: another })
  assert.equal(second.said.type, 'unavailable-id')
  // The page anew, which is the same client: PeerServer would not let it in, or not tell it so.
  await first.page.reload()
  await first.page.close()
  const again = await peer(browser, url, 'room-1', { port: two.port, token: room })
  assert.deepEqual(again.said, { id: 'room-1' })
})

test('PeerJS takes relays and credentials from us, and connects by them alone', async (t) => {
  const [server, browser, url] = await Promise.all([dev(t), chromium(t), site(t)])
  const port = Number(new URL(server.origin).port)
  const { page } = await openPage(browser, url)
  const relayed = async (id) => {
    const token = server.said.tokens[id]
    // As a page does that is at another origin.
    const { iceServers } = await page.evaluate(async (from, token) => {
      const answer = await fetch(from, { headers: { authorization: `Bearer ${token}` } })
      return answer.json()
    }, `${server.origin}/v1/ice-servers`, token)
    return peer(browser, url, id, { port, token, config: { iceServers, iceTransportPolicy: 'relay' } })
  }
  const [alice, bob] = await Promise.all(['alice', 'bob'].map(relayed))
  await alice.page.evaluate(() => window.call('bob'))
  await alice.page.evaluate(() => window.connection.send('by relay'))
  await untilArrived(bob.page, 'by relay')
  const kind = await alice.page.evaluate(async () => {
    const stats = [...(await window.connection.peerConnection.getStats()).values()]
    const pair = stats.find((one) => one.type === 'candidate-pair' && one.nominated)
    return stats.find((one) => one.id === pair.localCandidateId).candidateType
  })
  assert.equal(kind, 'relay')
})

test('what people write for PeerServer runs against `coordinator dev --peerjs-open` as it is', async (t) => {
  const [server, browser, url] = await Promise.all([dev(t, ['--peerjs-open']), chromium(t), site(t)])
  const port = Number(new URL(server.origin).port)
  // With its own path and the one that PeerJS takes by default.
  const [one, other] = await Promise.all([
    peer(browser, url, null, { port }), peer(browser, url, null, { port, path: '/' }),
  ])
  for (const { said } of [one, other]) assert.match(said.id, /^[0-9a-f-]{36}$/)
  const listed = await other.page.evaluate(() => new Promise((ids) => window.peer.listAllPeers(ids)))
  assert.deepEqual(listed.sort(), [one.said.id, other.said.id].sort())
  await one.page.evaluate((to) => window.call(to), other.said.id)
  await one.page.evaluate(() => window.connection.send('hello'))
  await untilArrived(other.page, 'hello')

  const nobody = await one.page.evaluate(() => new Promise((told) => {
    window.peer.on('error', ({ type }) => told(type))
    window.peer.connect('nobody')
  }))
  assert.equal(nobody, 'peer-unavailable')
})
