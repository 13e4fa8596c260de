// The connectivity test, as a person uses it.
'use strict'

const { openPage, untilSays } = require('./chromium')

/** The test page with a token in its fragment. What it copies is kept in the page. */
const openTest = (browser, server, token) =>
  openPage(browser, `${server.origin}/test#token=${token}`, () => {
    // A headless browser may not have a clipboard.
    const writeText = async (text) => (window.copied = text)
    Object.defineProperty(navigator, 'clipboard', { value: { writeText } })
  })

/** Runs the test, and what “Copy as JSON” gives of it: `step` finds a step by its id. */
async function runTest({ page }) {
  await page.$eval('#outcome', (outcome) => (outcome.hidden = true))
  await page.click('#start')
  await page.waitForFunction(() => !document.querySelector('#outcome').hidden)
  await page.click('#copy')
  await untilSays(page, '#copied', 'Copied')
  const report = JSON.parse(await page.evaluate(() => window.copied))
  const step = (id) => {
    const found = report.steps.find((one) => one.id === id)
    if (!found) throw new Error(`no step ${id}: ${JSON.stringify(report, null, 1)}`)
    return found
  }
  return { report, step }
}

/** Registers the page as its token's peer. */
async function register({ page }) {
  await page.click('#meeting summary')
  await page.click('#wait')
  await untilSays(page, '#meeting-says', 'Registered as')
}

module.exports = { openTest, register, runTest }
