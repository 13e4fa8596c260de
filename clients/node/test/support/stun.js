// A STUN server of a few lines (RFC 8489) that says what a test wants said.
'use strict'

const dgram = require('node:dgram')
const { once } = require('node:events')

const COOKIE = 0x2112a442

/**
 * Answers every Binding request with the mapped address that `mapped(remote)` gives.
 *
 * @returns {Promise<string>} its URI
 */
async function stunServer(t, host, mapped) {
  const socket = dgram.createSocket('udp4')
  t.after(() => socket.close())
  socket.on('message', (request, remote) => {
    if (request.length < 20 || request.readUInt16BE(0) !== 0x0001) return
    const { address, port } = mapped(remote)
    const response = Buffer.alloc(32)
    response.writeUInt16BE(0x0101, 0)
    response.writeUInt16BE(12, 2)
    request.copy(response, 4, 4, 20)
    // XOR-MAPPED-ADDRESS, section 14.2.
    response.writeUInt16BE(0x0020, 20)
    response.writeUInt16BE(8, 22)
    response.writeUInt8(1, 25)
    response.writeUInt16BE(port ^ (COOKIE >>> 16), 26)
    const bytes = Buffer.from(address.split('.').map(Number))
    response.writeUInt32BE((bytes.readUInt32BE(0) ^ COOKIE) >>> 0, 28)
    socket.send(response, remote.port, remote.address)
  })
  socket.bind(0, host)
  await once(socket, 'listening')
  return `stun:${host}:${socket.address().port}`
}

/** A UDP port where nothing answers, for as long as the test runs. */
async function silentServer(t) {
  const socket = dgram.createSocket('udp4')
  t.after(() => socket.close())
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return `stun:127.0.0.1:${socket.address().port}`
}

module.exports = { stunServer, silentServer }
