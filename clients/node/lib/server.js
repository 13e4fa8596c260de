// What the address of a coordinator and a token for it say by themselves.
'use strict'

const { randomUUID } = require('node:crypto')
const { isIP } = require('node:net')

/** Whether a server is on this machine, so that its clients may be reached over loopback. */
function isLoopback(server) {
  const { hostname } = new URL(server)
  const host = hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) === 4) return host.startsWith('127.')
  return host === '::1' || host === 'localhost'
}

/** The TCP port of a URL, written or implied. */
function portOf(server) {
  const { port, protocol } = new URL(server)
  if (port) return Number(port)
  return protocol === 'wss:' || protocol === 'https:' ? 443 : 80
}

/** The halves of `ip:port` or `[ip]:port`. */
function splitAddress(text) {
  const parts = /^\[?([^\]]+)\]?:(\d+)$/.exec(text ?? '')
  return parts ? { ip: parts[1], port: Number(parts[2]) } : { ip: null, port: null }
}

/** An id that a token for `prefix*` allows; any other token says itself whose it is. */
function idOfPattern(token) {
  try {
    const { sub } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())
    return sub.endsWith('*') ? `${sub.slice(0, -1)}${randomUUID()}` : undefined
  } catch {
    // The client says what is wrong with such a token.
    return undefined
  }
}

module.exports = { isLoopback, portOf, splitAddress, idOfPattern }
