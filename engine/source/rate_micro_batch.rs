//! The same number of rows in every batch, for trials whose results must not depend on time: `timestamp`, `value` = 0, 1, 2 ...
//!
//! Comes in: `rowsPerBatch`, `startTimestamp`, `advanceMillisPerBatch`. Goes out: in batch n the values `n * rowsPerBatch` up to
//! the next batch's, all with the time `startTimestamp + n * advanceMillisPerBatch`. Offsets are Spark's,
//! `{"offset":5,"timestamp":1050}`, and say everything that a replay needs. Fails: values or times that pass 64 bits.

use super::rate::RowBlocks;
use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use crate::source::{Admission, Chunks, Offset, Proposal, ReadRequest, Source};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde_json::json;

/// The source of the format `rate-micro-batch`.
pub struct RateMicroBatchSource {
    rows_per_batch: i64,
    partitions: Option<u64>,
    start_timestamp: i64,
    advance_ms: i64,
    schema: SchemaRef,
    /// Whether only one more batch may come, and its end once it is known: as in Spark, what is available now is one batch.
    frozen: bool,
    last: Option<At>,
}

/// A position: values before it are read, and the next batch has this time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct At {
    offset: i64,
    timestamp_ms: i64,
}

impl At {
    fn parse(offset: &Offset) -> Result<Self> {
        let number = |field: &str| offset.get(field).and_then(Offset::as_i64).filter(|number| *number >= 0);
        match (number("offset"), number("timestamp")) {
            (Some(offset), Some(timestamp_ms)) => Ok(Self { offset, timestamp_ms }),
            _ => Err(Error::new(
                ErrorCode::CheckpointCorrupt,
                format!("{offset} is not an offset of the rate-micro-batch source"),
            )),
        }
    }

    fn to_offset(self) -> Offset {
        json!({ "offset": self.offset, "timestamp": self.timestamp_ms })
    }
}

impl RateMicroBatchSource {
    /// A source from the options `rowsPerBatch`, `startTimestamp` (0), `advanceMillisPerBatch` (1000; the documentation's
    /// `advanceMillisPerMicroBatch` means the same) and `numPartitions`, which has no effect.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for a missing `rowsPerBatch`, and for values that are not such numbers.
    pub fn new(options: &mut OptionReader<'_>) -> Result<Self> {
        let positive = |text: &str| text.parse::<i64>().ok().filter(|number| *number > 0);
        let natural = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        let rows = options.parsed("rowsPerBatch", "a positive whole number", positive)?.ok_or_else(|| {
            Error::new(ErrorCode::InvalidOption, "option 'rowsPerBatch' of the rate-micro-batch source is required")
        })?;
        let partitions = options.positive("numPartitions")?;
        let start = options.parsed("startTimestamp", "a number of milliseconds, 0 or more", natural)?;
        let wanted = "a number of milliseconds, 0 or more";
        let advance = options.parsed("advanceMillisPerBatch", wanted, natural)?;
        let other = options.parsed("advanceMillisPerMicroBatch", wanted, natural)?;
        if advance.is_some() && other.is_some() {
            return Err(Error::new(
                ErrorCode::InvalidOption,
                "options 'advanceMillisPerBatch' and 'advanceMillisPerMicroBatch' of the rate-micro-batch source mean the \
                 same; leave one out",
            ));
        }
        Ok(Self {
            rows_per_batch: rows,
            partitions,
            start_timestamp: start.unwrap_or(0),
            advance_ms: advance.or(other).unwrap_or(1_000),
            schema: super::rate::schema(),
            frozen: false,
            last: None,
        })
    }

    fn after(&self, at: At) -> Result<At> {
        let offset = at.offset.checked_add(self.rows_per_batch);
        let time = at.timestamp_ms.checked_add(self.advance_ms);
        match (offset, time) {
            (Some(offset), Some(timestamp_ms)) => Ok(At { offset, timestamp_ms }),
            _ => Err(Error::new(
                ErrorCode::ArithmeticOverflow,
                format!(
                    "the values or times of {} pass 64 bits; lower rowsPerBatch or startTimestamp",
                    self.description()
                ),
            )),
        }
    }
}

#[async_trait]
impl Source for RateMicroBatchSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn description(&self) -> String {
        let partitions = self.partitions.map_or("default".to_string(), |partitions| partitions.to_string());
        format!(
            "RatePerMicroBatchStream[rowsPerBatch={}, numPartitions={partitions}, startTimestamp={}, advanceMsPerBatch={}]",
            self.rows_per_batch, self.start_timestamp, self.advance_ms
        )
    }

    async fn initial(&mut self) -> Result<Offset> {
        Ok(At { offset: 0, timestamp_ms: self.start_timestamp }.to_offset())
    }

    async fn propose(&mut self, start: &Offset, _admission: Admission) -> Result<Proposal> {
        let next = match (self.frozen, self.last) {
            (true, Some(last)) => last,
            _ => self.after(At::parse(start)?)?,
        };
        self.last = self.frozen.then_some(next);
        Ok(Proposal { end: next.to_offset(), latest: next.to_offset() })
    }

    async fn freeze(&mut self) -> Result<()> {
        self.frozen = true;
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let (start, end) = (At::parse(start)?, At::parse(end)?);
        let micros = start.timestamp_ms.saturating_mul(1_000);
        Ok(Box::new(RowBlocks::new(
            start.offset..end.offset.max(start.offset),
            move |_| micros,
            self.schema.clone(),
            request,
        )))
    }
}

#[cfg(test)]
mod tests;
