//! The trait that every back end implements. `tests/conformance` holds what it promises.

use std::future::Future;
use std::pin::Pin;

use p2p_wire::AttemptId;

use crate::attempt::AttemptRecord;
use crate::error::StatsError;
use crate::event::{Event, Sorted};
use crate::query::{Cursor, Filter, MethodCell, NatCell, Page, Summary};
use crate::usage::{RelayRecord, SessionRecord, Usage};

/// What a store's method returns: boxed, so that the trait works as `Arc<dyn Store>`.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StatsError>> + Send + 'a>>;

/// Writes attempts and answers questions about them.
pub trait Store: Send + Sync {
    /// Records attempts, all or none. A record whose attempt is stored already is merged into it by
    /// [`crate::merge::merge`], so that recording twice, late or out of order changes nothing.
    fn record_attempts<'a>(&'a self, records: &'a [AttemptRecord]) -> StoreFuture<'a, ()>;

    /// Records one attempt; see [`Store::record_attempts`].
    fn record_attempt<'a>(&'a self, record: &'a AttemptRecord) -> StoreFuture<'a, ()> {
        self.record_attempts(std::slice::from_ref(record))
    }

    /// Records connections to signaling instances, all or none, each merged into what is stored of
    /// it.
    fn record_sessions<'a>(&'a self, records: &'a [SessionRecord]) -> StoreFuture<'a, ()>;

    /// Records allocations that ended, all or none. One that is stored already stays as it is.
    fn record_relays<'a>(&'a self, records: &'a [RelayRecord]) -> StoreFuture<'a, ()>;

    /// Records events of any kind. Where it fails, some kinds may be stored: recording the events
    /// again stores the others and changes nothing about these.
    fn record_events<'a>(&'a self, events: &'a [Event]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let Sorted { attempts, sessions, relays } = Sorted::of(events);
            if !attempts.is_empty() {
                self.record_attempts(&attempts).await?;
            }
            if !sessions.is_empty() {
                self.record_sessions(&sessions).await?;
            }
            if !relays.is_empty() {
                self.record_relays(&relays).await?;
            }
            Ok(())
        })
    }

    /// One attempt's whole story, or `None` where no such attempt is kept.
    fn attempt<'a>(&'a self, id: &'a AttemptId) -> StoreFuture<'a, Option<AttemptRecord>>;

    /// Attempts, newest first. `limit` is cut to 1..=[`crate::MAX_PAGE`]; `after` is the `next` of
    /// the page before. Attempts recorded meanwhile neither repeat nor hide older ones.
    fn attempts<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, Page>;

    /// Counts, rates and times over the attempts of a filter.
    fn summary<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Summary>;

    /// Outcomes by pair of NAT types, in the order of [`p2p_wire::NatType`]; pairs without attempts
    /// are left out. A peer that told nothing about its network counts as `Unknown`.
    fn nat_matrix<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<NatCell>>;

    /// How often each method was tried and worked, by pair of NAT types, in their order; what was
    /// never tried is left out; the hours in which the filter's times lie count whole. Peers tell it in their steps: a method worked where one says so or
    /// the attempt ended with it, and was tried where it worked or one says that it failed.
    fn methods<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<MethodCell>>;

    /// What sessions and relays amount to. The filter's app is that of the session, and of the
    /// credential of the allocation.
    fn usage<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Usage>;

    /// Succeeds where the store answers. One that lives in this process always does.
    fn check(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
