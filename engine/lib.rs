//! Tidemill: Spark Structured Streaming's contract as a Rust library.

pub mod error;
pub mod options;
pub mod types;

pub mod batch;
pub mod checkpoint;
pub mod decode;
pub mod frame;
pub mod functions;
pub mod operator;
pub mod plan;
pub mod progress;
pub mod sink;
pub mod source;
pub mod state;
pub mod watermark;

pub use error::{Error, ErrorCode, Result};
