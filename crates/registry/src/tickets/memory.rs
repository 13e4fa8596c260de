//! Tickets of one instance.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::{Kept, MAX_TICKETS_OF_ONE, TicketBox, hash};
use crate::registry::Answer;

/// Tickets in memory. One that is used or has ended makes room for another.
#[derive(Debug)]
pub struct MemoryTickets {
    open: Mutex<Open>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Open {
    by_hash: HashMap<String, Held>,
    by_end: BTreeSet<(Instant, String)>,
    of_holder: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Held {
    holder: Arc<str>,
    what: String,
    ends: Instant,
}

impl MemoryTickets {
    /// Room for so many tickets.
    pub fn new(capacity: usize) -> Self {
        Self { open: Mutex::default(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("no code panics while it holds the tickets' lock")
    }

    fn keep_now(&self, ticket: &str, holder: &str, what: String, ttl: Duration) -> Kept {
        let (mut open, now) = (self.lock(), Instant::now());
        while let Some((ends, hash)) = open.by_end.first().cloned()
            && ends <= now
        {
            open.remove(&hash);
        }
        if open.of_holder.get(holder).is_some_and(|open| *open >= MAX_TICKETS_OF_ONE) {
            return Kept::HolderFull;
        }
        if open.by_hash.len() >= self.capacity {
            return Kept::Full;
        }
        let (hash, holder, ends) = (hash(ticket), Arc::<str>::from(holder), now + ttl);
        *open.of_holder.entry(holder.clone()).or_default() += 1;
        open.by_end.insert((ends, hash.clone()));
        open.by_hash.insert(hash, Held { holder, what, ends });
        Kept::Yes
    }
}

impl TicketBox for MemoryTickets {
    fn keep<'a>(
        &'a self,
        ticket: &'a str,
        holder: &'a str,
        what: String,
        ttl: Duration,
    ) -> Answer<'a, Kept> {
        Box::pin(async move { Ok(self.keep_now(ticket, holder, what, ttl)) })
    }

    fn take<'a>(&'a self, ticket: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move {
            let held = self.lock().remove(&hash(ticket));
            Ok(held.filter(|held| Instant::now() < held.ends).map(|held| held.what))
        })
    }
}

impl Open {
    fn remove(&mut self, hash: &str) -> Option<Held> {
        let held = self.by_hash.remove(hash)?;
        self.by_end.remove(&(held.ends, hash.to_owned()));
        if let Some(open) = self.of_holder.get_mut(&held.holder) {
            *open -= 1;
            if *open == 0 {
                self.of_holder.remove(&held.holder);
            }
        }
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn keep(tickets: &MemoryTickets, ticket: &str, holder: &str) -> Kept {
        tickets.keep_now(ticket, holder, format!("what {ticket} stands for"), MINUTE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_a_while() {
        let tickets = MemoryTickets::new(10);
        assert_eq!(keep(&tickets, "one", "alice"), Kept::Yes);
        let what = tickets.take("one").await.unwrap();
        assert_eq!(what.as_deref(), Some("what one stands for"));
        assert_eq!(tickets.take("one").await.unwrap(), None, "used");
        keep(&tickets, "two", "alice");
        tokio::time::advance(MINUTE).await;
        assert_eq!(tickets.take("two").await.unwrap(), None, "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn i5_there_is_a_bound_and_a_used_ticket_makes_room_as_does_time() {
        let tickets = MemoryTickets::new(2);
        assert_eq!([keep(&tickets, "a", "alice"), keep(&tickets, "b", "bob")], [Kept::Yes; 2]);
        assert_eq!(keep(&tickets, "c", "carol"), Kept::Full);
        tickets.take("a").await.unwrap();
        assert_eq!(keep(&tickets, "c", "carol"), Kept::Yes);
        tokio::time::advance(MINUTE).await;
        assert_eq!(keep(&tickets, "d", "dave"), Kept::Yes);
        let open = tickets.lock();
        assert_eq!((open.by_hash.len(), open.by_end.len(), open.of_holder.len()), (1, 1, 1));
    }

    #[tokio::test]
    async fn i5_no_holder_takes_all_the_tickets() {
        let tickets = MemoryTickets::new(10_000);
        for n in 0..MAX_TICKETS_OF_ONE {
            assert_eq!(keep(&tickets, &n.to_string(), "mallory"), Kept::Yes);
        }
        assert_eq!(keep(&tickets, "more", "mallory"), Kept::HolderFull);
        assert_eq!(keep(&tickets, "hers", "alice"), Kept::Yes);
        tickets.take("0").await.unwrap();
        assert_eq!(keep(&tickets, "more", "mallory"), Kept::Yes);
    }
}
