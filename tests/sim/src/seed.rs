//! Where a run's randomness comes from, and how a failed one is repeated.
//!
//! NATs, loss, latency, credentials and the cores' injected randomness follow the seed. The TURN and
//! ICE libraries draw transaction ids of their own from the operating system; no decision depends on
//! an id.

/// The seed of this run: `P2P_SEED` where it is set, else `default`. Prints it, so that a failure
/// can be repeated.
///
/// # Panics
/// `P2P_SEED` is not a number.
pub fn seed(default: u64) -> u64 {
    let seed = number("P2P_SEED").unwrap_or(default);
    eprintln!("seed {seed}: repeat with P2P_SEED={seed}");
    seed
}

/// How many random cases to try: `P2P_CASES` where it is set, else `default`.
///
/// # Panics
/// `P2P_CASES` is not a number.
pub fn cases(default: u64) -> u64 {
    number("P2P_CASES").unwrap_or(default)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} has to be a number, not `{text}`")))
}
