// A worker thread that starts or joins a coordinator, says where, and answers messages.
'use strict'

const { parentPort, workerData } = require('node:worker_threads')
const { P2PCoordinator } = require('../..')

const p2p = new P2PCoordinator(workerData)
p2p.on('connection', (connection) => {
  connection.on('message', (message) => connection.send(message))
})
p2p.initialize().then(() => parentPort.postMessage({ url: p2p.signalingUrl }))
