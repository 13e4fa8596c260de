// The dashboard at /.
'use strict'

const assert = require('node:assert/strict')
const { before, test } = require('node:test')

const { chromium, kept, openPage, untilSays } = require('./support/chromium')
const { dev, shared } = require('./support/programs')
const { openTest, register } = require('./support/test-page')

const file = shared()
let browser
let server

before(async () => {
  ;[browser, server] = await Promise.all([chromium(file), dev(file)])
})

const asked = (requests) => requests.filter((url) => url.includes('/v1/'))
/** Without coordinates: figures that come meanwhile move what is below them. */
const press = (page, selector) => page.$eval(selector, (button) => button.click())
const shown = (page, selector) => page.$eval(selector, (element) => element.checkVisibility())

test('without a token it says what this is and asks the server for nothing', async () => {
  const opened = await openPage(browser, server.said.dashboard)
  await untilSays(opened.page, '#now', 'ready')
  await untilSays(opened.page, '[data-server]', server.said.signaling)
  assert.equal(await shown(opened.page, '#live'), false)
  assert.deepEqual(asked(opened.requests), [])
  kept(opened, server)
})

test('an admin sees the attempt that two browsers make, and its story', async () => {
  const url = `${server.said.dashboard}#token=${server.said.admin_token}`
  const opened = await openPage(browser, url)
  await untilSays(opened.page, '#attempts', 'None in this time')

  const [alice, bob] = await Promise.all(
    ['alice', 'bob'].map((name) => openTest(browser, server, server.said.tokens[name])),
  )
  for (const one of [alice, bob]) {
    await one.page.bringToFront()
    await register(one)
  }
  await bob.page.type('#peer', 'alice')
  await bob.page.click('#call')
  await untilSays(bob.page, '#meeting-says', 'Connected to alice: ')

  // It comes by itself.
  await opened.page.bringToFront()
  await untilSays(opened.page, '#attempts', 'bob')
  await untilSays(opened.page, '#headline', '100 %')
  await untilSays(opened.page, '#matrix', '100 % connected')
  await untilSays(opened.page, '#health', 'database')
  await untilSays(opened.page, '#relays', server.said.relay)
  await press(opened.page, '#attempts td button')
  await untilSays(opened.page, '#story', 'bob, who called, tells')
  await untilSays(opened.page, '#story', 'two browsers, WebRTC')
  await opened.page.keyboard.press('Escape')
  assert.equal(await shown(opened.page, '#story'), false)

  // The token lasts as long as the tab, and is nowhere else.
  await opened.page.reload()
  await untilSays(opened.page, '#attempts', 'bob')
  const elsewhere = await opened.page.evaluate(() => [localStorage.length, document.cookie])
  assert.deepEqual(elsewhere, [0, ''])
  await press(opened.page, '.live > .row > button')
  assert.equal(await opened.page.evaluate(() => sessionStorage.length), 0)
  assert.equal(await shown(opened.page, '#sign-in'), true)
  for (const one of [opened, alice, bob]) kept(one, server)
})

test('a token that may not read statistics is told what it lacks', async () => {
  const opened = await openPage(browser, server.said.dashboard)
  await opened.page.type('#token', server.said.tokens.alice)
  await opened.page.keyboard.press('Enter')
  await untilSays(opened.page, '#trouble', 'does not have the scope admin')
  await untilSays(opened.page, '#trouble', 'What helps: Mint a token with admin')
  assert.equal(await shown(opened.page, '#sign-in'), true)
  assert.equal(await opened.page.evaluate(() => sessionStorage.length), 0)
  kept(opened, server)
})

test('a database that is away and a server that is gone are told with what helps', async (t) => {
  const own = await dev(t)
  const url = `${own.said.dashboard}#token=${own.said.admin_token}`
  const { page } = await openPage(browser, url, () => {
    // An embedded database cannot go away, so what the server says of it is changed on its way.
    const fetched = window.fetch
    window.fetch = async (question, ...rest) => {
      const answer = await fetched(question, ...rest)
      if (!window.databaseIsAway || !String(question).endsWith('/readyz')) return answer
      return new Response((await answer.text()).replace('database: ok', 'database: degraded'))
    }
  })
  await untilSays(page, '#health', 'database')
  await page.evaluate(() => (window.databaseIsAway = true))
  await untilSays(page, '#trouble', 'The statistics database does not answer')
  await untilSays(page, '#trouble', '--database')
  await own.stop()
  await untilSays(page, '#trouble', 'The server does not answer')
  await untilSays(page, '#trouble', 'Look whether the server runs')
})

test('a tab that nobody sees asks nothing, and asks at once when it is looked at', async () => {
  const url = `${server.said.dashboard}#token=${server.said.admin_token}`
  const opened = await openPage(browser, url, () => {
    // Time goes fifty times as fast for the page's own timers.
    const real = window.setTimeout
    window.setTimeout = (work, ms, ...rest) => real(work, ms / 50, ...rest)
    window.hiddenNow = false
    Object.defineProperty(document, 'hidden', { get: () => window.hiddenNow })
    window.turn = (hidden) => {
      window.hiddenNow = hidden
      document.dispatchEvent(new Event('visibilitychange'))
    }
    const fetched = window.fetch
    window.rounds = 0
    window.fetch = (...question) => {
      window.rounds += String(question[0]).includes('nat-matrix')
      return fetched(...question)
    }
    window.later = () => new Promise((resolve) => real(resolve, 1000))
  })
  const { page } = opened
  const roundsOver = (count) => page.waitForFunction((count) => window.rounds > count, {}, count)
  await roundsOver(2)
  const [before, after] = await page.evaluate(async () => {
    window.turn(true)
    const before = window.rounds
    await window.later()
    return [before, window.rounds]
  })
  assert.equal(after, before, 'ten rounds’ time went by')
  await page.evaluate(() => window.turn(false))
  await roundsOver(after + 1)
  kept(opened, server)
})
