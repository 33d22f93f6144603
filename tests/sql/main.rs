//! The `tidemill` binary on SQL scripts: rows, errors with their places, exit statuses, signals, and kills.

mod errors;
#[cfg(feature = "kafka")]
mod kafka;
mod process;
mod scripts;
mod support;
