// The constructor's options: their defaults, and what each expects. A wrong one is named.
'use strict'

const { isIP } = require('node:net')
const { P2PError } = require('./errors')

/** Characters of a wrong value that an error repeats. */
const SHOWN = 80

const wrong = (name, expected, given) =>
  new P2PError(
    'usage',
    `option ${name}: expected ${expected}, got ${shown(given)}`,
    `set ${name} to ${expected}, or leave it out`,
  )

/** A value as an error shows it: short, and without what nobody else is to read. */
function shown(value) {
  if (typeof value === 'function') return 'a function'
  let text
  try {
    text = JSON.stringify(value, (key, part) => (key === 'credential' ? '…' : part))
  } catch {
    // It refers to itself, or has a BigInt in it.
    text = `a value of the type ${typeof value}`
  }
  text ??= String(value)
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text
}

const integer = (from, to, unit = '') => ({
  expected: `an integer from ${from} to ${to}${unit && ` ${unit}`}`,
  accepts: (value) => Number.isInteger(value) && value >= from && value <= to,
})
const text = (expected) => ({
  expected,
  accepts: (value) => typeof value === 'string' && value.trim() !== '',
})
const port = integer(0, 65535)

/** `scheme:host`, `scheme:host:port` or the same with `?transport=` (RFC 7064, RFC 7065). */
const SERVER_URI = /^(?:(stun|turns?):)?(\[[0-9a-fA-F:.]+\]|[^\s:/?#[\]@]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?$/

function isServerUri(value, schemes) {
  const parts = typeof value === 'string' ? SERVER_URI.exec(value) : null
  if (!parts) return false
  const [, scheme, , port, transport] = parts
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65535)) return false
  // Without a scheme a port is what tells a server from a word.
  if (scheme === undefined) return schemes.includes('') && port !== undefined && !transport
  return schemes.includes(scheme)
}

const isStun = (value) => isServerUri(value, ['stun', ''])
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

function isTurn(server) {
  if (!isObject(server)) return false
  const urls = Array.isArray(server.urls) ? server.urls : [server.urls]
  const words = [server.username, server.credential]
  return (
    urls.length > 0 &&
    urls.every((url) => isServerUri(url, ['turn', 'turns'])) &&
    words.every((word) => typeof word === 'string' && word !== '')
  )
}

function isSignalingUrl(value) {
  if (typeof value !== 'string' || !URL.canParse(value)) return false
  return ['ws:', 'wss:', 'http:', 'https:'].includes(new URL(value).protocol)
}

const isPeerId = (value) =>
  typeof value === 'string' && /^(?! )[\p{L}\p{N}\-_.:@~+= ]+(?<! )$/u.test(value) &&
  Buffer.byteLength(value) <= 128

const PEER_ID = "1 to 128 bytes of letters, digits and any of -_.:@~+= and inner spaces"

function isMetadata(value) {
  try {
    return isObject(value) && Buffer.byteLength(JSON.stringify(value) ?? '') <= 2048
  } catch {
    // Not JSON.
    return false
  }
}

const METADATA = 'an object of at most 2048 bytes as JSON'

/** Every option: its default, what it expects, whether a value is that. */
const OPTIONS = {
  signalingPort: { fallback: 8080, ...port },
  signalingHost: {
    fallback: '127.0.0.1',
    expected: 'an IP address of this host that the peers can reach',
    accepts: (value) => isIP(value) !== 0 && value !== '0.0.0.0' && value !== '::',
  },
  relayPort: { fallback: 0, ...port },
  dataDir: { fallback: undefined, ...text('the path of a folder') },
  signalingUrl: {
    fallback: undefined,
    expected: 'a URL such as ws://host:8080 or wss://host',
    accepts: isSignalingUrl,
  },
  token: {
    fallback: undefined,
    expected: 'a JWT, or a function that gives one for a peer id',
    accepts: (value) => typeof value === 'function' || text('').accepts(value),
  },
  peerId: { fallback: undefined, expected: PEER_ID, accepts: isPeerId },
  metadata: { fallback: {}, expected: METADATA, accepts: isMetadata },
  stunServers: {
    fallback: [],
    expected: "an array of 'stun:host:port'",
    accepts: (value) => Array.isArray(value) && value.every(isStun),
  },
  turnServers: {
    fallback: [],
    expected: "an array of { urls: 'turn:host:port', username, credential }",
    accepts: (value) => Array.isArray(value) && value.every(isTurn),
  },
  localPort: { fallback: 0, ...port },
  keepAliveInterval: { fallback: 25000, ...integer(1000, 3600000, 'milliseconds') },
  connectionTimeout: { fallback: 30000, ...integer(100, 600000, 'milliseconds') },
  maxRetries: { fallback: 3, ...integer(0, 100) },
  enableDetailedLogging: {
    fallback: false,
    expected: 'true or false',
    accepts: (value) => typeof value === 'boolean',
  },
}

/**
 * Checks the options and fills in the defaults.
 *
 * @param {object} [given]
 */
function checkOptions(given = {}) {
  if (!isObject(given)) {
    const text = `options: expected an object, got ${shown(given)}`
    throw new P2PError('usage', text, 'give an object such as { signalingPort: 8080 }, or nothing')
  }
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(OPTIONS, name)) {
      const known = Object.keys(OPTIONS).join(', ')
      throw new P2PError('usage', `there is no option ${name}`, `the options are ${known}`)
    }
  }
  const options = {}
  for (const [name, { fallback, expected, accepts }] of Object.entries(OPTIONS)) {
    const value = given[name] === undefined ? fallback : given[name]
    if (value !== undefined && value !== fallback && !accepts(value)) {
      // A token is a secret, whatever is wrong with it.
      throw wrong(name, expected, name === 'token' ? typeof value : value)
    }
    options[name] = value
  }
  if (options.signalingUrl !== undefined && options.token === undefined) {
    throw wrong('token', `${OPTIONS.token.expected}, because signalingUrl is set`, undefined)
  }
  if (options.token !== undefined && options.signalingUrl === undefined) {
    const expected = `${OPTIONS.signalingUrl.expected}, because token is set`
    throw wrong('signalingUrl', expected, undefined)
  }
  options.turnServers = options.turnServers.map((server) => ({
    ...server,
    urls: [server.urls].flat(),
  }))
  return Object.freeze(options)
}

/** @param {unknown} id */
function checkPeerId(id) {
  if (!isPeerId(id)) {
    throw new P2PError('usage', `peer id: expected ${PEER_ID}, got ${shown(id)}`, 'use such an id')
  }
  return id
}

/** @param {unknown} metadata */
function checkMetadata(metadata) {
  if (!isMetadata(metadata)) {
    const text = `metadata: expected ${METADATA}, got ${shown(metadata)}`
    throw new P2PError('usage', text, 'put less in it, and only what JSON has')
  }
  return metadata
}

const POLICIES = ['auto', 'direct', 'relay']

/**
 * The policy in the options of a call.
 *
 * @param {unknown} options
 */
function checkPolicy(options) {
  const policy = isObject(options) ? (options.policy ?? 'auto') : options
  if (!POLICIES.includes(policy)) {
    const text = `policy: expected 'auto', 'direct' or 'relay', got ${shown(policy)}`
    throw new P2PError('usage', text, "call connectToPeer(id) or connectToPeer(id, { policy: 'relay' })")
  }
  return policy
}

/** The longest life of a token, in seconds: a year. */
const MAX_TTL = 366 * 24 * 3600

/**
 * The life of a token in the options of a call.
 *
 * @param {unknown} options
 * @param {number} fallback
 */
function checkTtl(options, fallback) {
  const ttl = isObject(options) ? (options.ttl ?? fallback) : options
  if (!Number.isInteger(ttl) || ttl < 1 || ttl > MAX_TTL) {
    const text = `ttl: expected an integer from 1 to ${MAX_TTL} seconds, got ${shown(ttl)}`
    throw new P2PError('usage', text, 'set ttl to such a number, or leave it out for 24 hours')
  }
  return ttl
}

/**
 * Asks for the token, where a function gives it. What the program's own function throws is the
 * program's, and comes out as the cause.
 *
 * @param {string | ((peerId?: string) => string | Promise<string>)} token
 * @param {string | undefined} peerId
 */
async function askForToken(token, peerId) {
  if (typeof token === 'string') return token
  let given
  try {
    given = await token(peerId)
  } catch (cause) {
    const text = `the function of option token failed: ${cause instanceof Error ? cause.message : shown(cause)}`
    throw new P2PError('auth', text, 'make the function give a JWT', { cause })
  }
  if (typeof given !== 'string' || given.trim() === '') {
    const text = `option token: expected the function to give a JWT, got ${typeof given}`
    throw new P2PError('usage', text, 'return the JWT, or a promise of it')
  }
  return given
}

module.exports = { OPTIONS, checkOptions, checkPeerId, checkMetadata, checkPolicy, checkTtl, askForToken }
