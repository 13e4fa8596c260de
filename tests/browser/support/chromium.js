// A Chromium of the test's own, and what its pages did.
'use strict'

const { existsSync } = require('node:fs')
const { delimiter, join } = require('node:path')

const puppeteer = require('puppeteer-core')

const { folder } = require('./programs')

/** Longer than anything here takes; only a hang reaches it. */
const HANG = 60_000

const FLAGS = [
  // Tests run as root, in containers too.
  '--no-sandbox',
  '--disable-dev-shm-usage',
  '--disable-gpu',
  // Nothing of the browser's own goes out.
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-sync',
  '--no-first-run',
  // Everything is on loopback, which WebRTC leaves out by default.
  '--allow-loopback-in-peer-connection',
  // Host candidates by address: a name under .local would need a multicast DNS responder.
  '--disable-features=WebRtcHideLocalIpsWithMdns,Translate,OptimizationHints,MediaRouter',
]

/** Chromium with a profile of its own; both end with the test. */
async function chromium(t) {
  const profile = await folder(t)
  const browser = await puppeteer.launch({
    executablePath: executable(),
    userDataDir: profile,
    args: FLAGS,
    timeout: HANG,
    protocolTimeout: 2 * HANG,
  })
  t.after(() => browser.close())
  return browser
}

function executable() {
  const named = process.env.P2P_CHROMIUM
  if (named) return named
  const folders = (process.env.PATH ?? '').split(delimiter)
  const found = folders.map((one) => join(one, 'chromium')).find((file) => existsSync(file))
  if (!found) throw new Error('no chromium in PATH: apt-get install chromium, or set P2P_CHROMIUM')
  return found
}

/**
 * A page that keeps account of itself: `requests` are the URLs of everything it asked for, WebSockets
 * too; `faults` are violations of its Content-Security-Policy, errors of its scripts and of its
 * console.
 */
async function openPage(browser, url) {
  const page = await browser.newPage()
  page.setDefaultTimeout(HANG)
  const requests = []
  const faults = []
  page.on('request', (request) => requests.push(request.url()))
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('console', (message) => {
    // A refused token is one of the answers that a page expects; Chromium writes each down as an error.
    const expected = message.text().startsWith('Failed to load resource')
    if (message.type() === 'error' && !expected) faults.push(message.text())
  })
  const devtools = await page.createCDPSession()
  await devtools.send('Network.enable')
  devtools.on('Network.webSocketCreated', ({ url }) => requests.push(url))
  await page.exposeFunction('reportViolation', (text) => faults.push(text))
  await page.evaluateOnNewDocument(() => {
    addEventListener('securitypolicyviolation', (event) => {
      const { violatedDirective, blockedURI, sourceFile, lineNumber } = event
      window.reportViolation(`${violatedDirective}: ${blockedURI} at ${sourceFile}:${lineNumber}`)
    })
  })
  await page.goto(url)
  return { page, requests, faults }
}

/** Waits until the page's element holds the text. */
async function untilSays(page, selector, text) {
  const says = (selector, text) => document.querySelector(selector)?.textContent.includes(text)
  try {
    await page.waitForFunction(says, {}, selector, text)
  } catch (error) {
    const shown = await page.evaluate(() => document.body.innerText)
    throw new Error(`${selector} does not say ${JSON.stringify(text)}: ${error.message}\n${shown}`)
  }
}

module.exports = { chromium, openPage, untilSays, HANG }
