// Loaded before a program that starts a coordinator of its own and calls `other-peer-id` at once:
// prints how that peer joins, and lets `initialize()` end when it has.
'use strict'

const { setTimeout: pause } = require('node:timers/promises')
const addon = require('../..')

addon.P2PCoordinator = class extends addon.P2PCoordinator {
  async initialize() {
    await super.initialize()
    console.log(`join ${this.signalingUrl} ${this.createToken('other-peer-id')}`)
    while (this.getStats().registeredPeers < 2) await pause(10)
  }
}
