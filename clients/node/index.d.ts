/// <reference types="node" />
import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'

/** A TURN server of the user's own. */
export interface TurnServer {
  /** `turn:host:port`, one or several. */
  urls: string | string[]
  username: string
  credential: string
}

/** What other peers learn about this one: at most 2048 bytes as JSON. */
export type Metadata = Record<string, unknown>

export interface P2POptions {
  /** TCP port of the embedded coordinator; 0 takes a free one. Default 8080. */
  signalingPort?: number
  /**
   * The address of this host that the embedded coordinator and its relay listen on. Default
   * `127.0.0.1`: programs on this machine. Name an address that the others can reach to let them in.
   */
  signalingHost?: string
  /** UDP port of the bundled STUN and TURN server; 0 takes a free one. Default 0. */
  relayPort?: number
  /** Folder for the embedded coordinator's statistics. Default: none, they end with the process. */
  dataDir?: string
  /** Join this coordinator (`ws://host:port` or `wss://host`) instead of starting one. */
  signalingUrl?: string
  /** The JWT for `signalingUrl`, or a function that gives one; it is asked at every registration. */
  token?: string | ((peerId: string | undefined) => string | Promise<string>)
  /** The id to register. Default: the token's, or a generated one until `registerPeer()`. */
  peerId?: string
  /** Told to other peers. */
  metadata?: Metadata
  /** `stun:host:port`, besides the coordinator's. `initialize()` fails where none of them answers. */
  stunServers?: string[]
  /** TURN servers besides the coordinator's. */
  turnServers?: TurnServer[]
  /** UDP port of this client; 0 takes a free one. Default 0. */
  localPort?: number
  /** Milliseconds between keep-alives of idle paths, 1000 to 3600000. Default 25000. */
  keepAliveInterval?: number
  /** Milliseconds that a connection may take to come about, 100 to 600000. Default 30000. */
  connectionTimeout?: number
  /** How often a failed attempt is tried again, 0 to 100. Default 3. */
  maxRetries?: number
  /** Write the native part's log to stderr; `P2P_LOG` says how much. Default false. */
  enableDetailedLogging?: boolean
}

export type NATType =
  | 'Open'
  | 'Symmetric Firewall'
  | 'Full Cone'
  | 'Restricted Cone'
  | 'Port-Restricted Cone'
  | 'Symmetric'
  | 'UDP Blocked'
  | 'Unknown'

/** How a NAT maps or filters (RFC 4787). */
export type NATBehaviour =
  | 'endpoint-independent'
  | 'address-dependent'
  | 'address-and-port-dependent'
  | 'unknown'

export interface NATInfo {
  type: NATType
  /** The address that STUN servers saw; `null` where none answered. */
  publicIP: string | null
  /** The port that they saw. */
  publicPort: number | null
  mapping: NATBehaviour
  filtering: NATBehaviour
  /** Whether the public port is the local one; `null` where it was not measured. */
  portPreserving: boolean | null
  /** Whether two hosts behind this NAT reach each other by public addresses; `null`: not measured. */
  hairpin: boolean | null
  /** How the NAT maps TCP; `null` where no STUN server answers over it. */
  tcp: NATBehaviour | null
  /** Whether UDP reaches any STUN server. */
  udp: boolean
  /** Whether IPv6 reaches any STUN server; `null` where none was asked over it. */
  ipv6: boolean | null
  /** For everything unknown, why. */
  unknownBecause: Record<string, string>
}

export type Method = 'direct' | 'udp-hole-punch' | 'tcp-hole-punch' | 'relay'

export interface Strategy {
  /** What connections of this network usually use. */
  method: Method
  /** The chance that it works, in percent. */
  successRate: number
  natType: NATType
  /** Whether a relay has an address for this peer to fall back on. */
  relayAvailable: boolean
}

export interface Stats {
  /** Peers at the embedded coordinator; of a joined one, this program alone is counted. */
  registeredPeers: number
  /** Peers with an open connection. */
  activePeers: number
  /** Connections that came about, whoever asked for them. */
  totalConnections: number
  /** Attempts that reached a direct path. */
  successfulPunches: number
  /** Attempts that stayed with the relay. */
  relayedConnections: number
  /** Calls of `connectToPeer()` that failed. */
  failedAttempts: number
  /** Milliseconds since `initialize()`. */
  uptime: number
  peers: { registered: number; active: number; connections: number }
  /** Percentages as text with two decimals, `'83.33'`. */
  performance: { successRate: string; failureRate: string }
}

export interface Health {
  /** Whether there is no issue. */
  healthy: boolean
  services: {
    holePunching: { status: 'active' | 'unavailable' | 'stopped'; natType: NATType }
    signaling: {
      status: 'active' | 'disconnected' | 'stopped'
      port: number | null
      peers: number
    }
  }
  /** What is not well, in sentences. */
  issues: string[]
}

/** `relay` forbids direct paths, `direct` forbids the relay, `auto` takes the best there is. */
export type Policy = 'auto' | 'direct' | 'relay'

export interface Path {
  kind: 'direct' | 'relay'
  method: Method
  /** Where packets go: the peer's address, or its address at the relay. */
  remote: string
  /** Milliseconds. */
  rtt: number
}

export interface ConnectionStats {
  bytesSent: number
  bytesReceived: number
  packetsSent: number
  packetsReceived: number
  packetsLost: number
  /** Milliseconds. */
  rtt: number
  /** Milliseconds since the attempt began. */
  age: number
  /** Bytes of messages that wait to be sent. */
  buffered: number
}

/** How an attempt ended. */
export interface Verdict {
  attempt: string
  outcome: 'direct' | 'relay' | 'failed'
  method?: Method
  /** Milliseconds to the first usable path. */
  ms: number
  /** Milliseconds to a direct path. */
  direct_ms?: number
  steps: {
    method: Method
    /** How the method went about it, as the plan had it. */
    tactic?: 'dial' | 'reversed-dial' | 'simultaneous' | 'learn-port' | 'udp' | 'tcp' | 'tls' | 'unknown'
    result: 'ok' | 'failed' | 'skipped'
    ms: number
    detail?: string
  }[]
  /** In one sentence. */
  verdict?: string
}

/** Every error of this package. */
export class P2PError extends Error {
  constructor(code: string, message: string, fix: string, options?: { cause?: unknown })
  /**
   * For programs: `usage`, `auth`, `unreachable`, `stun_unreachable`, `udp_blocked`,
   * `busy`, `peer_not_found`, `timeout`, `direct_required`, `port_taken`, `not_initialized`, `closed`,
   * `buffer_full`, `no_addon`, `internal`, or the code of the coordinator.
   */
  readonly code: string
  /** What to do about it. */
  readonly fix: string
}

/** Bytes both ways, in order, with back-pressure; each direction ends by itself. */
export class P2PStream extends Duplex {
  private constructor()
}

export interface ConnectionEvents {
  /** A whole message: text as a string, bytes as a Buffer. Fetched while somebody listens. */
  message: [message: string | Buffer]
  /** A stream that the peer has opened, with its first byte. Fetched while somebody listens. */
  stream: [stream: P2PStream]
  /** More may be sent after `send()` has answered `false`. */
  drain: []
  /** The path is another one; `null` while one is being looked for. */
  pathchange: [path: Path | null]
  /** The connection has ended, and why; the last event. */
  close: [reason: string]
}

/** A connection to one peer, encrypted, over whatever path there is. */
export class Connection extends EventEmitter {
  private constructor()
  /** The other peer, as the coordinator named it and its key has proven. */
  readonly peerId: string
  /** The attempt that this connection came of; the same on both sides. */
  readonly id: string
  /** The path at the moment; `null` while one is being looked for. */
  readonly path: Path | null
  /** The verdict on the attempt so far. */
  readonly verdict: Verdict | null
  /** Whether the connection has ended. */
  readonly closed: boolean
  /**
   * Sends a message of at most 16 MiB. `false` says that it is enough for now: wait for `drain`.
   * Throws `buffer_full` when 64 MiB wait.
   */
  send(data: string | ArrayBuffer | NodeJS.ArrayBufferView): boolean
  /** Opens a stream; the other side gets it by the event `stream`, with its first byte. */
  openStream(): Promise<P2PStream>
  /** The round trip to the other side's client, in milliseconds; rejects after 5 s. */
  ping(): Promise<number>
  /** What the connection has carried. */
  stats(): ConnectionStats
  /** Closes when the peer has the messages sent so far, or after 5 s; the peer is told why. */
  close(reason?: string): Promise<void>
  on<E extends keyof ConnectionEvents>(event: E, listener: (...args: ConnectionEvents[E]) => void): this
  once<E extends keyof ConnectionEvents>(event: E, listener: (...args: ConnectionEvents[E]) => void): this
  off<E extends keyof ConnectionEvents>(event: E, listener: (...args: ConnectionEvents[E]) => void): this
}

export interface CoordinatorEvents {
  /** Another peer has connected to this one. */
  connection: [connection: Connection]
  /** What `healthCheck()` says is well or not has changed. */
  health: [health: Health]
  /** `shutdown()` is done. */
  close: []
}

/** Finds peers and connects to them, whatever NATs are in between. */
export class P2PCoordinator extends EventEmitter {
  /** Throws a {@link P2PError} that names a wrong option and what it expects. */
  constructor(options?: P2POptions)
  /** The id that this program is registered with; `null` before `initialize()`. */
  readonly peerId: string | null
  /** Where other programs join: their `signalingUrl`. `null` before `initialize()`. */
  readonly signalingUrl: string | null
  /** The bundled relay, `turn:host:port`; `null` where another coordinator is joined. */
  readonly relayUrl: string | null
  /**
   * Detects the NAT, starts or joins signaling, and registers. Calling it again gives the same
   * promise; after a failure it tries again.
   */
  initialize(): Promise<void>
  /**
   * Registers this program under an id, in place of the one it has. Calls of `connectToPeer()` that
   * follow wait for it, so that awaiting it is optional.
   */
  registerPeer(peerId: string, metadata?: Metadata): Promise<void>
  /** Connects to a peer. Rejects with `peer_not_found`, `timeout` and others. */
  connectToPeer(peerId: string, options?: { policy?: Policy }): Promise<Connection>
  /**
   * A token with which another program joins the coordinator of this one; `ttl` in seconds, 24 h
   * without it. Tokens end with the process that made them.
   */
  createToken(peerId: string, options?: { ttl?: number }): string
  /** What was measured of this network. */
  getNATInfo(): NATInfo
  /** The method that connections of this network usually use. */
  getRecommendedStrategy(): Strategy
  /** What has been counted since `initialize()`. Works at any time. */
  getStats(): Stats
  /** Whether all is well, and what is not. Works at any time. */
  healthCheck(): Health
  /** Closes all connections and stops everything; the process can end then. */
  shutdown(): Promise<void>
  on<E extends keyof CoordinatorEvents>(event: E, listener: (...args: CoordinatorEvents[E]) => void): this
  once<E extends keyof CoordinatorEvents>(event: E, listener: (...args: CoordinatorEvents[E]) => void): this
  off<E extends keyof CoordinatorEvents>(event: E, listener: (...args: CoordinatorEvents[E]) => void): this
}
