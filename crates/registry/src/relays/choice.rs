//! The choice of relays: no clock, no randomness, the same answer for the same question.

use std::cmp::Reverse;

use aws_lc_rs::digest;

use super::RelayRecord;

/// Loads that differ by less count as the same: fresh relays are not flooded between two reports.
const SAME_LOAD: u16 = 50;
/// From this load on, in thousandths, a relay is taken only where there is no other.
const FULL: u16 = 950;

/// The best relays for the peers that are in these regions, at most `count`, the best first.
///
/// A relay near one of the peers goes before a distant one, and where the peers are apart each gets
/// the best one near it. Among equals the one with less load goes first; where loads are the same,
/// `pair` decides, so that pairs spread over relays and both sides of one get the same. Draining
/// relays are never chosen, full ones last.
pub fn best<'a>(
    relays: &'a [RelayRecord],
    regions: &[&str],
    pair: &str,
    count: usize,
) -> Vec<&'a RelayRecord> {
    let mut usable: Vec<(&RelayRecord, u64)> = relays
        .iter()
        .filter(|relay| !relay.draining && !relay.turn_urls().is_empty())
        .map(|relay| (relay, weight(pair, &relay.id)))
        .collect();
    usable.sort_by_key(|(relay, weight)| (relay.load / SAME_LOAD, Reverse(*weight)));
    let rank = |relay: &RelayRecord| {
        let near = regions.contains(&relay.region.as_str()) && !relay.region.is_empty();
        (relay.load >= FULL, !near)
    };
    // Sorting is stable: within a rank, load and weight still count.
    usable.sort_by_key(|(relay, _)| rank(relay));

    let mut chosen: Vec<&RelayRecord> = Vec::with_capacity(count);
    // One near each peer first, as long as it is not full.
    for region in regions.iter().filter(|region| !region.is_empty()) {
        let near = usable.iter().map(|(relay, _)| *relay).find(|relay| {
            relay.region == *region && relay.load < FULL && !contains(&chosen, relay)
        });
        let served = chosen.iter().any(|relay| relay.region == *region);
        if let Some(near) = near.filter(|_| !served && chosen.len() < count) {
            chosen.push(near);
        }
    }
    for (relay, _) in usable {
        if chosen.len() >= count {
            break;
        }
        if !contains(&chosen, relay) {
            chosen.push(relay);
        }
    }
    chosen
}

fn contains(chosen: &[&RelayRecord], relay: &RelayRecord) -> bool {
    chosen.iter().any(|other| other.id == relay.id)
}

/// Rendezvous hashing: a relay that comes or goes moves only the pairs that it wins or loses.
fn weight(pair: &str, relay: &str) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(pair.as_bytes());
    hash.update(&[0]);
    hash.update(relay.as_bytes());
    let hash = hash.finish();
    hash.as_ref().iter().take(8).fold(0, |weight, byte| (weight << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(id: &str, region: &str, load: u16) -> RelayRecord {
        RelayRecord {
            id: id.to_owned(),
            region: region.to_owned(),
            addresses: vec!["192.0.2.1:3478".to_owned()],
            tcp: Vec::new(),
            load,
            draining: false,
        }
    }

    fn ids(chosen: &[&RelayRecord]) -> Vec<String> {
        chosen.iter().map(|relay| relay.id.clone()).collect()
    }

    #[test]
    fn relays_near_a_peer_go_first_and_distant_ones_fill_up() {
        let relays = [relay("us", "us", 0), relay("eu", "eu", 400), relay("ap", "ap", 100)];
        assert_eq!(ids(&best(&relays, &["eu", "eu"], "p", 2)), ["eu", "us"]);
        assert_eq!(ids(&best(&relays, &["mars"], "p", 2)), ["us", "ap"]);
        assert_eq!(best(&relays, &["eu"], "p", 9).len(), 3);
        assert!(best(&[], &["eu"], "p", 2).is_empty());
    }

    #[test]
    fn peers_that_are_apart_get_one_relay_near_each() {
        let relays = [
            relay("eu-1", "eu", 0),
            relay("eu-2", "eu", 0),
            relay("us-1", "us", 700),
            relay("ap-1", "ap", 0),
        ];
        let chosen = ids(&best(&relays, &["eu", "us"], "p", 2));
        assert!(chosen[0].starts_with("eu") && chosen[1] == "us-1", "{chosen:?}");
    }

    #[test]
    fn less_load_goes_first_and_a_full_relay_last() {
        let relays = [relay("a", "eu", 500), relay("b", "eu", 100), relay("c", "eu", 990)];
        assert_eq!(ids(&best(&relays, &["eu"], "p", 3)), ["b", "a", "c"]);
        let relays = [relay("near", "eu", 990), relay("far", "us", 0)];
        assert_eq!(ids(&best(&relays, &["eu"], "p", 2)), ["far", "near"]);
    }

    #[test]
    fn a_draining_relay_and_one_without_addresses_are_not_chosen() {
        let draining = RelayRecord { draining: true, ..relay("d", "eu", 0) };
        let nowhere = RelayRecord { addresses: Vec::new(), ..relay("n", "eu", 0) };
        let relays = [draining, nowhere, relay("us", "us", 900)];
        assert_eq!(ids(&best(&relays, &["eu"], "p", 2)), ["us"]);
    }

    #[test]
    fn pairs_spread_over_equal_relays_and_one_that_goes_moves_only_its_own() {
        let relays: Vec<_> = (0..4).map(|n| relay(&format!("r{n}"), "eu", n)).collect();
        let first = |relays: &[RelayRecord], pair: usize| {
            best(relays, &["eu"], &format!("pair-{pair}"), 1)[0].id.clone()
        };
        let before: Vec<String> = (0..4000).map(|pair| first(&relays, pair)).collect();
        for relay in &relays {
            let share = before.iter().filter(|id| **id == relay.id).count();
            assert!((800..=1200).contains(&share), "{} has {share} of 4000", relay.id);
        }
        for (pair, id) in before.iter().enumerate().filter(|(_, id)| *id != "r3") {
            assert_eq!(first(&relays[..3], pair), *id, "pair {pair} had no need to move");
        }
    }
}
