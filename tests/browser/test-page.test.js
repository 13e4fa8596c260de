// The test page in a real browser.
'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')

const { chromium, openPage, untilSays } = require('./support/chromium')
const { dev } = require('./support/programs')

test('a token opens a session from the test page, which asks nobody else', async (t) => {
  const [server, browser] = await Promise.all([dev(t), chromium(t)])
  const { page, requests, faults } = await openPage(browser, server.said.test_page)
  await page.type('#token', server.said.tokens.alice)
  await page.click('#connect')
  await untilSays(page, '#log', 'It works.')

  const { host } = new URL(server.origin)
  for (const url of requests) assert.equal(new URL(url).host, host, url)
  assert.deepEqual(faults, [])
})
