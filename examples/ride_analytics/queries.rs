//! The running queries as the generator and the view see them: how far they are, and what they have counted.
//!
//! Comes in: the queries' progress records. Goes out: [`Totals`] of each query, and a [`Gate`] for the generator. Fails: with a query's own
//! failure.

use crate::generator::Gate;
use crate::{Result, fail};
use std::sync::Arc;
use tidemill::frame::StreamingQuery;
use tidemill::progress::StreamingQueryProgress;
use tokio::runtime::Handle;

/// Sums over a query's batches, and its last batch.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub batches: u64,
    pub input_rows: u64,
    pub output_rows: u64,
    pub malformed: u64,
    pub late_rows: u64,
    pub busy_ms: i64,
    pub device: Option<String>,
    pub last: Option<Arc<StreamingQueryProgress>>,
}

impl Totals {
    fn add(&mut self, progress: Arc<StreamingQueryProgress>) {
        self.batches += 1;
        self.input_rows += progress.num_input_rows;
        self.output_rows += progress.sink.num_output_rows.max(0) as u64;
        self.malformed += progress.malformed_records;
        self.late_rows += progress
            .state_operators
            .iter()
            .filter_map(|o| o.custom_metrics.get("lateInputRows")?.as_u64())
            .sum::<u64>();
        self.busy_ms += progress.batch_duration;
        self.device = progress.device.clone().or(self.device.take());
        self.last = Some(progress);
    }

    /// Rows per second of the time that batches took.
    pub fn rate(&self) -> f64 {
        if self.busy_ms > 0 { self.input_rows as f64 * 1000.0 / self.busy_ms as f64 } else { 0.0 }
    }

    /// Groups in state.
    pub fn state_rows(&self) -> u64 {
        self.last.iter().flat_map(|p| &p.state_operators).map(|o| o.num_rows_total).sum()
    }
}

/// A query and its sums.
pub struct Watched {
    pub name: &'static str,
    pub query: StreamingQuery,
    pub totals: Totals,
}

impl Watched {
    /// Watches a query from its first batch.
    pub fn new(name: &'static str, query: StreamingQuery) -> Self {
        Self { name, query, totals: Totals::default() }
    }

    /// Takes in the batches since the last call. A query keeps its last 100 records, so call this more often than every 100 batches.
    pub fn update(&mut self) {
        let next = self.totals.last.as_ref().map_or(0, |last| last.batch_id + 1);
        for progress in self.query.recent_progress() {
            // A trigger that found nothing to do reports no durations.
            if progress.batch_id >= next && !progress.duration_ms.is_empty() {
                self.totals.add(progress);
            }
        }
    }
}

/// The three queries, for a thread that is not the runtime's.
pub struct QueryGate {
    pub queries: Vec<StreamingQuery>,
    pub runtime: Handle,
}

impl Gate for QueryGate {
    fn watermark_ms(&self) -> Result<i64> {
        let mut least = i64::MAX;
        for query in &self.queries {
            if let Some(error) = query.exception() {
                return Err(error.into());
            }
            if !query.is_active() {
                return fail(format!("the query {} was stopped", query.name().unwrap_or_default()));
            }
            least = least.min(query.last_progress().and_then(|p| p.watermark_ms()).unwrap_or(0));
        }
        Ok(least)
    }

    fn wait_until_read(&self) -> Result<()> {
        for query in &self.queries {
            self.runtime.block_on(query.process_all_available())?;
        }
        Ok(())
    }
}
