// What the test page makes of a NAT, behind STUN servers that see what such a NAT would show.
'use strict'

const assert = require('node:assert/strict')
const { createSocket } = require('node:dgram')
const { once } = require('node:events')
const { before, test } = require('node:test')

const { chromium, kept } = require('./support/chromium')
const { serving, shared } = require('./support/programs')
const { openTest, runTest } = require('./support/test-page')

const file = shared()
let browser

before(async () => {
  browser = await chromium(file)
})

const COOKIE = 0x2112a442

/** A STUN server that sees every socket at this port of one public address. RFC 8489 §5, §14.2. */
async function stunThatSees(t, port) {
  const socket = createSocket('udp4')
  socket.on('message', (request, from) => {
    if (request.length < 20 || request.readUInt16BE(0) !== 0x0001) return
    const answer = Buffer.alloc(32)
    request.copy(answer, 0, 0, 20)
    answer.writeUInt16BE(0x0101, 0)
    answer.writeUInt16BE(12, 2)
    answer.writeUInt16BE(0x0020, 20)
    answer.writeUInt16BE(8, 22)
    answer.writeUInt8(1, 25)
    answer.writeUInt16BE(port ^ (COOKIE >>> 16), 26)
    answer.writeUInt32BE((0xcb007107 ^ COOKIE) >>> 0, 28)
    socket.send(answer, from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.after(() => socket.close())
  return `stun:127.0.0.1:${socket.address().port}`
}

async function behind(t, ports) {
  const stun = []
  for (const port of ports) stun.push('--stun', await stunThatSees(t, port))
  const { server, token } = await serving(t, stun)
  const opened = await openTest(browser, server, token)
  const { report, step } = await runTest(opened)
  kept(opened, server)
  return { report, step }
}

test('a NAT with another port for each server is symmetric, and what helps is said', async (t) => {
  const { report, step } = await behind(t, [1000, 2000])
  assert.equal(report.nat.mapping, 'address-dependent', JSON.stringify(report, null, 1))
  assert.match(step('nat').detail, /another public port for each server/)
  assert.match(report.verdict, /The NAT is symmetric.*no relay is offered/)
  assert.ok(report.advice.some((one) => one.includes('UPnP')), report.advice.join('\n'))
  assert.equal(step('ice-servers').state, 'note', 'a server without a relay is worth a look')
})

test('a NAT with the same port for two servers is endpoint-independent', async (t) => {
  const { report } = await behind(t, [1000, 1000])
  const { mapping, port_preserving, public_address, stun_answers } = report.nat
  assert.deepEqual(
    { mapping, port_preserving, public_address, stun_answers },
    { mapping: 'endpoint-independent', port_preserving: false, public_address: '203.0.113.7:1000', stun_answers: 2 },
    JSON.stringify(report, null, 1),
  )
  assert.match(report.verdict, /Direct with most networks/)
})

test('one server alone cannot tell, and the operator is asked for a second one', async (t) => {
  const { report } = await behind(t, [1000])
  assert.equal(report.nat.mapping, 'unknown')
  assert.ok(report.advice.some((one) => one.includes('second STUN server')), report.advice.join('\n'))
})
