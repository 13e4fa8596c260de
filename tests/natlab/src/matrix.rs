//! Every pair of NAT kinds over the real binaries.
//!
//! Each pair is run once, and who calls alternates, so that every kind calls and is called: who
//! starts must not decide who connects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cases::Case;
use crate::cell::{self, Seen};
use crate::nat::{NatKind, Path, expected_path};

/// What was seen, by caller and listener.
pub type Table = BTreeMap<(NatKind, NatKind), Seen>;

/// The cases of the matrix and the table that they fill in.
#[derive(Debug, Default, Clone)]
pub struct Matrix {
    table: Arc<Mutex<Table>>,
}

impl Matrix {
    /// One case for each pair.
    pub fn cases(&self) -> Vec<Case> {
        pairs().into_iter().map(|(caller, listener)| self.case(caller, listener)).collect()
    }

    /// The table as filled in so far.
    pub fn table(&self) -> Table {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn case(&self, caller: NatKind, listener: NatKind) -> Case {
        let words = match expected_path(caller, listener) {
            Path::Direct => "connects directly to",
            Path::Relay => "reaches by the relay",
        };
        let table = Arc::clone(&self.table);
        Case::new(format!("{caller} {words} {listener}"), move |context| {
            cell::run(caller, listener, context, |seen| {
                let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                table.insert((caller, listener), seen);
            })
        })
    }
}

/// Every unordered pair of kinds once, as caller and listener; then the two homes behind one
/// carrier.
pub fn pairs() -> Vec<(NatKind, NatKind)> {
    let kinds = NatKind::MATRIX;
    let pairs = (0..kinds.len()).flat_map(|i| (i..kinds.len()).map(move |j| (i, j)));
    let alternating = pairs.map(|(i, j)| match (i + j) % 2 {
        0 => (kinds[i], kinds[j]),
        _ => (kinds[j], kinds[i]),
    });
    alternating.chain(NatKind::SHARED.map(|kind| (kind, kind))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_pair_is_there_once_and_every_kind_calls_and_is_called() {
        let (all, kinds) = (pairs(), NatKind::MATRIX.len());
        assert_eq!(all.len(), kinds * (kinds + 1) / 2 + NatKind::SHARED.len());
        let unordered: BTreeSet<_> = all.iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        assert_eq!(unordered.len(), all.len());
        for kind in NatKind::MATRIX {
            let other = |pair: &&(NatKind, NatKind)| pair.0 != pair.1;
            assert!(all.iter().filter(other).any(|(caller, _)| *caller == kind), "{kind} calls");
            assert!(
                all.iter().filter(other).any(|(_, called)| *called == kind),
                "{kind} is called"
            );
        }
    }

    #[test]
    fn a_case_says_which_path_is_expected() {
        let cases = Matrix::default().cases();
        let names: BTreeSet<&str> = cases.iter().map(Case::name).collect();
        assert!(names.contains("symmetric connects directly to address-restricted"));
        assert!(names.contains("shared-cgn reaches by the relay shared-cgn"));
    }
}
