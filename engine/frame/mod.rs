//! What users write: [`DataStreamReader`] to [`DataFrame`] to [`DataStreamWriter`] to [`StreamingQuery`], with [`Column`]s from
//! [`functions`] in between. Spark's names throughout.
#![doc = include_str!("examples.md")]

mod cache;
mod column;
mod data_frame;
pub mod functions;
mod grouped;
mod join;
mod na;
mod observation;
mod over;
mod pivot;
pub(crate) mod processor;
mod query;
mod reader;
mod reshape;
mod sample;
mod set;
mod statistics;
mod table;
pub(crate) mod table_writer;
mod writer;

pub use column::{Column, IntoColumn, Operand};
pub use data_frame::DataFrame;
pub use grouped::GroupedFrame;
pub(crate) use grouped::not_grouped;
pub use join::{IntoJoinOn, IntoJoinType, JoinOn};
pub use observation::{IntoObservation, Observation, Observed};
pub use over::WindowSpec;
pub(crate) use over::window_text;
pub use processor::{InputRow, ListState, MapState, StateHandle, StatefulProcessor, TimeMode, TimerValues, ValueState};
pub use query::{StreamingQuery, StreamingQueryManager};
pub use reader::{DataFrameReader, DataStreamReader};
pub use table_writer::{DataFrameWriter, IntoSaveMode, SaveMode};
pub use writer::{DataStreamWriter, IntoOutputMode, IntoTrigger};
