//! Rows at a steady rate, for trials and load tests: `timestamp`, `value` = 0, 1, 2 ...
//!
//! Comes in: `rowsPerSecond`, `rampUpTime`, a clock. Goes out: the rows of whole seconds since the query's first start,
//! which the source's log keeps, so that a replay and a restart give the same rows. Offsets are those seconds. The first
//! batch is empty, as in Spark: there is offset 0 at once. Fails: a rate whose values pass 64 bits.

mod continuous;

use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use crate::source::{Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source, SourceLog};
use crate::types::{UTC, timestamp};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Bytes of a row in memory.
const ROW_BYTES: usize = 16;

/// The wall clock.
pub fn system_clock() -> Clock {
    Arc::new(|| chrono::Utc::now().timestamp_millis())
}

/// How fast rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    rows_per_second: i64,
    ramp_up_seconds: i64,
}

impl Rate {
    /// The first value that comes after `seconds` seconds. While the rate ramps up it grows by the same step every
    /// second, so the values are a triangular sum.
    fn value_at(self, seconds: i64) -> Option<i64> {
        let step = (self.rows_per_second / self.ramp_up_seconds.checked_add(1)?).max(1);
        let ramp = seconds.min(self.ramp_up_seconds);
        let ramped = i128::from(step) * i128::from(ramp) * (i128::from(ramp) + 1) / 2;
        let steady = i128::from(seconds - ramp) * i128::from(self.rows_per_second);
        i64::try_from(ramped + steady).ok()
    }
}

/// The rate source.
pub struct RateSource {
    rate: Rate,
    partitions: Option<u64>,
    clock: Clock,
    schema: SchemaRef,
    created_ms: Option<i64>,
    /// The newest second given out; a clock that steps back does not take it back.
    newest: i64,
    frozen: bool,
    /// Read as rows arise, and up to which millisecond.
    flowing: bool,
    newest_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Created {
    #[serde(rename = "creationTimeMs")]
    creation_time_ms: i64,
}

impl RateSource {
    /// A source from the options `rowsPerSecond` (1), `rampUpTime` (0s) and `numPartitions`, which has no effect: workers
    /// share the rows of a batch in chunks.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for values that are no positive numbers or durations.
    pub fn new(options: &mut OptionReader<'_>, clock: Clock) -> Result<Self> {
        let rows = options.parsed("rowsPerSecond", "a positive whole number", |text| {
            text.parse::<i64>().ok().filter(|rows| *rows > 0)
        })?;
        let ramp_up = options.duration_seconds("rampUpTime")?.unwrap_or(0);
        let partitions = options.positive("numPartitions")?;
        Ok(Self {
            rate: Rate { rows_per_second: rows.unwrap_or(1), ramp_up_seconds: ramp_up / 1_000_000 },
            partitions,
            clock,
            schema: schema(),
            created_ms: None,
            newest: 0,
            frozen: false,
            flowing: false,
            newest_ms: 0,
        })
    }

    fn created_ms(&self) -> Result<i64> {
        self.created_ms.ok_or_else(|| Error::internal("a rate source was used before it was opened"))
    }

    fn now(&mut self) -> Result<i64> {
        if !self.frozen {
            let elapsed = (self.clock)().saturating_sub(self.created_ms()?);
            self.newest = self.newest.max(elapsed.div_euclid(1000));
        }
        Ok(self.newest)
    }

    fn value_at(&self, seconds: i64) -> Result<i64> {
        self.rate.value_at(seconds).ok_or_else(|| {
            Error::new(
                ErrorCode::ArithmeticOverflow,
                format!("the values of {} pass 64 bits at second {seconds}; lower rowsPerSecond", self.description()),
            )
        })
    }
}

#[async_trait]
impl Source for RateSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn description(&self) -> String {
        let partitions = self.partitions.map_or("default".to_string(), |partitions| partitions.to_string());
        let Rate { rows_per_second, ramp_up_seconds } = self.rate;
        format!(
            "RateStreamV2[rowsPerSecond={rows_per_second}, rampUpTimeSeconds={ramp_up_seconds}, numPartitions={partitions}]"
        )
    }

    fn begin_continuous(&mut self, flow: Flow) -> Result<()> {
        self.flowing = flow == Flow::Continuous;
        if self.flowing { Ok(()) } else { Err(flow.refuse_source(&self.description())) }
    }

    async fn open(&mut self, log: Arc<dyn SourceLog>) -> Result<()> {
        let created_ms = match log.entries().await?.first() {
            Some((_, bytes)) => {
                let created: Created = serde_json::from_slice(bytes).map_err(|cause| {
                    Error::new(
                        ErrorCode::CheckpointCorrupt,
                        format!("entry 0 of the log of {}: {cause}", self.description()),
                    )
                })?;
                created.creation_time_ms
            }
            None => {
                let now = (self.clock)();
                let entry = serde_json::json!({ "creationTimeMs": now }).to_string();
                log.put(0, Bytes::from(entry)).await?;
                now
            }
        };
        self.created_ms = Some(created_ms);
        Ok(())
    }

    async fn initial(&mut self) -> Result<Offset> {
        // Before offset 0, so that the first batch runs and is empty.
        Ok(Offset::Null)
    }

    async fn propose(&mut self, start: &Offset, _admission: Admission) -> Result<Proposal> {
        if self.flowing {
            return self.propose_flowing(start);
        }
        let latest = self.now()?;
        let end = match parse_offset(start)? {
            None => Offset::from(0),
            Some(start) => Offset::from(latest.max(start)),
        };
        Ok(Proposal { end, latest: Offset::from(latest) })
    }

    async fn freeze(&mut self) -> Result<()> {
        self.now()?;
        self.frozen = true;
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        if self.flowing {
            let chunk_rows = (request.chunk_bytes / ROW_BYTES).max(1);
            return Ok(Box::new(self.read_flowing(start, end, chunk_rows, &request.projection)?));
        }
        let (start, end) = (parse_offset(start)?.unwrap_or(0), parse_offset(end)?.unwrap_or(0));
        let (first, after) = (self.value_at(start)?, self.value_at(end)?);
        let stretch = Stretch {
            first,
            rows: after.saturating_sub(first),
            begin_ms: self.created_ms()?.saturating_add(start.saturating_mul(1000)),
            length_ms: end.saturating_sub(start).saturating_mul(1000),
        };
        Ok(Box::new(RowBlocks::new(first..after, move |value| stretch.micros(value), self.schema.clone(), request)))
    }
}

fn parse_offset(offset: &Offset) -> Result<Option<i64>> {
    if offset.is_null() {
        return Ok(None);
    }
    if offset.get("elapsedMs").is_some() {
        return Err(Error::new(
            ErrorCode::CheckpointIncompatible,
            "the checkpoint reads the rate source continuously, by milliseconds; go on with Trigger::continuous, or start a \
             new checkpoint",
        ));
    }
    offset.as_i64().filter(|seconds| *seconds >= 0).map(Some).ok_or_else(|| {
        Error::new(ErrorCode::CheckpointCorrupt, format!("{offset} is not an offset of the rate source"))
    })
}

/// The rows of a range, spread evenly over its time.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: i64,
    rows: i64,
    begin_ms: i64,
    length_ms: i64,
}

impl Stretch {
    /// The time of a value, to the nearest millisecond as in Spark.
    fn micros(&self, value: i64) -> i64 {
        let row = value - self.first;
        let offset_ms = (row as f64 * (self.length_ms as f64 / self.rows as f64)).round() as i64;
        self.begin_ms.saturating_add(offset_ms).saturating_mul(1000)
    }
}

/// Columns of the rate sources.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("timestamp", timestamp(), true), Field::new("value", DataType::Int64, true)]))
}

/// Rows with consecutive values, whose times follow from them, in blocks of the wanted size.
pub(super) struct RowBlocks<F> {
    left: Range<i64>,
    micros: F,
    block_rows: i64,
    schema: SchemaRef,
    projection: Vec<usize>,
    stop: Arc<AtomicBool>,
}

impl<F: Fn(i64) -> i64 + Clone + Send + 'static> RowBlocks<F> {
    /// The rows of `values`; `micros` gives the time of a value.
    pub(super) fn new(values: Range<i64>, micros: F, schema: SchemaRef, request: &ReadRequest) -> Self {
        Self {
            left: values,
            micros,
            block_rows: (request.chunk_bytes / ROW_BYTES).max(1) as i64,
            schema,
            projection: request.projection.clone(),
            stop: request.stop.clone(),
        }
    }
}

impl<F: Fn(i64) -> i64 + Clone + Send + 'static> Chunks for RowBlocks<F> {
    fn next(&mut self) -> Result<Option<Chunk>> {
        if self.left.is_empty() || self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let block = self.left.start..self.left.start.saturating_add(self.block_rows).min(self.left.end);
        self.left.start = block.end;
        let (micros, schema, projection) = (self.micros.clone(), self.schema.clone(), self.projection.clone());
        let rows = move || Ok((rows(block, micros, &schema, &projection)?, Origin::Process));
        Ok(Some(Chunk::Deferred(Box::new(rows))))
    }
}

/// The rows of some values, of which `micros` gives the times.
fn rows(
    values: Range<i64>,
    micros: impl Fn(i64) -> i64,
    schema: &SchemaRef,
    projection: &[usize],
) -> Result<RecordBatch> {
    let times: TimestampMicrosecondArray = values.clone().map(|value| Some(micros(value))).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(times.with_timezone(UTC)), Arc::new(values.map(Some).collect::<Int64Array>())];
    Ok(RecordBatch::try_new(schema.clone(), columns)?.project(projection)?)
}

#[cfg(test)]
mod tests;
