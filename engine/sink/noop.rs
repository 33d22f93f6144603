//! The sink that drops everything, for measuring a query without one.
//!
//! Comes in: rows, in any output mode. Goes out: nothing. Fails: the real-time trigger, which Spark gives this sink no part in.

use crate::batch::continuous::Flow;
use crate::error::Result;
use crate::sink::{Prepared, Settled, Sink, Writer};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use uuid::Uuid;

/// Spark's `noop`.
pub struct NoopSink;

#[async_trait]
impl Sink for NoopSink {
    fn description(&self) -> String {
        "NoopTable".to_string()
    }

    fn begin_continuous(&mut self, flow: Flow) -> Result<()> {
        match flow {
            Flow::Continuous => Ok(()),
            Flow::RealTime => Err(flow.refuse_sink(&self.description())),
        }
    }

    async fn open(&mut self, _writer: &Writer) -> Result<()> {
        Ok(())
    }

    async fn stage(&mut self, _batch: u64, _attempt: Uuid, _rows: &[RecordBatch]) -> Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }

    async fn publish(&mut self, _prepared: &Prepared) -> Result<()> {
        Ok(())
    }

    async fn settle(&mut self, _prepared: &Prepared) -> Result<Settled> {
        // Nothing of it is to be seen, now or ever.
        Ok(Settled::Published)
    }
}
