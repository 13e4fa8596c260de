// The user's example starts a coordinator on a port of its own and calls `other-peer-id` at once:
// loaded before it, this has that peer join as soon as the coordinator is there. It also stands in
// for the server names of the example, and finds the package under its name.
'use strict'

const Module = require('node:module')
const path = require('node:path')
const index = path.join(__dirname, '..', '..', 'index.js')

const resolve = Module._resolveFilename
Module._resolveFilename = function (request, ...rest) {
  return request === 'p2p-coordinator' ? index : resolve.call(this, request, ...rest)
}

if (process.env.P2P_TEST_STUN) {
  const addon = require(index)
  const { P2PCoordinator } = addon
  addon.P2PCoordinator = class extends P2PCoordinator {
    #other
    #port

    constructor(options) {
      const port = Number(process.env.P2P_TEST_PORT)
      super({
        ...options,
        stunServers: process.env.P2P_TEST_STUN.split(','),
        turnServers: [],
        signalingPort: port || options.signalingPort,
      })
    }

    async initialize() {
      await super.initialize()
      this.#other = new P2PCoordinator({
        signalingUrl: this.signalingUrl,
        token: this.createToken('other-peer-id'),
      })
      await this.#other.initialize()
    }

    async shutdown() {
      await super.shutdown()
      await this.#other?.shutdown()
    }
  }
}
