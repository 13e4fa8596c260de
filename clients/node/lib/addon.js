// The addon of this process.
'use strict'

module.exports = require('./native').loadAddon()
