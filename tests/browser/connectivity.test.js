// The connectivity test at /test.
'use strict'

const assert = require('node:assert/strict')
const { before, test } = require('node:test')

const { chromium, kept, untilSays } = require('./support/chromium')
const { dev, serving, shared, start } = require('./support/programs')
const { openTest, register, runTest } = require('./support/test-page')

const file = shared()
let browser
let server

before(async () => {
  ;[browser, server] = await Promise.all([chromium(file), dev(file)])
})

/** A token's form without a signature that counts. */
const unsigned = (claims) => {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'HS256' })}.${part(claims)}.c2lnbmF0dXJl`
}

test('every step passes against `dev`, and whoever is registered stays', async () => {
  const { alice, bob } = server.said.tokens
  const registered = await openTest(browser, server, alice)
  await register(registered)

  const opened = await openTest(browser, server, alice)
  const { report, step } = await runTest(opened)
  const failed = report.steps.filter(({ state }) => state !== 'ok')
  assert.deepEqual(failed, [], JSON.stringify(report, null, 1))
  assert.equal(report.ok, true)
  assert.match(report.verdict, /relay carries data/)
  for (const id of ['token', 'websocket', 'ping', 'ice-servers', 'host', 'stun', 'relay-udp', 'relay-tcp', 'nat', 'loop']) {
    assert.ok(step(id).ms >= 0, id)
  }
  assert.match(step('loop').detail, /opened in .* over UDP; there and back in/)
  const copied = JSON.stringify(report)
  assert.ok(!copied.includes('eyJ') && !copied.includes('credential":'), copied)
  kept(opened, server)

  // The one that waits under the same id has not been put out by the test.
  const other = await openTest(browser, server, bob)
  await register(other)
  await other.page.type('#peer', 'alice')
  await other.page.click('#call')
  await untilSays(other.page, '#meeting-says', 'Connected to alice')
  for (const one of [registered, other]) {
    kept(one, server)
    await one.page.close()
  }
})

test('a token that has ended is told before anything is sent', async () => {
  const ended = unsigned({ sub: 'alice', exp: Math.floor(Date.now() / 1000) - 3600 })
  const opened = await openTest(browser, server, ended)
  const { report, step } = await runTest(opened)
  assert.equal(step('token').state, 'failed')
  assert.equal(step('token').code, 'token_expired')
  assert.match(step('token').cause, /1 h ago/)
  assert.match(step('token').fix, /get a new one/)
  assert.equal(step('websocket').state, 'skipped')
  assert.match(report.verdict, /The token has ended/)
  assert.ok(!opened.requests.some((url) => url.startsWith('ws:')), 'no WebSocket was tried')
  kept(opened, server)
})

test('a token of another secret is told in the words of the server', async () => {
  const foreign = unsigned({ sub: 'alice', exp: Math.floor(Date.now() / 1000) + 3600 })
  const opened = await openTest(browser, server, foreign)
  const { step } = await runTest(opened)
  assert.equal(step('token').state, 'ok')
  assert.deepEqual([step('websocket').state, step('websocket').code], ['failed', 'token_invalid'])
  assert.match(step('websocket').fix, /P2P_JWT_SECRET/)
  kept(opened, server)
})

test('what is no token is told where it is pasted', async () => {
  const opened = await openTest(browser, server, 'hello')
  await untilSays(opened.page, '#token-says', 'three parts')
  const { step } = await runTest(opened)
  assert.match(step('token').fix, /eyJ/)
})

test('a relay with another secret, and one that is down, are told apart', async (t) => {
  const relay = start(t, ['relay', '--listen', 'udp://127.0.0.1:0', '--turn-secret', 'north'])
  const [, address] = (await relay.line((line) => line.startsWith('relay ready on'))).split('udp://')
  const settings = ['--turn-secret', 'south', '--relay', `turn:${address}`]
  const { server: there, token } = await serving(t, settings)
  const opened = await openTest(browser, there, token)
  const refused = await runTest(opened)
  assert.equal(refused.step('stun').state, 'ok', 'the relay is there')
  assert.equal(refused.step('relay-udp').state, 'failed')
  assert.match(refused.step('relay-udp').cause, /refuses the credentials.*401/)
  assert.match(refused.step('relay-udp').fix, /--turn-secret-file/)
  assert.equal(refused.step('loop').state, 'skipped')
  assert.match(refused.report.verdict, /the relay carries nothing/)

  await relay.stop()
  const silent = await runTest(opened)
  assert.match(silent.step('relay-udp').cause, /was not reached over UDP/)
  assert.match(silent.step('relay-udp').fix, /whether the relay runs/)
  assert.match(silent.report.verdict, /No STUN or relay server was reached/)
  kept(opened, there)
})
