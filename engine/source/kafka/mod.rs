//! The Kafka source: topics in, records of a logged range of offsets out.
//!
//! Comes in: Spark's options and the brokers behind them. Goes out: offsets `{"topic":{"0":23}}` and columns `key`,
//! `value`, `topic`, `partition`, `offset`, `timestamp`, `timestampType` (and `headers`). Fails: wrong options, topics
//! that are not there and brokers that do not answer, all at `open`; later, offsets that the brokers no longer hold.
//!
//! No consumer group decides anything: partitions are assigned with explicit offsets, and the ends of ranges are last
//! stable offsets, so that a range holds committed records only and never waits for an open transaction.

mod columns;
mod control;
mod offsets;
mod options;
mod reader;

use super::{Admission, Chunks, Offset, Proposal, ReadRequest, Source, SourceLog};
use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{CONNECT_TIMEOUT, blocking, invalid};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use control::{Control, Losses};
use offsets::{EARLIEST, LATEST, Offsets, TopicPartition};
use options::{SourceOptions, Start, Topics};
use parking_lot::Mutex;
use reader::{Plan, Reader};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The one entry of the source's log: the initial offsets.
const INITIAL: u64 = 0;

/// Reads Kafka topics.
///
/// Options: `kafka.bootstrap.servers` and one of `subscribe` (`a,b`) and `assign` (`{"a":[0,1]}`); `startingOffsets`
/// (`earliest`, `latest`, or JSON with -2 and -1 for them), `maxOffsetsPerTrigger`, `failOnDataLoss`, `includeHeaders`,
/// `groupIdPrefix`, `kafkaConsumer.pollTimeoutMs`, `fetchOffset.numRetries`, `fetchOffset.retryIntervalMs`; any other
/// `kafka.` option goes to librdkafka without the prefix.
pub struct KafkaSource {
    options: SourceOptions,
    schema: SchemaRef,
    control: Option<Arc<Control>>,
    /// Remembers the initial offsets: "latest" means the first start, however often the query restarts before its first batch.
    log: Option<Arc<dyn SourceLog>>,
    /// The consumer of the last range, which has fetched ahead into the next one.
    reader: Arc<Mutex<Option<Reader>>>,
    /// Ends that `freeze` fixed.
    frozen: Option<Offsets>,
    latest: Offsets,
    consumed: Offsets,
    losses: Losses,
}

impl KafkaSource {
    /// A source of these options; keys are compared without regard to case.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] naming the option that is missing, unknown or wrong.
    pub fn new(options: &BTreeMap<String, String>) -> Result<Self> {
        let options = SourceOptions::parse(options)?;
        Ok(Self {
            schema: columns::schema(options.include_headers),
            options,
            control: None,
            log: None,
            reader: Arc::default(),
            frozen: None,
            latest: Offsets::new(),
            consumed: Offsets::new(),
            losses: Losses::default(),
        })
    }

    fn control(&self) -> Result<Arc<Control>> {
        self.control.clone().ok_or_else(|| Error::internal("the Kafka source was used before it was opened"))
    }

    /// The newest offsets, or those that `freeze` fixed.
    async fn ends(&self, start: Offsets) -> Result<Offsets> {
        let control = self.control()?;
        match &self.frozen {
            Some(frozen) => {
                control.check(&start, frozen)?;
                Ok(frozen.clone())
            }
            None => blocking(move || control.latest(&start)).await,
        }
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn description(&self) -> String {
        match &self.options.topics {
            Topics::Subscribe(topics) => format!("KafkaV2[Subscribe[{}]]", topics.join(", ")),
            Topics::Assign(partitions) => {
                let shown: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                format!("KafkaV2[Assign[{}]]", shown.join(", "))
            }
        }
    }

    async fn check(&mut self) -> Result<()> {
        let (options, losses) = (self.options.clone(), self.losses.clone());
        let control = blocking(move || {
            let control = Control::connect(options, losses)?;
            control.partitions(CONNECT_TIMEOUT)?;
            Ok(control)
        })
        .await?;
        self.control = Some(Arc::new(control));
        Ok(())
    }

    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, log: Arc<dyn SourceLog>) -> Result<()> {
        self.log = Some(log);
        Ok(())
    }

    async fn initial(&mut self) -> Result<Offset> {
        let log = self.log.clone().ok_or_else(|| Error::internal("the Kafka source was used before it was opened"))?;
        if let Some((_, logged)) = log.entries().await?.first() {
            let offsets = serde_json::from_slice(logged).map_err(|e| {
                Error::caused_by(
                    ErrorCode::CheckpointCorrupt,
                    format!("the initial Kafka offsets do not parse: {e}"),
                    e,
                )
            })?;
            return Ok(offsets::to_json(&offsets::parse(&offsets, 0)?));
        }
        let (control, start) = (self.control()?, self.options.start.clone());
        let offsets = blocking(move || match start {
            Start::Earliest => control.query_all(EARLIEST),
            Start::Latest => control.query_all(LATEST),
            Start::Offsets(wanted) => resolve(&control, wanted),
        })
        .await?;
        let offsets = offsets::to_json(&offsets);
        log.put(INITIAL, Bytes::from(offsets.to_string())).await?;
        Ok(offsets)
    }

    async fn propose(&mut self, start: &Offset, admission: Admission) -> Result<Proposal> {
        let start = offsets::parse(start, 0)?;
        let latest = self.ends(start.clone()).await?;
        let end = match (admission, self.options.max_offsets_per_trigger) {
            (Admission::Limited, Some(limit)) => offsets::rate_limit(limit, &start, &latest),
            _ => latest.clone(),
        };
        let proposal = Proposal { end: offsets::to_json(&end), latest: offsets::to_json(&latest) };
        self.latest = latest;
        Ok(proposal)
    }

    async fn freeze(&mut self) -> Result<()> {
        let control = self.control()?;
        self.frozen = Some(blocking(move || control.query_all(LATEST)).await?);
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let (start, end) = (offsets::parse(start, 0)?, offsets::parse(end, 0)?);
        let control = self.control()?;
        let plan = Plan {
            schema: self.schema.clone(),
            projection: request.projection.clone().into(),
            chunk_bytes: request.chunk_bytes.max(1),
            control,
            home: self.reader.clone(),
        };
        self.consumed.clone_from(&end);
        let chunks = blocking(move || {
            let ranges = plan.control.available(&start, &end)?;
            reader::start(plan, ranges)
        })
        .await?;
        Ok(Box::new(chunks))
    }

    /// Spark's lag metrics as texts, and the rows that were lost while `failOnDataLoss` was false.
    fn metrics(&self) -> Map<String, Value> {
        let lags: Vec<i64> =
            self.latest.iter().map(|(at, end)| (end - offsets::begin(&self.consumed, at)).max(0)).collect();
        let mut metrics = Map::new();
        if let (Some(least), Some(most)) = (lags.iter().min(), lags.iter().max()) {
            let mean = lags.iter().sum::<i64>() as f64 / lags.len() as f64;
            metrics.insert("avgOffsetsBehindLatest".into(), format!("{mean:?}").into());
            metrics.insert("maxOffsetsBehindLatest".into(), most.to_string().into());
            metrics.insert("minOffsetsBehindLatest".into(), least.to_string().into());
        }
        let lost = self.losses.count();
        if lost > 0 {
            metrics.insert("numRowsLost".into(), lost.to_string().into());
        }
        metrics
    }
}

/// Replaces "oldest" and "newest" in `startingOffsets` by numbers; every partition must be named, and no other.
fn resolve(control: &Control, wanted: Offsets) -> Result<Offsets> {
    let partitions = control.partitions(CONNECT_TIMEOUT)?;
    let list = |items: Vec<&TopicPartition>| items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let missing: Vec<&TopicPartition> = partitions.iter().filter(|at| !wanted.contains_key(at)).collect();
    let foreign: Vec<&TopicPartition> = wanted.keys().filter(|at| partitions.binary_search(at).is_err()).collect();
    for (items, problem) in [(missing, "does not name"), (foreign, "names what is not read:")] {
        if !items.is_empty() {
            return Err(invalid(format!(
                "Kafka source: option startingOffsets {problem} {}; name every partition, with -1 for latest and -2 \
                 for earliest",
                list(items)
            )));
        }
    }
    let special = |value| -> Vec<TopicPartition> {
        wanted.iter().filter(|(_, offset)| **offset == value).map(|(at, _)| at.clone()).collect()
    };
    let mut resolved = control.query(&special(EARLIEST), EARLIEST)?;
    resolved.extend(control.query(&special(LATEST), LATEST)?);
    for (at, offset) in wanted {
        resolved.entry(at).or_insert(offset);
    }
    Ok(resolved)
}

/// The pause between two looks at offsets that seem to have gone back.
fn pause(interval: Duration) {
    std::thread::sleep(interval);
}
