//! Which external ports a NAT gives to new flows, from a few that were opened one after the other
//! (RFC 4787 §4.2).

use std::collections::BTreeMap;

use p2p_wire::PortAllocation;

/// Flows that it takes to tell the kinds apart.
pub const SAMPLES: usize = 8;
/// Of these, how many have to be there: a lost answer is no reason to know nothing.
const ENOUGH: usize = 6;
/// Steps of NATs that count are small; among random ports a larger one comes up by chance.
const LARGEST_STEP: i32 = 64;
/// How many flows of others may come in between two of ours.
const OTHERS: i32 = 10;
/// Carriers hand out blocks of up to a few thousand ports.
const LARGEST_BLOCK: u32 = 8192;

/// What kind of allocation the ports show: `(internal, external)`, in the order of the flows.
/// `None` where they are too few.
pub fn allocation(ports: &[(u16, u16)]) -> Option<PortAllocation> {
    if ports.len() < ENOUGH {
        return None;
    }
    if ports.iter().all(|(internal, external)| internal == external) {
        return Some(PortAllocation::Preserving);
    }
    let external: Vec<u16> = ports.iter().map(|(_, external)| *external).collect();
    Some(if is_sequential(&external) {
        PortAllocation::Sequential
    } else if is_block(&external) {
        PortAllocation::Block
    } else {
        PortAllocation::Random
    })
}

/// At least three of four gaps lie within a few steps, in one direction.
fn is_sequential(ports: &[u16]) -> bool {
    let gaps: Vec<i32> =
        ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    for gap in &gaps {
        *counts.entry(*gap).or_default() += 1;
    }
    // The commonest gap; of several, the smallest.
    let step = counts
        .iter()
        .filter(|(gap, _)| **gap != 0 && gap.abs() <= LARGEST_STEP)
        .max_by_key(|(gap, count)| (**count, -gap.abs()));
    let Some((step, _)) = step else { return false };
    let steps = gaps.iter().filter(|gap| {
        gap.signum() == step.signum() && gap.abs() <= OTHERS.saturating_mul(step.abs())
    });
    steps.count() * 4 >= gaps.len() * 3
}

/// How far a uniform draw of this spread usually reaches: all of 64,512 ports give a spread that
/// small once in a million times.
fn is_block(ports: &[u16]) -> bool {
    let (Some(low), Some(high)) = (ports.iter().min(), ports.iter().max()) else { return false };
    let count = ports.len() as u32;
    let width = u32::from(high - low) * (count + 1) / (count - 1);
    width < LARGEST_BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(external: [u16; 8]) -> Option<PortAllocation> {
        let ports: Vec<_> = (50_000..).zip(external).collect();
        allocation(&ports)
    }

    #[test]
    fn each_kind_is_recognised() {
        let preserved = std::array::from_fn(|i| 50_000 + i as u16);
        assert_eq!(of(preserved), Some(PortAllocation::Preserving));
        let one_by_one = std::array::from_fn(|i| 40_000 + i as u16);
        assert_eq!(of(one_by_one), Some(PortAllocation::Sequential));
        let downwards = std::array::from_fn(|i| 40_000 - 2 * i as u16);
        assert_eq!(of(downwards), Some(PortAllocation::Sequential));
        let block = [41_003, 40_961, 41_900, 41_333, 40_970, 41_555, 41_980, 41_100];
        assert_eq!(of(block), Some(PortAllocation::Block));
        let random = [61_003, 1_961, 31_900, 22_333, 50_970, 11_555, 41_980, 8_100];
        assert_eq!(of(random), Some(PortAllocation::Random));
    }

    #[test]
    fn a_flow_of_somebody_else_in_between_does_not_hide_the_sequence() {
        let busy = [40_000, 40_001, 40_004, 40_005, 40_013, 40_014, 40_015, 40_016];
        assert_eq!(of(busy), Some(PortAllocation::Sequential));
    }

    #[test]
    fn too_few_flows_tell_nothing() {
        assert_eq!(allocation(&[(1, 2); 5]), None);
        assert_eq!(allocation(&[]), None);
    }
}
