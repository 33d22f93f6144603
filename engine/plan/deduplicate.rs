//! Planning of a deduplication: which columns are compared, and until when a row is remembered.
//!
//! Comes in: the names of key columns over the input's schema. Goes out: a [`DeduplicatePlan`]. Fails: keys that cannot be compared, and
//! `drop_duplicates_within_watermark` without a watermark.

use super::fingerprint::Meaning;
use super::logical::watermark_delay_ms;
use super::scope::distinct_names;
use crate::error::{Error, ErrorCode, Result};
use arrow::datatypes::{DataType, Schema, SchemaRef};

/// A deduplication.
#[derive(Debug, Clone)]
pub struct DeduplicatePlan {
    /// Columns of the rows.
    pub schema: SchemaRef,
    /// Positions of the columns that are compared.
    pub keys: Vec<usize>,
    /// Position of the event time, by which rows are late.
    pub event_time: Option<usize>,
    /// Until when a row is remembered.
    pub expiry: Expiry,
}

/// Until when a row is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// For ever.
    Never,
    /// Until the watermark reaches the time in this column, which is a key.
    AtTime(usize),
    /// Until the watermark reaches the time in this column and a delay in microseconds.
    After(usize, i64),
}

impl DeduplicatePlan {
    pub(super) fn new(columns: &[String], within_watermark: bool, schema: &SchemaRef) -> Result<Self> {
        let names = distinct_names(schema);
        let position = |column: &String| {
            let found = names.iter().position(|name| name == column);
            found.ok_or_else(|| Error::internal(format!("{column} is not a column of the relation below")))
        };
        let keys: Vec<usize> = columns.iter().map(position).collect::<Result<_>>()?;
        for key in &keys {
            let field = schema.field(*key);
            if let DataType::Map(_, _) = field.data_type() {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!(
                        "drop_duplicates compares no maps, and the column {:?} is one; name other columns, or compare map_entries of it",
                        field.name()
                    ),
                ));
            }
        }
        let event_time = event_time(schema);
        let expiry = match (event_time, within_watermark) {
            (Some((column, delay_ms)), true) => Expiry::After(column, delay_ms.saturating_mul(1000)),
            (None, true) => return Err(without_watermark()),
            _ => match keys.iter().find(|key| watermark_delay_ms(schema.field(**key)).is_some()) {
                Some(key) => Expiry::AtTime(*key),
                None => Expiry::Never,
            },
        };
        Ok(Self { schema: schema.clone(), keys, event_time: event_time.map(|(column, _)| column), expiry })
    }

    /// Whether rows are forgotten a delay after their event time.
    pub fn within_watermark(&self) -> bool {
        matches!(self.expiry, Expiry::After(..))
    }

    /// What the state means. A changed delay is not another meaning: rows keep the deadline that they have.
    pub(super) fn meaning(&self) -> Meaning {
        let column = |index: &usize| {
            let field = self.schema.field(*index);
            format!("{}: {}", field.name(), field.data_type())
        };
        let expiry = match self.expiry {
            Expiry::Never => "never".to_string(),
            Expiry::AtTime(time) => format!("at {}", self.schema.field(time).name()),
            Expiry::After(time, _) => format!("a delay after {}", self.schema.field(time).name()),
        };
        [("compared column", self.keys.iter().map(column).collect()), ("expiry", vec![expiry])]
            .map(|(label, texts)| (label.to_string(), texts))
            .into()
    }
}

/// Position and delay of the first column with a watermark.
pub(super) fn event_time(schema: &Schema) -> Option<(usize, i64)> {
    schema.fields().iter().enumerate().find_map(|(index, field)| Some((index, watermark_delay_ms(field)?)))
}

/// The refusal of `drop_duplicates_within_watermark` without a watermark.
pub(super) fn without_watermark() -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        "dropDuplicatesWithinWatermark is not supported on a stream without a watermark; call with_watermark on the event time before it",
    )
}
