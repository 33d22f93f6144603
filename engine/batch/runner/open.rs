//! Starting a query: everything is checked, opened, and brought to where the last run left it.
//!
//! Comes in: a [`Definition`], and what the checkpoint holds. Goes out: a [`Runner`] between two batches, or before a batch to run again.
//! Fails: anything that makes the query impossible to run, each as one error with its own code.

use super::report::TriggerTime;
use super::{Definition, POLICY_KEY, Runner, blocking};
use crate::batch::executor::Executor;
use crate::batch::shared::Shared;
use crate::batch::trigger::Trigger;
use crate::checkpoint::entry::{PreparedEntry, StateChain};
use crate::checkpoint::{Checkpoint, Pending};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::fingerprint::Fingerprint;
use crate::plan::lower::QueryPlan;
use crate::sink::{Settled, Writer};
use crate::source::ReadRequest;
use crate::watermark::{Policy, Tracker};
use std::sync::Arc;
use tracing::{info, warn};

impl Runner {
    /// Opens everything and finishes what the last run left: after this the query stands between two batches, or before a
    /// batch to run again. Nothing is written before the sources and the sink have been checked.
    ///
    /// # Errors
    /// Anything that makes the query impossible to run, each as one error with its own code.
    pub async fn open(definition: Definition, shared: Arc<Shared>) -> Result<Self> {
        let Definition { name, run_id, mode, trigger, plan, fingerprint, mut sink, checkpoint, .. } = definition;
        let Definition { restartable, settings, device, fail, .. } = definition;
        // What cannot run must not leave a checkpoint behind.
        let policy = Policy::parse(&settings.watermark_policy)?;
        let executor = Executor::new(&plan, mode, &device, settings.workers)?;
        let mut sources = Vec::new();
        for provider in plan.sources() {
            let mut source = provider.create()?;
            source.stops_with(&shared.stop);
            source.check().await?;
            sources.push(source);
        }
        sink.check(mode, &plan.schema).await?;
        if let Some((flow, _)) = trigger.flow() {
            sources.iter_mut().try_for_each(|source| source.begin_continuous(flow))?;
            sink.begin_continuous(flow)?;
        }
        let checkpoint = Checkpoint::open(&checkpoint, run_id, fail.clone()).await?;
        let hash = fingerprint.hash();
        let mut changed = false;
        match checkpoint.latest_plan().await? {
            Some((_, text)) => {
                let earlier: Fingerprint = serde_json::from_value(text).map_err(|e| {
                    Error::caused_by(
                        ErrorCode::CheckpointCorrupt,
                        format!("the checkpoint's plan does not parse: {e}"),
                        e,
                    )
                })?;
                fingerprint.accept(&earlier)?;
                changed = fingerprint != earlier;
                if !restartable {
                    return Err(Error::new(
                        ErrorCode::UnsupportedOperation,
                        format!(
                            "a query into a new memory table cannot go on from the checkpoint of query {}, because the table lacks \
                             the rows of the runs before; use the complete mode, the table of the run before, or a new \
                             checkpointLocation",
                            checkpoint.query_id()
                        ),
                    ));
                }
            }
            None => info!(query = %checkpoint.query_id(), "a new checkpoint"),
        }
        checkpoint.write_plan(&hash, &serde_json::to_value(&fingerprint).map_err(encoding)?).await?;
        for (index, source) in sources.iter_mut().enumerate() {
            source.open(checkpoint.source_log(index)).await?;
        }
        let writer = Writer {
            query_id: checkpoint.query_id(),
            run_id,
            epoch: checkpoint.epoch(),
            mode,
            schema: plan.schema.clone(),
        };
        sink.open(&writer).await?;
        let requests = plan
            .inputs()
            .map(|(branch, source)| {
                let projection = branch.scan.projection.clone();
                (source, ReadRequest { projection, chunk_bytes: settings.chunk_bytes, stop: shared.stop.clone() })
            })
            .collect();
        let mut runner = Self {
            tracker: Tracker::new(plan.watermark_delays_ms.clone(), policy),
            executor: Some(executor),
            name,
            run_id,
            trigger,
            fingerprint,
            settings,
            fail,
            sources,
            requests,
            sink,
            checkpoint,
            changed,
            chains: plan.stateful().map(|stage| StateChain { operator: stage.id.clone(), files: vec![] }).collect(),
            committed: Vec::new(),
            last: None,
            replay: None,
            shared,
            trigger_time: TriggerTime::now(None),
        };
        runner.recover(&plan).await?;
        Ok(runner)
    }

    async fn recover(&mut self, plan: &QueryPlan) -> Result<()> {
        let recovered = self.checkpoint.recover().await?;
        let (mut base, mut base_offsets) = match recovered.last {
            Some(committed) => (Some(committed.prepared), Some(committed.offsets)),
            None => (None, None),
        };
        // A first batch that was planned and not committed counts as well.
        let planned = base_offsets.as_ref().or(recovered.pending.as_ref().map(|pending| &pending.offsets));
        if let Some(policy) = planned.and_then(|offsets| offsets.conf.get(POLICY_KEY)) {
            // Pinned at the first start, like Spark's.
            if !policy.eq_ignore_ascii_case(&self.settings.watermark_policy) {
                warn!("{POLICY_KEY} stays {policy}, as at the query's first start");
            }
            self.tracker = Tracker::new(plan.watermark_delays_ms.clone(), Policy::parse(policy)?);
            self.settings.watermark_policy = policy.clone();
        }
        if let Some(Pending { offsets, prepared }) = recovered.pending {
            let batch = offsets.batch;
            let mut adopted = None;
            for prepared in prepared {
                if self.sink.settle(&prepared.sink).await? == Settled::Published {
                    info!(batch, attempt = %prepared.sink.attempt, "the sink has the batch; adopting it");
                    self.checkpoint.commit(batch, prepared.sink.attempt).await?;
                    adopted = Some(prepared);
                    break;
                }
            }
            match adopted {
                Some(prepared) => {
                    base = Some(prepared);
                    base_offsets = Some(offsets);
                }
                None => {
                    info!(batch, "running the logged batch again");
                    self.replay = Some(offsets);
                }
            }
        }
        self.sink.sweep(base.as_ref().map(|p| &p.sink)).await?;
        if let Some(prepared) = &base {
            self.tracker.restore(prepared.next_watermark_ms, &prepared.node_watermarks_ms);
            self.restore_state(prepared).await?;
        }
        match &base_offsets {
            Some(offsets) => self.committed = offsets.ranges.iter().map(|r| r.end.clone()).collect(),
            None => match &self.replay {
                Some(replay) => self.committed = replay.ranges.iter().map(|r| r.start.clone()).collect(),
                None => {
                    for source in &mut self.sources {
                        self.committed.push(source.initial().await?);
                    }
                }
            },
        }
        if base_offsets.is_some() {
            // The last run may have ended before it told the sources, and an adopted batch was never told of.
            for (source, end) in self.sources.iter_mut().zip(&self.committed) {
                source.commit(end).await?;
            }
        }
        self.last = base_offsets;
        if self.trigger == Trigger::AvailableNow {
            for source in &mut self.sources {
                source.freeze().await?;
            }
        }
        Ok(())
    }

    async fn restore_state(&mut self, prepared: &PreparedEntry) -> Result<()> {
        let mut executor = self.take_executor()?;
        for chain in &mut self.chains {
            let kept = prepared.state.iter().find(|kept| kept.operator == chain.operator).ok_or_else(|| {
                let (batch, attempt, id) = (prepared.sink.batch, prepared.sink.attempt, &chain.operator);
                Error::new(
                    ErrorCode::CheckpointCorrupt,
                    format!("the prepared record of batch {batch}, attempt {attempt}, names no state of {id}"),
                )
            })?;
            for file in &kept.files {
                let (bytes, path) = (self.checkpoint.read_state(file).await?, file.path.clone());
                let (id, snapshot) = (chain.operator.clone(), file.snapshot);
                executor = blocking("restoring the state", move || {
                    executor.restore(&id, &bytes, snapshot).map_err(|e| e.within(path))?;
                    Ok(executor)
                })
                .await?;
            }
            chain.files.clone_from(&kept.files);
        }
        self.executor = Some(executor);
        Ok(())
    }
}

fn encoding(error: serde_json::Error) -> Error {
    Error::caused_by(ErrorCode::Internal, format!("a record does not encode: {error}"), error)
}
