//! Operator state, in memory and in state files: mergeable partial aggregates by window and key, sessions, and rows by key.
//!
//! [`accumulator`] holds one aggregate's column ([`host`] that of a call without a kernel), [`table`] the keyed groups, [`mod@file`] their
//! durable form; [`sessions`] holds sessions by key, [`rows`] one value a key.

mod absorb;
pub mod accumulator;
pub mod file;
pub mod host;
pub mod rows;
pub mod sessions;
pub mod table;

pub use table::Table;
