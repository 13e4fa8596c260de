// A short form of `npm run soak`, without the figures that a busy machine would blur.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { program } = require('./support/programs')

test('connections that come and go leave nothing behind', { timeout: 180_000 }, async (t) => {
  const args = ['scripts/soak.js', '150']
  const { output, errors } = await program(t, '--expose-gc', { args }).ended
  const figures = JSON.parse(output || assert.fail(errors))
  assert.equal(figures.connections, 150)
  assert.equal(figures.open_at_the_end, 0)
  assert.equal(figures.objects_at_the_end, 0)
  assert.ok(figures.rss_ratio <= 1.1, output)
})
