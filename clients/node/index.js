'use strict'

const { P2PCoordinator } = require('./lib/coordinator')
const { Connection } = require('./lib/connection')
const { P2PStream } = require('./lib/stream')
const { P2PError } = require('./lib/errors')

module.exports = { P2PCoordinator, Connection, P2PStream, P2PError }
