//! Tidemill: Spark Structured Streaming's contract as a Rust library.

pub mod error;
pub mod options;
pub mod types;

#[cfg(feature = "kafka")]
mod kafka;

pub mod frame;
pub mod functions;
pub mod plan;
pub mod source;
pub mod decode;
pub mod watermark;
pub mod batch;
pub mod operator;
pub mod state;
pub mod sink;
pub mod checkpoint;
pub mod progress;

pub use error::{Error, ErrorCode, Result};
