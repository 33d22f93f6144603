//! How a plan names a source before a query opens one.

use super::Source;
use crate::error::Result;
use std::fmt;

/// A source as part of a plan, which [`DataFrame::from_source`](crate::frame::DataFrame::from_source) makes a stream of, and
/// [`DataFrame::from_table`](crate::frame::DataFrame::from_table) a table: described, comparable, and able to make a [`Source`] for each query that is started.
pub trait SourceProvider: fmt::Debug + Send + Sync {
    /// One line for `explain` and for the plan that a checkpoint keeps: format and identity, no secrets.
    fn describe(&self) -> String;

    /// Makes the source. Checks options, touches nothing outside the process.
    ///
    /// # Errors
    /// Options that the source does not have or cannot use.
    fn create(&self) -> Result<Box<dyn Source>>;

    /// The files of a table, by their URIs; none for sources of anything else.
    fn files(&self) -> Vec<String> {
        Vec::new()
    }

    /// The decoder for [`Chunk::Lines`](super::Chunk::Lines), where the source gives undecoded records.
    fn format(&self) -> Option<LineFormat> {
        None
    }
}

/// Format of undecoded records: the schema that decodes them, and how.
#[derive(Debug, Clone)]
pub struct LineFormat {
    /// The source's columns: those of the records, and those that [`Lines::partition`](super::Lines::partition) gives.
    pub schema: crate::types::StructType,
    /// How they are written.
    pub syntax: Syntax,
}

/// Syntax of undecoded records, with the decoder's options.
#[derive(Debug, Clone)]
pub enum Syntax {
    /// JSON, an object per line unless its options say otherwise.
    Json(crate::decode::JsonOptions),
    /// CSV without its header line.
    Csv(crate::decode::CsvOptions),
    /// One column `value`.
    Text(crate::decode::Records),
}
