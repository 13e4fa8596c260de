// The class: started once, registers this program, connects it to others.
'use strict'

const { EventEmitter } = require('node:events')
const { randomUUID } = require('node:crypto')

const addon = require('./addon')
const { Connection } = require('./connection')
const {
  P2PError,
  native,
  notRunning,
  initializationFailed,
  connectionFailed,
  registrationEnded,
} = require('./errors')
const { assess } = require('./health')
const {
  askForToken,
  checkMetadata,
  checkOptions,
  checkPeerId,
  checkPolicy,
  checkTtl,
} = require('./options')
const { percentages, sum } = require('./figures')
const { idOfPattern, isLoopback, portOf, splitAddress } = require('./server')
const { tell } = require('./tell')

/** How long the tokens of this program's own coordinator are good for, in seconds. */
const TOKEN_TTL = 24 * 3600
const LOG_FILTER = 'info,p2p_client=debug,p2p_traversal=debug,p2p_signaling=debug,p2p_relay=debug'
const CONNECTED = Object.freeze({ connected: true, cause: null, ended: null })
const DISCONNECTED = Object.freeze({ connected: false, cause: null, ended: null })
/** A closed client gives its UDP port back within this time, in milliseconds. */
const PORT_FREE_MS = 3000

/** Finds peers and connects to them, whatever NATs are in between. */
class P2PCoordinator extends EventEmitter {
  #options
  #state = 'new'
  #initializing = null
  #stopping = null
  #registration = null
  #registrationError = null
  #embedded = null
  #client = null
  #registered = { id: null, metadata: {} }
  #stun = { nat: null, silent: [] }
  #signaling = DISCONNECTED
  #connections = new Set()
  #past = { connections: 0, active: 0, direct: 0, relayed: 0, failed: 0 }
  #failedCalls = 0
  #startedAt = null
  #health = null

  /** @param {object} [options] */
  constructor(options) {
    super()
    this.#options = checkOptions(options)
  }

  /** The id that this program is registered with; `null` before `initialize()`. */
  get peerId() {
    return this.#registered.id
  }

  /** Where other programs join: their `signalingUrl`. `null` before `initialize()`. */
  get signalingUrl() {
    return this.#embedded?.url ?? (this.#client ? this.#options.signalingUrl : null)
  }

  /** The bundled relay, `turn:host:port`; `null` where another coordinator is joined. */
  get relayUrl() {
    return this.#embedded?.relayUrl ?? null
  }

  /**
   * Detects the NAT, starts or joins signaling, and registers. Calling it again gives the same
   * promise; after a failure it tries again.
   */
  initialize() {
    if (this.#stopping) return Promise.reject(notRunning(true))
    this.#initializing ??= this.#start().catch(async (error) => {
      await this.#stopParts()
      this.#initializing = null
      if (this.#state === 'starting') this.#state = 'new'
      throw initializationFailed(error)
    })
    return this.#initializing
  }

  /**
   * Registers this program under an id, in place of the one it has. Calls of `connectToPeer()`
   * that follow wait for it, so that awaiting it is optional; a failure is theirs, too, and an
   * entry in `healthCheck().issues`.
   *
   * @param {string} peerId
   * @param {object} [metadata] what other peers learn about this one
   */
  registerPeer(peerId, metadata = {}) {
    const before = this.#registration ?? Promise.resolve()
    const registration = (async () => {
      checkPeerId(peerId)
      checkMetadata(metadata)
      this.#running()
      await before.catch(() => {})
      await this.#register(peerId, metadata)
    })()
    this.#registration = registration
    registration.then(
      () => this.#registrationResult(null),
      (error) => {
        // Whoever called meanwhile hears of it. For those who come later the earlier id is still there.
        if (this.#registration === registration) this.#registration = null
        this.#registrationResult(error.message)
      },
    )
    return registration
  }

  /**
   * Connects to a peer.
   *
   * @param {string} peerId
   * @param {{ policy?: 'auto' | 'direct' | 'relay' }} [options]
   * @returns {Promise<Connection>}
   */
  async connectToPeer(peerId, options = {}) {
    this.#running()
    checkPeerId(peerId)
    const policy = checkPolicy(options)
    await this.#registration
    const client = this.#running()
    try {
      const { ended, cause } = this.#signaling
      if (ended) throw registrationEnded(ended, cause)
      return this.#take(await native(() => client.connect(peerId, policy)))
    } catch (error) {
      this.#failedCalls += 1
      throw connectionFailed(error, peerId, this.#signaling)
    }
  }

  /**
   * A token with which another program joins the coordinator of this one.
   *
   * @param {string} peerId
   * @param {{ ttl?: number }} [options] `ttl` in seconds; 24 h
   */
  createToken(peerId, options = {}) {
    checkPeerId(peerId)
    const ttl = checkTtl(options, TOKEN_TTL)
    this.#running()
    if (!this.#embedded) {
      const text = 'the coordinator at signalingUrl is not this program’s own'
      throw new P2PError('usage', text, 'get tokens where that coordinator’s secret is')
    }
    return native(() => this.#embedded.token(peerId, ttl))
  }

  /** What was measured of this network. */
  getNATInfo() {
    this.#running()
    const nat = this.#nat()
    const { ip, port } = splitAddress(nat.public_address)
    return {
      type: nat.type,
      publicIP: ip,
      publicPort: port,
      mapping: nat.mapping,
      filtering: nat.filtering,
      portPreserving: nat.port_preserving ?? null,
      hairpin: nat.hairpin ?? null,
      tcp: nat.tcp?.mapping ?? null,
      udp: nat.udp,
      ipv6: nat.ipv6 ?? null,
      unknownBecause: nat.unknown_because ?? {},
    }
  }

  /** The method that connections of this network usually use, and its chance in percent. */
  getRecommendedStrategy() {
    const client = this.#running()
    const nat = this.#nat()
    const { method, successRate } = native(() => addon.recommend(nat))
    return { method, successRate, natType: nat.type, relayAvailable: client.relayReady() }
  }

  /** What has been counted since `initialize()`. Works at any time. */
  getStats() {
    const figures = sum(this.#past, this.#client?.stats())
    const active = new Set([...this.#connections].map((connection) => connection.peerId)).size
    const registered = this.#peers()
    return {
      registeredPeers: registered,
      activePeers: active,
      totalConnections: figures.connections,
      successfulPunches: figures.direct,
      relayedConnections: figures.relayed,
      failedAttempts: this.#failedCalls,
      uptime: this.#startedAt === null ? 0 : Math.round(performance.now() - this.#startedAt),
      peers: { registered, active, connections: this.#connections.size },
      performance: percentages(figures.connections, this.#failedCalls),
    }
  }

  /** Whether all is well, and what is not. Works at any time. */
  healthCheck() {
    const running = this.#state === 'running' && this.#client !== null
    return assess({
      state: this.#state,
      nat: running ? this.#nat() : null,
      relayReady: running && this.#client.relayReady(),
      relayNamed: this.#embedded !== null || this.#options.turnServers.length > 0,
      silentStun: this.#stun.silent,
      signaling: { ...this.#signaling, port: this.#signalingPort(), peers: this.#peers() },
      registrationError: this.#registrationError,
    })
  }

  /**
   * Closes all connections, leaves the coordinator, and stops its own where it has one. The
   * process can end then. Calling it again gives the same promise.
   */
  shutdown() {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #start() {
    const options = this.#options
    this.#state = 'starting'
    if (options.enableDetailedLogging) {
      native(() => addon.enableLogs(process.env.P2P_LOG || LOG_FILTER))
    }
    const asked = native(() => addon.askStun(options.stunServers))
    // Its failure is met below; until then it must not count as nobody's.
    asked.catch(() => {})
    if (!options.signalingUrl) {
      this.#embedded = await native(() =>
        addon.NativeEmbedded.start({
          host: options.signalingHost,
          signalingPort: options.signalingPort,
          relayPort: options.relayPort,
          data: options.dataDir,
        }),
      )
    }
    this.#stun = await asked
    if (options.stunServers.length > 0 && this.#stun.silent.length === options.stunServers.length) {
      throw new P2PError(
        'stun_unreachable',
        `no STUN server answers (${options.stunServers.join(', ')})`,
        'check the names and that UDP may leave this network, or leave stunServers out',
      )
    }
    this.#notStopping()
    const id = options.peerId ?? (this.#embedded ? `peer-${randomUUID()}` : undefined)
    const client = await this.#startClient(id, options.metadata)
    if (this.#stopping) await native(() => client.shutdown())
    this.#notStopping()
    this.#adopt(client, options.metadata)
    this.#startedAt = performance.now()
    this.#state = 'running'
    this.#reassess()
  }

  async #startClient(id, metadata) {
    const options = this.#options
    const token = this.#embedded
      ? native(() => this.#embedded.token(id, TOKEN_TTL))
      : await askForToken(options.token, id)
    const server = this.#embedded?.url ?? options.signalingUrl
    return native(() =>
      addon.NativeClient.start({
        server,
        token,
        peer: id ?? idOfPattern(token),
        metadata,
        stunServers: [...options.stunServers],
        turnServers: options.turnServers,
        localPort: options.localPort,
        keepAliveMs: options.keepAliveInterval,
        connectionTimeoutMs: options.connectionTimeout,
        maxRetries: options.maxRetries,
        allowLoopback: isLoopback(server),
      }),
    )
  }

  /** From here on this is the client: its connections and events are heard. */
  #adopt(client, metadata) {
    this.#client = client
    this.#registered = { id: client.peer, metadata }
    this.#signaling = CONNECTED
    this.#acceptFrom(client)
    this.#listenTo(client)
  }

  async #acceptFrom(client) {
    for (;;) {
      const connection = await untilShutdown(() => client.accept())
      if (!connection) return
      tell(this, 'connection', this.#take(connection))
    }
  }

  async #listenTo(client) {
    for (;;) {
      const event = await untilShutdown(() => client.nextEvent())
      if (!event || client !== this.#client) return
      if (event.kind === 'registered') this.#signaling = CONNECTED
      if (event.kind === 'lost' || event.kind === 'ended') {
        this.#signaling = {
          connected: false,
          cause: event.cause,
          // A registration that has ended does not come back by itself.
          ended: event.kind === 'ended' ? event.code : null,
        }
      }
      this.#reassess()
    }
  }

  #take(connection) {
    const taken = new Connection(connection)
    this.#connections.add(taken)
    taken.once('close', () => this.#connections.delete(taken))
    return taken
  }

  async #register(id, metadata) {
    const old = this.#running()
    const same = JSON.stringify(metadata) === JSON.stringify(this.#registered.metadata)
    if (id === this.#registered.id && same && !this.#signaling.ended) return
    if (this.#connections.size > 0) {
      const text = `${this.#connections.size} connections are open under ${this.#registered.id}`
      throw new P2PError('usage', text, 'close them before registerPeer() changes the id')
    }
    const next = await this.#replace(old, id, metadata)
    if (this.#state !== 'running') {
      await native(() => next.shutdown())
      throw notRunning(true)
    }
    this.#past = sum(this.#past, old.stats())
    this.#adopt(next, metadata)
    await native(() => old.shutdown())
    this.#reassess()
  }

  /** A fixed port has room for one client, so the old one goes before the next one comes. */
  async #replace(old, id, metadata) {
    if (this.#options.localPort === 0) return this.#startClient(id, metadata)
    await native(() => old.shutdown())
    // Until the next one is there, this program is nobody, and stays so where that fails.
    this.#signaling = { connected: false, cause: 'this program has no id', ended: 'closed' }
    const patience = performance.now() + PORT_FREE_MS
    for (;;) {
      try {
        return await this.#startClient(id, metadata)
      } catch (error) {
        if (error.code !== 'port_taken' || performance.now() > patience) throw error
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }

  #registrationResult(error) {
    this.#registrationError = error
    this.#reassess()
  }

  async #stop() {
    const before = this.#state
    this.#state = 'stopping'
    if (before === 'starting') await this.#initializing?.catch(() => {})
    await this.#registration?.catch(() => {})
    await Promise.all([...this.#connections].map((connection) => connection.close('shut down')))
    await this.#stopParts()
    this.#state = 'stopped'
    this.#reassess()
    tell(this, 'close')
  }

  async #stopParts() {
    const [client, embedded] = [this.#client, this.#embedded]
    if (client) {
      this.#past = sum(this.#past, client.stats())
      this.#client = null
      await native(() => client.shutdown())
    }
    this.#embedded = null
    this.#signaling = DISCONNECTED
    if (embedded) await native(() => embedded.stop())
  }

  #notStopping() {
    if (this.#stopping) throw notRunning(true)
  }

  #running() {
    if (this.#stopping) throw notRunning(true)
    if (this.#state !== 'running') throw notRunning(false)
    return this.#client
  }

  /**
   * The user's STUN servers know more than a coordinator on this machine, which sees every
   * program at its local address.
   */
  #nat() {
    const own = this.#embedded !== null && this.#options.stunServers.length > 0
    return own ? this.#stun.nat : this.#client.nat()
  }

  #peers() {
    if (this.#embedded) return this.#embedded.peers()
    return this.#client && this.#signaling.connected ? 1 : 0
  }

  #signalingPort() {
    const url = this.signalingUrl
    return url ? portOf(url) : null
  }

  /** Tells of a change in health; what is measured anew each time is no change. */
  #reassess() {
    const health = this.healthCheck()
    const told = JSON.stringify([health.healthy, health.issues])
    if (this.#health === told) return
    this.#health = told
    tell(this, 'health', health)
  }
}

/** What a client gives next; `null` where it was shut down before it was asked. */
async function untilShutdown(next) {
  try {
    return await native(next)
  } catch (error) {
    if (error.code === 'closed') return null
    throw error
  }
}

module.exports = { P2PCoordinator }
