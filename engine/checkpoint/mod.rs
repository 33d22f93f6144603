//! What survives a crash: the write-ahead log of a query, its state files, and the decision what a restart does.
//!
//! Comes in: what the runner decided, batch by batch. Goes out: durable, verified records, and after a restart a
//! [`Recovered`]. Fails: CHECKPOINT_IO (the place), CHECKPOINT_CORRUPT (a file is missing, damaged or contradicts another),
//! CHECKPOINT_VERSION (a newer engine wrote it), CHECKPOINT_FENCED (another run of the query has taken over).
//!
//! A batch passes through here in this order; whatever is interrupted, [`recovery`] finds the one right continuation:
//! ```text
//! write_offsets  ->  write_state*  ->  write_prepared  ->  (the sink publishes)  ->  commit  ->  collect_garbage
//! ```
//! Every file is created once and never changed. `commits/N` is the commit: it names an attempt and the hash of its
//! prepared record, which names the state files with their hashes; what nothing names is garbage. A start of the query
//! claims the next epoch; a run that finds a higher epoch than its own stops.
//!
//! **fsyncs per batch** on a local disk, a budget that a test holds: two each for offsets, prepared and commit, so six
//! for a stateless query; two more per state file; two per entry of a source's log. The garbage collector works every
//! [`GC_INTERVAL`] commits and syncs each directory it deletes from once. In an object store a batch is as many PUTs as
//! there are records and state files, and four LISTs for newer epochs.

pub mod entry;
pub mod fail;
pub mod local;
pub mod object;
pub mod recovery;
pub mod store;

mod envelope;
mod frames;
mod gc;
mod layout;
mod location;
mod open;
mod records;
mod source_log;
mod state;

pub use fail::FailPoints;
pub use gc::GC_INTERVAL;
pub use location::location;
pub use open::Checkpoint;
pub use records::{Committed, Pending, Recovered};
pub use recovery::Recovery;
pub use store::{CheckpointStore, Created};

#[cfg(test)]
mod tests;
