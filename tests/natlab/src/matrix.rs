//! Every pair of NAT kinds, in both roles, over the real binaries.
//!
//! A pair is run twice, once with each kind as the caller: who starts must not decide who connects.

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
    /// One case for each caller and listener.
    pub fn cases(&self) -> Vec<Case> {
        let pairs = NatKind::MATRIX
            .into_iter()
            .flat_map(|caller| NatKind::MATRIX.map(|listener| (caller, listener)));
        pairs.map(|(caller, listener)| self.case(caller, listener)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_calls_and_is_called_by_every_kind() {
        let cases = Matrix::default().cases();
        let names: BTreeSet<String> = cases.iter().map(|case| case.name().to_owned()).collect();
        assert_eq!(names.len(), NatKind::MATRIX.len() * NatKind::MATRIX.len());
        assert!(names.contains("symmetric reaches by the relay port-restricted"));
        assert!(names.contains("address-restricted connects directly to symmetric"));
    }
}
