//! The continuous loop: small reads that are published at once, and an epoch of offsets committed every interval.
//!
//! Comes in: a [`Runner`] whose source and sink take part. Goes out: rows in the sink within milliseconds of their arrival, each at least
//! once, and a committed epoch every interval in which any came. Fails: with the first error of any step, as in batches.
//!
//! An epoch has the record of a batch in the checkpoint, with the order turned round: its rows are published first, and its
//! offsets logged after them. So a crash loses the offsets of the epoch it met, never rows; a restart reads from the last epoch
//! on. A crash between the log's entries leaves a batch that looks logged and not run; it runs again, which is at least once too.

use super::report::{Timings, TriggerTime};
use super::{POLICY_KEY, Runner, Triggered, blocking, now_ms};
use crate::batch::executor::BatchOutput;
use crate::batch::trigger::Trigger;
use crate::checkpoint::entry::{OffsetRange, OffsetsEntry, PreparedEntry};
use crate::error::Result;
use crate::operator::OperatorClock;
use crate::sink::Prepared;
use crate::source::{Admission, Offset};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::warn;
use uuid::Uuid;

/// The first pause after a look that found nothing; further ones double it up to the polling delay.
const SHORTEST_PAUSE: Duration = Duration::from_micros(500);

/// The epoch in progress.
struct Epoch {
    number: u64,
    attempt: Uuid,
    /// After the rows published so far, by source.
    reached: Vec<Offset>,
    latest: Vec<Offset>,
    /// What its reads came to, without the rows.
    output: BatchOutput,
    output_rows: u64,
    times: Timings,
}

impl Epoch {
    /// Adds a read, and gives back its rows.
    fn add(&mut self, read: BatchOutput) -> Vec<arrow::array::RecordBatch> {
        self.output.input_rows.resize(read.input_rows.len(), 0);
        self.output.input_rows.iter_mut().zip(&read.input_rows).for_each(|(sum, rows)| *sum += rows);
        self.output.malformed += read.malformed;
        self.output.decode_ns += read.decode_ns;
        self.output.compute_ns += read.compute_ns;
        self.output.device = read.device.or(self.output.device.take());
        self.output_rows += read.rows.iter().map(|rows| rows.num_rows() as u64).sum::<u64>();
        read.rows
    }
}

impl Runner {
    /// Runs until the query is stopped or fails. An orderly stop commits the epoch in progress.
    pub(super) async fn run_continuously(mut self) -> Result<()> {
        if self.replay.is_some() {
            // A batch that was logged and not committed comes first, as it was logged.
            self.trigger_time = TriggerTime::now(None);
            if let Triggered::Stopped = self.trigger_batch().await? {
                return Ok(());
            }
        }
        let mut due = self.next_epoch_at();
        let mut epoch = self.begin_epoch(None);
        let (mut pause, mut idle_since) = (SHORTEST_PAUSE, Instant::now());
        loop {
            let stopping = self.shared.is_stopping();
            let waiting = self.shared.take_waiting();
            let moved = !stopping && self.pump(&mut epoch).await?;
            // Those who wait for everything to be processed wait for its commit as well.
            let asked = !moved && !waiting.is_empty();
            if stopping || asked || Instant::now() >= due {
                if epoch.reached != self.committed {
                    self.commit_epoch(epoch).await?;
                    idle_since = Instant::now();
                    epoch = self.begin_epoch(Some(self.trigger_time));
                }
                due = self.next_epoch_at();
            }
            if stopping {
                return Ok(());
            }
            if moved {
                self.shared.requeue(waiting);
                pause = SHORTEST_PAUSE;
                continue;
            }
            waiting.into_iter().for_each(|waiting| {
                // Nobody listens any more if it fails.
                let _ = waiting.send(());
            });
            if idle_since.elapsed() >= self.settings.idle_report {
                self.report_idle(Timings::default());
                idle_since = Instant::now();
            }
            let rest = due.saturating_duration_since(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(pause.min(rest)) => {}
                () = self.shared.wake.notified() => {}
            }
            pause = (pause * 2).min(self.settings.polling_delay.max(SHORTEST_PAUSE));
        }
    }

    fn begin_epoch(&mut self, previous: Option<TriggerTime>) -> Epoch {
        self.trigger_time = TriggerTime::now(previous);
        Epoch {
            number: self.last.as_ref().map_or(0, |last| last.batch + 1),
            attempt: Uuid::new_v4(),
            reached: self.committed.clone(),
            latest: self.committed.clone(),
            output: BatchOutput { input_rows: vec![0; self.sources.len()], ..BatchOutput::default() },
            output_rows: 0,
            times: Timings::default(),
        }
    }

    /// When the epoch in progress ends: on the trigger's grid.
    fn next_epoch_at(&self) -> Instant {
        let now = now_ms();
        let wait = match self.trigger {
            Trigger::Continuous { .. } | Trigger::RealTime { .. } => self.trigger.wait_ms(now, now),
            _ => 0,
        };
        Instant::now() + Duration::from_millis(wait.unsigned_abs())
    }

    /// Reads what there is now and publishes it; false if there was nothing.
    async fn pump(&mut self, epoch: &mut Epoch) -> Result<bool> {
        let started = Instant::now();
        let mut ends = Vec::with_capacity(epoch.reached.len());
        epoch.latest.clear();
        for (source, start) in self.sources.iter_mut().zip(&epoch.reached) {
            let proposal = source.propose(start, Admission::Limited).await?;
            ends.push(proposal.end);
            epoch.latest.push(proposal.latest);
        }
        if ends == epoch.reached {
            return Ok(false);
        }
        epoch.times.more("latestOffset", started);
        self.shared.set_status("Processing new data", true, true);
        let started = Instant::now();
        let ranges: Vec<_> = epoch.reached.iter().zip(&ends).collect();
        let readers = self.read(&ranges).await?;
        epoch.times.more("getBatch", started);
        let started = Instant::now();
        let (mut executor, stop) = (self.take_executor()?, self.shared.stop.clone());
        let clock = OperatorClock { late_ms: 0, watermark_ms: 0, timestamp_ms: now_ms() };
        let (executor, read) = blocking("a read", move || {
            let read = executor.run(readers, clock, &stop)?;
            Ok((executor, read))
        })
        .await?;
        self.executor = Some(executor);
        // Where a stop has ended the read, nothing of it is published and its offsets are not reached.
        let Some(read) = read else { return Ok(false) };
        let rows = epoch.add(read);
        if !rows.is_empty() {
            let payload = self.sink.stage(epoch.number, epoch.attempt, &rows).await?;
            self.sink.publish(&Prepared { batch: epoch.number, attempt: epoch.attempt, payload }).await?;
        }
        epoch.times.more("addBatch", started);
        epoch.reached = ends;
        Ok(true)
    }

    /// Logs and commits how far the epoch has come: everything before is published.
    async fn commit_epoch(&mut self, epoch: Epoch) -> Result<()> {
        let Epoch { number, attempt, reached, latest, output, output_rows, mut times } = epoch;
        self.shared.set_status(format!("Committing epoch {number}"), false, false);
        let step = Instant::now();
        let ranges = self.committed.iter().zip(reached);
        let entry = OffsetsEntry {
            batch: number,
            epoch: self.checkpoint.epoch(),
            run_id: self.run_id,
            ranges: ranges.map(|(start, end)| OffsetRange { start: start.clone(), end }).collect(),
            watermark_ms: self.tracker.current_ms(),
            late_watermark_ms: self.tracker.current_ms(),
            timestamp_ms: now_ms(),
            conf: BTreeMap::from([(POLICY_KEY.to_string(), self.settings.watermark_policy.clone())]),
            plan: self.fingerprint.hash(),
        };
        self.checkpoint.write_offsets(&entry).await?;
        times.add("walCommit", step);
        let step = Instant::now();
        let prepared = PreparedEntry {
            sink: Prepared { batch: number, attempt, payload: serde_json::Value::Null },
            state: Vec::new(),
            next_watermark_ms: self.tracker.current_ms(),
            node_watermarks_ms: self.tracker.nodes_ms().to_vec(),
        };
        self.checkpoint.write_prepared(&prepared).await?;
        self.checkpoint.commit(number, attempt).await?;
        for (source, range) in self.sources.iter_mut().zip(&entry.ranges) {
            source.commit(&range.end).await?;
        }
        times.add("commitOffsets", step);
        self.committed = entry.ranges.iter().map(|range| range.end.clone()).collect();
        self.report_rows(&entry, latest, &output, output_rows, times);
        self.last = Some(entry);
        if let Err(error) = self.checkpoint.collect_garbage(self.settings.batches_to_retain).await {
            // Old files cost space, not correctness; the next collection tries again.
            warn!(%error, "could not remove old checkpoint files");
        }
        Ok(())
    }
}
