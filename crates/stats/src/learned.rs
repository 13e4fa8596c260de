//! What plans learn from: how often each method worked between two types of network.
//!
//! [`Learned`] asks the store in the background and answers from memory, so that no attempt ever
//! waits for the database; while that is away, it goes on with what it knew last.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_wire::{Method, NatType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;

use crate::query::Filter;
use crate::store::Store;

/// Between two questions to the store.
const EVERY: Duration = Duration::from_secs(60);
/// How far back outcomes count: networks change.
const WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many outcomes a prior is worth.
const PRIOR_WEIGHT: f64 = 10.0;
/// The 97.5th percentile of the normal distribution: an interval of 95 %.
const Z: f64 = 1.959_964;

/// How often one method was tried, and in how many of those attempts it worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// Attempts that tried it.
    pub tried: u64,
    /// Attempts in which it carried packets both ways.
    pub worked: u64,
}

/// What to expect of a method.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chance {
    /// The expected share of attempts in which it works, 0 to 1.
    pub expected: f64,
    /// The lower end of the interval that holds the true share with 95 %.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Outcomes {
    /// What to expect after these outcomes, where nothing but `prior` was known before: the prior
    /// counts as ten attempts with that share of successes (the conjugate prior of the binomial, a
    /// Beta distribution, whose mean this is). The interval is the score interval over prior and
    /// outcomes together (E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    /// Inference", JASA 22, 1927), which stays within 0 to 1 and is wide while little is known.
    pub fn chance(self, prior: f64) -> Chance {
        let worked = self.worked.min(self.tried) as f64;
        let n = self.tried as f64 + PRIOR_WEIGHT;
        let expected = (prior.clamp(0.0, 1.0) * PRIOR_WEIGHT + worked) / n;
        let z2 = Z * Z;
        let middle = (expected + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z / (1.0 + z2 / n)
            * (expected * (1.0 - expected) / n + z2 / (4.0 * n * n)).max(0.0).sqrt();
        // At the very ends rounding may leave the expected share outside.
        let low = (middle - half).max(0.0).min(expected);
        let high = (middle + half).min(1.0).max(expected);
        Chance { expected, low, high }
    }
}

/// The share of attempts in which a method is expected to work while nothing is recorded: what plans
/// begin with.
pub fn prior(method: Method) -> f64 {
    match method {
        Method::Direct => 0.95,
        Method::UdpHolePunch => 0.85,
        Method::TcpHolePunch => 0.70,
        Method::Relay => 0.99,
    }
}

type Table = HashMap<(NatType, NatType, Method), Outcomes>;

/// Outcomes of the last 30 days over all apps, in memory: what two NATs do with packets does not
/// depend on the app, and a small app profits from what the others have seen.
#[derive(Debug, Default)]
pub struct Learned(RwLock<Arc<Table>>);

impl Learned {
    /// Follows a store until this value is dropped. Must be called within a Tokio runtime.
    pub fn follow(store: Arc<dyn Store>) -> Arc<Self> {
        let learned = Arc::new(Self::default());
        tokio::spawn(keep_up(Arc::downgrade(&learned), store));
        learned
    }

    /// Asks the store once.
    ///
    /// # Errors
    /// What the store says; what was known before stays.
    pub async fn refresh(&self, store: &dyn Store) -> Result<(), crate::StatsError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = i64::try_from(now.saturating_sub(WINDOW).as_millis()).ok();
        let cells = store.methods(&Filter { since_unix_ms: since, ..Filter::default() }).await?;
        let mut table = Table::with_capacity(cells.len());
        for cell in cells {
            // Who called whom makes no difference to two NATs: both directions count together.
            let (a, b) = ordered(cell.caller, cell.callee);
            let sum = table.entry((a, b, cell.method)).or_default();
            sum.tried += cell.tried;
            sum.worked += cell.worked;
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        Ok(())
    }

    /// The outcomes of a method between two types of network. Never waits.
    pub fn outcomes(&self, one: NatType, other: NatType, method: Method) -> Outcomes {
        let table = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let (a, b) = ordered(one, other);
        table.get(&(a, b, method)).copied().unwrap_or_default()
    }
}

async fn keep_up(learned: Weak<Learned>, store: Arc<dyn Store>) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Some(learned) = learned.upgrade() else { return };
        if let Err(error) = learned.refresh(&*store).await {
            tracing::debug!(%error, "plans go on with the outcomes known so far");
        }
    }
}

fn ordered(one: NatType, other: NatType) -> (NatType, NatType) {
    if one <= other { (one, other) } else { (other, one) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_no_outcomes_the_prior_is_expected_and_the_interval_is_wide() {
        for prior in [0.95, 0.85, 0.70, 0.99] {
            let chance = Outcomes::default().chance(prior);
            assert!((chance.expected - prior).abs() < 1e-9, "{chance:?}");
            assert!(chance.low < prior && prior <= chance.high && chance.high <= 1.0);
            assert!(chance.high - chance.low > 0.25, "{chance:?}");
        }
    }

    #[test]
    fn many_outcomes_outweigh_the_prior_and_narrow_the_interval() {
        let chance = Outcomes { tried: 10_000, worked: 2_000 }.chance(0.85);
        assert!((chance.expected - 0.2).abs() < 0.001, "{chance:?}");
        assert!(chance.low < 0.2 && 0.2 < chance.high && chance.high - chance.low < 0.02);
    }

    #[test]
    fn an_interval_stays_within_what_a_share_can_be() {
        for (tried, worked, prior) in [(0, 0, 1.0), (5, 5, 1.0), (5, 0, 0.0), (1, 9, 0.5)] {
            let Chance { expected, low, high } = Outcomes { tried, worked }.chance(prior);
            assert!(0.0 <= low && low <= expected && expected <= high && high <= 1.0 + 1e-9);
        }
    }

    /// The example of a textbook: 10 of 20 without a prior has the score interval 0.299 to 0.701.
    #[test]
    fn the_interval_is_the_score_interval() {
        // A prior of one half is ten of those twenty.
        let chance = Outcomes { tried: 10, worked: 5 }.chance(0.5);
        assert!((chance.low - 0.2993).abs() < 0.0001, "{chance:?}");
        assert!((chance.high - 0.7007).abs() < 0.0001, "{chance:?}");
    }

    #[tokio::test]
    async fn both_directions_count_together_and_an_unknown_pair_has_none() {
        use crate::{AttemptRecord, NatSummary, SqliteStore};
        use p2p_wire::{AppId, AttemptId, Filtering, Mapping, Outcome, PeerId};

        let nat = |nat_type| {
            Some(NatSummary {
                nat_type,
                mapping: Mapping::Unknown,
                filtering: Filtering::Unknown,
                network: None,
            })
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let attempt = |id: &str, caller, callee| AttemptRecord {
            caller_nat: nat(caller),
            callee_nat: nat(callee),
            outcome: Outcome::Direct,
            method: Some(Method::UdpHolePunch),
            ..AttemptRecord::begun(
                AttemptId::new(id).unwrap(),
                AppId::default(),
                PeerId::new("alice").unwrap(),
                PeerId::new("bob").unwrap(),
                i64::try_from(now).unwrap(),
            )
        };
        let store = SqliteStore::in_memory().await.unwrap();
        let records = [
            attempt("a", NatType::FullCone, NatType::Symmetric),
            attempt("b", NatType::Symmetric, NatType::FullCone),
        ];
        store.record_attempts(&records).await.unwrap();
        let learned = Learned::default();
        learned.refresh(&store).await.unwrap();
        let both = Outcomes { tried: 2, worked: 2 };
        let punch = Method::UdpHolePunch;
        assert_eq!(learned.outcomes(NatType::Symmetric, NatType::FullCone, punch), both);
        assert_eq!(learned.outcomes(NatType::FullCone, NatType::Symmetric, punch), both);
        let none = learned.outcomes(NatType::Open, NatType::Open, punch);
        assert_eq!(none, Outcomes::default());
    }
}
