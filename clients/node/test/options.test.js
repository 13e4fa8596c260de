// Bad options: each error names the option and what it expects.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { P2PCoordinator, P2PError } = require('..')

function circular() {
  const value = {}
  value.self = value
  return value
}

const BAD = {
  signalingPort: [[-1, 65536, 1.5, '8080'], /an integer from 0 to 65535/],
  signalingHost: [['localhost', '0.0.0.0', 5], /an IP address of this host/],
  relayPort: [[70000], /an integer from 0 to 65535/],
  dataDir: [['', 7], /the path of a folder/],
  signalingUrl: [['ftp://host', 'host:8080', 5], /a URL such as ws:\/\/host:8080/],
  token: [['', 5], /a JWT, or a function/],
  peerId: [['', 'a/b', ' a', 'x'.repeat(129), 5], /1 to 128 bytes of letters/],
  metadata: [[[], 'name', { name: 'x'.repeat(3000) }, { n: 1n }, circular()], /at most 2048 bytes/],
  stunServers: [
    ['stun:host', ['turn:host'], [5], ['host'], ['stun:host:0'], ['stun:host:99999'], ['stun://host']],
    /an array of 'stun:host:port'/,
  ],
  turnServers: [
    [
      [{ urls: 'turn:host' }],
      [{ urls: [], username: 'u', credential: 'p' }],
      [{ urls: 'stun:host', username: 'u', credential: 'p' }],
      [{ urls: 'turn:host:99999', username: 'u', credential: 'p' }],
      [{ urls: 'turn:host?transport=carrier-pigeon', username: 'u', credential: 'p' }],
      {},
    ],
    /an array of \{ urls: 'turn:host:port', username, credential \}/,
  ],
  localPort: [[-1, '0'], /an integer from 0 to 65535/],
  keepAliveInterval: [[0, 999, 'x'], /an integer from 1000 to 3600000 milliseconds/],
  connectionTimeout: [[0, Infinity], /an integer from 100 to 600000 milliseconds/],
  maxRetries: [[-1, 101], /an integer from 0 to 100/],
  enableDetailedLogging: [['yes', 1], /true or false/],
}

for (const [name, [values, expected]] of Object.entries(BAD)) {
  test(`a bad ${name} is named, with what it expects`, () => {
    for (const value of values) {
      assert.throws(
        () => new P2PCoordinator({ [name]: value }),
        (error) => {
          assert.ok(error instanceof P2PError, String(error))
          assert.equal(error.code, 'usage')
          assert.ok(error.message.startsWith(`option ${name}: expected `), error.message)
          assert.match(error.message, expected)
          assert.match(error.fix, new RegExp(name))
          return true
        },
      )
    }
  })
}

test('a bad token is not repeated in the error', () => {
  const secret = { secret: 'hunter2' }
  assert.throws(
    () => new P2PCoordinator({ token: secret }),
    (error) => !error.message.includes('hunter2'),
  )
})

test('a credential is not repeated in the error, and a long value is cut', () => {
  const server = { urls: 'stun:host', username: 'u', credential: 'hunter2' }
  assert.throws(
    () => new P2PCoordinator({ turnServers: [server] }),
    (error) => !error.message.includes('hunter2') && error.message.includes('stun:host'),
  )
  assert.throws(
    () => new P2PCoordinator({ peerId: 'x'.repeat(100_000) }),
    (error) => error.message.length < 300,
  )
})

test('every way to name a server is accepted', () => {
  const stunServers = ['stun:host', 'stun:host:3478', 'host:3478', 'stun:192.0.2.1', 'stun:[2001:db8::1]:3478']
  const urls = ['turn:host', 'turns:host:5349?transport=tcp', 'turn:[2001:db8::1]?transport=udp']
  const turnServers = [{ urls, username: 'u', credential: 'p' }]
  assert.doesNotThrow(() => new P2PCoordinator({ stunServers, turnServers }))
})

test('signalingUrl needs a token, and a token needs signalingUrl', () => {
  const url = { signalingUrl: 'ws://127.0.0.1:8080' }
  assert.throws(() => new P2PCoordinator(url), /option token: .* because signalingUrl is set/)
  assert.throws(() => new P2PCoordinator({ token: 'x' }), /option signalingUrl: .* because token is set/)
})

test('an unknown option is named, and the known ones listed', () => {
  assert.throws(
    () => new P2PCoordinator({ signallingPort: 8080 }),
    (error) => /no option signallingPort/.test(error.message) && /signalingPort/.test(error.fix),
  )
  for (const options of [8080, null, [], 'x']) {
    assert.throws(() => new P2PCoordinator(options), /^P2PError: options: expected an object, got /)
  }
})

test('the options of the design are accepted as they are', () => {
  const p2p = new P2PCoordinator({
    signalingPort: 8080,
    stunServers: ['stun:stun.example.org:3478'],
    turnServers: [{ urls: 'turn:turn.example.org:3478', username: 'user', credential: 'pass' }],
    localPort: 0,
    keepAliveInterval: 25000,
    connectionTimeout: 30000,
    maxRetries: 3,
    enableDetailedLogging: false,
  })
  assert.equal(p2p.peerId, null)
})
