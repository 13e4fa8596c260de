// Adding up what clients have counted, and shares in percent.
'use strict'

/** Adds counts by name. */
function sum(one, other) {
  if (!other) return one
  return Object.fromEntries(Object.keys(one).map((name) => [name, one[name] + other[name]]))
}

/** Shares of successes and failures, as text with two decimals; both 0 where nothing was tried. */
function percentages(successes, failures) {
  const all = successes + failures
  const share = (part) => (all === 0 ? 0 : (part / all) * 100).toFixed(2)
  return { successRate: share(successes), failureRate: share(failures) }
}

module.exports = { sum, percentages }
