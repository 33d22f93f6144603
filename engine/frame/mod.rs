//! What users write: [`DataStreamReader`] to [`StreamFrame`] to [`DataStreamWriter`] to [`StreamingQuery`], with [`Column`]s from
//! [`functions`] in between. Spark's names throughout.
#![doc = include_str!("examples.md")]

mod batch_frame;
mod column;
pub mod functions;
mod query;
mod reader;
mod stream_frame;
mod writer;

pub use batch_frame::BatchFrame;
pub use column::{Column, IntoColumn, Operand};
pub use query::{StreamingQuery, StreamingQueryManager};
pub use reader::DataStreamReader;
pub use stream_frame::{GroupedFrame, StreamFrame};
pub use writer::{DataStreamWriter, IntoOutputMode, IntoTrigger};
