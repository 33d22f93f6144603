//! Spark Structured Streaming's contract as a Rust library.
//!
//! A query is written in Spark's words ([`frame`]), analysed and lowered ([`plan`]), and run in micro-batches ([`batch`]). The modules below
//! stand in the order in which a batch meets them:
//!
//! ```text
//! source -> decode -> [ stateless -> partial aggregate ] -> state merge -> emit -> sink -> commit
//!   WAL: offsets/N       kernels: GPU or CPU twin           state delta N        prepared/N   commits/N
//! ```
//!
//! The nouns that travel are offset ranges, raw chunks, record batches, partial aggregates, state files, staged output and a commit.
//! Data batches carry data only; watermarks and progress travel beside them.

#![recursion_limit = "256"]

pub mod config;
pub mod error;
pub mod options;
pub mod session;
pub mod storage;
pub mod types;

#[cfg(feature = "kafka")]
mod kafka;

pub mod frame;
pub mod functions;
pub mod plan;
pub mod sql;

pub mod batch;
pub mod checkpoint;
pub mod decode;
pub mod operator;
pub mod progress;
pub mod sink;
pub mod source;
pub mod state;
pub mod table;
pub mod watermark;

#[cfg(feature = "connect")]
pub mod server;

#[doc = include_str!("embedding.md")]
pub mod embedding {}

/// The crates whose types are part of this API, in the versions that it takes.
pub use {arrow, async_trait::async_trait, datafusion, serde_json, uuid};

pub use error::{Error, ErrorCode, Result};
pub use session::Session;

/// What a program needs, in one line: `use tidemill::prelude::*;`.
pub mod prelude {
    pub use crate::batch::Trigger;
    pub use crate::error::{Error, ErrorCode};
    pub use crate::frame::functions::*;
    pub use crate::frame::{Column, DataFrame, StreamingQuery};
    pub use crate::frame::{DataFrameReader, DataFrameWriter, DataStreamReader, DataStreamWriter, SaveMode};
    pub use crate::frame::{GroupedFrame, Observation, StreamingQueryManager, WindowSpec};
    pub use crate::frame::{
        InputRow, ListState, MapState, StateHandle, StatefulProcessor, TimeMode, TimerValues, ValueState,
    };
    pub use crate::plan::logical::JoinType;
    pub use crate::progress::StreamingQueryProgress;
    pub use crate::progress::listener::{
        QueryIdleEvent, QueryProgressEvent, QueryStartedEvent, QueryTerminatedEvent, StreamingQueryListener,
    };
    pub use crate::session::Session;
    pub use crate::sink::OutputMode::{self, Append, Complete, Update};
    pub use crate::sink::foreach::{ForeachWriter, Row};
    pub use crate::sink::memory::MemoryTable;
    pub use crate::source::memory::MemoryStream;
    pub use crate::types::*;
}
