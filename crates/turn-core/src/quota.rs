//! How many allocations a user may hold.
//!
//! A place is taken when an allocation is made and given back when it is freed, nowhere else: a
//! quota that can be released early is no quota (coturn 3c5b2615).

use std::collections::HashMap;

use crate::credentials::UserId;

pub(crate) struct UserQuotas {
    per_user: u32,
    /// Users with at least one allocation, so never more entries than allocations.
    held: HashMap<UserId, u32>,
}

impl UserQuotas {
    pub(crate) fn new(per_user: u32) -> Self {
        Self { per_user, held: HashMap::new() }
    }

    /// Takes a place, or says that the user has none left.
    #[must_use]
    pub(crate) fn take(&mut self, user: &UserId) -> bool {
        let held = self.held.get(user).copied().unwrap_or(0);
        if held >= self.per_user {
            return false;
        }
        self.held.insert(user.clone(), held + 1);
        true
    }

    pub(crate) fn give_back(&mut self, user: &UserId) {
        let Some(held) = self.held.get_mut(user) else {
            debug_assert!(false, "a place given back that was not taken");
            return;
        };
        *held -= 1;
        if *held == 0 {
            self.held.remove(user);
        }
    }

    /// Users with at least one allocation.
    pub(crate) fn users(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_places_up_to_the_quota_and_another_user_is_not_affected() {
        let mut quotas = UserQuotas::new(2);
        let (alice, bob) = (UserId::rest("alice"), UserId::rest("bob"));
        assert!(quotas.take(&alice) && quotas.take(&alice));
        assert!(!quotas.take(&alice));
        assert!(quotas.take(&bob));
        quotas.give_back(&alice);
        assert!(quotas.take(&alice));
    }

    #[test]
    fn a_user_without_allocations_costs_no_memory() {
        let mut quotas = UserQuotas::new(2);
        let alice = UserId::rest("alice");
        assert!(quotas.take(&alice));
        quotas.give_back(&alice);
        assert_eq!(quotas.users(), 0);
    }
}
