//! Tidemill inside another program: a source and a sink of one's own (`cargo run --example embed`).
//! Comes in: readings that the source makes up. Goes out: each minute's mean as it changes, on standard output. Ends with the readings.

use std::sync::Arc;
use tidemill::arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};
use tidemill::arrow::datatypes::SchemaRef;
use tidemill::prelude::*;
use tidemill::sink::{Prepared, Settled, Sink, Writer};
use tidemill::source::{
    Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source, provider::SourceProvider,
};
use tidemill::{Result, arrow::util::pretty::pretty_format_batches, async_trait, serde_json::Value, uuid::Uuid};

/// Two minutes of readings, one a second; the offset is the second. A range of offsets gives the same rows whenever it is read.
#[derive(Debug, Clone)]
struct Thermometer(i64);

impl SourceProvider for Thermometer {
    fn describe(&self) -> String {
        format!("thermometer[{}]", self.0)
    }
    fn create(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Source for Thermometer {
    fn schema(&self) -> SchemaRef {
        StructType::from_ddl("celsius DOUBLE, time TIMESTAMP").unwrap_or_default().to_arrow_schema()
    }
    fn description(&self) -> String {
        self.describe()
    }
    async fn initial(&mut self) -> Result<Offset> {
        Ok(0.into())
    }
    async fn propose(&mut self, start: &Offset, _: Admission) -> Result<Proposal> {
        let end = Offset::from((start.as_i64().unwrap_or(0) + 40).min(120));
        Ok(Proposal { latest: end.clone(), end })
    }
    async fn freeze(&mut self) -> Result<()> {
        Ok(())
    }
    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let seconds = || start.as_i64().unwrap_or(0)..end.as_i64().unwrap_or(0);
        let celsius: ArrayRef = Arc::new(Float64Array::from_iter_values(seconds().map(|s| (self.0 + s % 10) as f64)));
        let times = TimestampMicrosecondArray::from_iter_values(seconds().map(|s| s * 1_000_000)).with_timezone("UTC");
        let rows = RecordBatch::try_new(self.schema(), vec![celsius, Arc::new(times)])?;
        Ok(Box::new(Readings(Some(rows.project(&request.projection)?))))
    }
}

struct Readings(Option<RecordBatch>);
impl Chunks for Readings {
    fn next(&mut self) -> Result<Option<Chunk>> {
        Ok(self.0.take().map(|batch| Chunk::Columns { batch, origin: Origin::Process }))
    }
}

/// Prints every batch.
struct Board(Vec<RecordBatch>);
#[async_trait]
impl Sink for Board {
    fn description(&self) -> String {
        "Board".to_string()
    }
    async fn open(&mut self, _: &Writer) -> Result<()> {
        Ok(())
    }
    async fn stage(&mut self, _: u64, _: Uuid, rows: &[RecordBatch]) -> Result<Value> {
        self.0 = rows.to_vec();
        Ok(Value::Null)
    }
    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        println!("batch {}\n{}", prepared.batch, pretty_format_batches(&self.0)?);
        Ok(())
    }
    async fn settle(&mut self, _: &Prepared) -> Result<Settled> {
        Ok(Settled::Absent) // Paper cannot be asked what is on it, so the batch is printed again.
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let session = Session::builder().app_name("Oslo").build().await?;
    let readings = DataFrame::from_source(&session, Arc::new(Thermometer(-5)))?;
    let minutes = readings.with_watermark("time", "1 minute")?.group_by([window("time", "1 minute")])?;
    let means = minutes.agg([avg("celsius").alias("mean")])?.select(["window.start", "mean"])?;
    let checkpoint = std::env::temp_dir().join(format!("tidemill-embed-{}", Uuid::new_v4()));
    let writer = means
        .write_stream()
        .output_mode(Update)
        .trigger(Trigger::AvailableNow)
        .option("checkpointLocation", checkpoint.display().to_string());
    writer.sink(Box::new(Board(vec![]))).start().await?.await_termination().await?;
    std::fs::remove_dir_all(checkpoint).unwrap_or_default();
    Ok(())
}
