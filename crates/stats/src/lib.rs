//! What happened to every connection attempt, behind one trait.
//!
//! [`Store`] writes attempts and answers questions about them; [`SqliteStore`] is the embedded back
//! end and [`PostgresStore`] the one that instances share. [`Recorder`] stands between signaling and the store: handing it a record never waits, and
//! what it cannot keep is counted (invariant I7).
//!
//! Recording is an idempotent upsert by attempt id. [`merge`] says how two records of one attempt
//! become one, whichever comes first and however often.
#![warn(missing_docs)]

pub mod attempt;
pub mod error;
pub mod event;
pub mod learned;
pub mod merge;
pub mod network;
mod outage;
pub mod postgres;
pub mod query;
pub mod recorder;
mod row;
pub mod sqlite;
pub mod store;
pub mod story;
pub mod stream;
pub mod usage;

pub use attempt::{AttemptRecord, NatSummary, Side};
pub use error::StatsError;
pub use event::Event;
pub use learned::{Chance, Learned, Outcomes};
pub use network::{AddressDetail, Network};
pub use postgres::PostgresStore;
pub use query::{
    Cursor, Filter, MAX_PAGE, MethodCell, MethodStats, NatCell, Page, Percentiles, Summary,
};
pub use recorder::Recorder;
pub use sqlite::{Retention, SqliteStore};
pub use store::{Store, StoreFuture};
pub use story::{CandidateSummary, Story};
pub use stream::{Appended, Stream, StreamSettings, StreamState, Writer, WriterSettings};
pub use usage::{Carried, RelayRecord, RelayTotals, SessionRecord, SessionTotals, Usage};
