//! Operator state: mergeable partial aggregates by window and key, in memory and in state files.
//!
//! [`accumulator`] holds one aggregate's column ([`host`] that of a call without a kernel), [`table`] the keyed groups, [`mod@file`] their durable form.

pub mod accumulator;
pub mod file;
pub mod host;
pub mod table;

pub use table::Table;
