// A Chromium of the test's own, and what its pages did.
'use strict'

const assert = require('node:assert/strict')
const { existsSync } = require('node:fs')
const { mkdtemp, rm } = require('node:fs/promises')
const { tmpdir } = require('node:os')
const { delimiter, join } = require('node:path')

const puppeteer = require('puppeteer-core')

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

/** Chromium with a profile of its own; both end with the test, or with the file if `t` is `shared()`. */
async function chromium(t) {
  const profile = await mkdtemp(join(tmpdir(), 'p2p-chromium-'))
  const browser = await puppeteer.launch({
    executablePath: executable(),
    userDataDir: profile,
    args: FLAGS,
    timeout: HANG,
    protocolTimeout: 2 * HANG,
  })
  t.after(async () => {
    await browser.close()
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  })
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
 * A page that keeps account of itself: `requests` are the URLs that were sent, WebSockets too;
 * `faults` are violations of its Content-Security-Policy, and errors of its scripts and its console.
 * `prepare` runs in the page before its own scripts.
 */
async function openPage(browser, url, prepare = () => {}) {
  const page = await browser.newPage()
  page.setDefaultTimeout(HANG)
  const requests = []
  const faults = []
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('console', (message) => {
    // A refused token is an answer that a page expects; Chromium writes it down as an error.
    const expected = /^Failed to load resource/.test(message.text())
    if (message.type() === 'error' && !expected) faults.push(message.text())
  })
  const devtools = await page.createCDPSession()
  await devtools.send('Network.enable')
  devtools.on('Network.requestWillBeSent', ({ request }) => requests.push(request.url))
  devtools.on('Network.webSocketCreated', ({ url }) => requests.push(url))
  await page.exposeFunction('reportViolation', (text) => faults.push(text))
  await page.evaluateOnNewDocument(() => {
    addEventListener('securitypolicyviolation', (event) => {
      const { violatedDirective, blockedURI, sourceFile, lineNumber } = event
      window.reportViolation(`${violatedDirective}: ${blockedURI} at ${sourceFile}:${lineNumber}`)
    })
  })
  await page.evaluateOnNewDocument(prepare)
  await page.goto(url)
  return { page, requests, faults }
}

/** Asserts that a page kept to its own origin, broke none of its rules, and sent no token in a URL. */
function kept({ page, requests, faults }, server) {
  assert.ok(requests.length > 0)
  for (const url of requests) {
    assert.equal(new URL(url).host, new URL(server.origin).host, url)
    assert.ok(!url.includes('eyJ'), `a token was sent in ${url}`)
  }
  assert.ok(!page.url().includes('eyJ'), `a token stays in the address bar: ${page.url()}`)
  assert.ok(!server.log().includes('eyJ'), 'a token is in the log of the server')
  assert.deepEqual(faults, [])
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

module.exports = { chromium, kept, openPage, untilSays, HANG }
