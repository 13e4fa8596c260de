//! What every store promises, as functions over `&dyn Store`. Each back end runs all of them, each
//! on a store of its own that is empty.

pub(crate) mod aggregates;
pub(crate) mod listing;
pub(crate) mod model;
pub(crate) mod recording;
pub(crate) mod records;
