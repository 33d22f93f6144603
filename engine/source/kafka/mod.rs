//! The Kafka source: topics in, records of a logged range of offsets out.
//!
//! Comes in: Spark's options and the brokers behind them. Goes out: offsets `{"topic":{"0":23}}` and columns `key`,
//! `value`, `topic`, `partition`, `offset`, `timestamp`, `timestampType` (and `headers`). Fails: wrong options, topics
//! that are not there and brokers that do not answer, all at `open`; later, offsets that the brokers no longer hold.
//!
//! A batch read is the same source with two ends: `initial` gives the start, `propose` the end, once and for all.
//!
//! No consumer group decides anything: partitions are assigned with explicit offsets, and the ends of ranges are last
//! stable offsets, so that a range holds committed records only and never waits for an open transaction.

mod columns;
mod control;
mod offsets;
mod options;
mod pacing;
mod pattern;
mod reader;

use super::{Admission, Chunks, Offset, Proposal, ReadRequest, Source, SourceLog};
use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, blocking, detached};
use crate::source::Chunk;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use control::{Control, Losses};
use offsets::{EARLIEST, LATEST, Offsets, TopicPartition};
use options::{Reading, SourceOptions, Topics};
use pacing::Pacing;
use parking_lot::Mutex;
use reader::{Plan, Reader};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The one entry of the source's log: the initial offsets.
const INITIAL: u64 = 0;

/// How often waiting for the brokers looks whether the query was told to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// Reads Kafka topics.
///
/// Options: `kafka.bootstrap.servers`, and one of `subscribe` (`a,b`), `subscribePattern` (a Java regular expression over topic
/// names; new topics are found while the query runs) and `assign` (`{"a":[0,1]}`).
///
/// Where a fresh query starts: `startingTimestamp` (milliseconds), `startingOffsetsByTimestamp` (`{"a":{"0":1700000000000}}`) with
/// `startingOffsetsByTimestampStrategy` (`error` or `latest`), `startingOffsets` (`earliest`, `latest`, or JSON with -2 and -1 for
/// them), in this order of preference; `latest` unless given. New partitions start at their beginning.
///
/// How much a batch takes: `maxOffsetsPerTrigger`, over all partitions; `minOffsetsPerTrigger`, for which a batch waits, at most
/// `maxTriggerDelay` (15m); `maxRatePerPartition`, offsets for each partition and each second since the last batch, a second's
/// worth at least. The trigger `once` ignores all three, `availableNow` never waits.
///
/// A batch read ([`KafkaSource::bounded`]) starts at `earliest` unless told otherwise, and ends at `endingTimestamp`,
/// `endingOffsetsByTimestamp` or `endingOffsets`, at `latest` unless given.
///
/// Also `failOnDataLoss`, `includeHeaders`, `groupIdPrefix`, `kafkaConsumer.pollTimeoutMs`, `fetchOffset.numRetries`,
/// `fetchOffset.retryIntervalMs`; `minPartitions` and `maxRecordsPerPartition` are accepted and have no effect. Any other `kafka.`
/// option goes to librdkafka without the prefix; Java's names for TLS, SASL and buffers are understood.
pub struct KafkaSource {
    options: SourceOptions,
    reading: Reading,
    schema: SchemaRef,
    control: Option<Arc<Control>>,
    /// Remembers the initial offsets: "latest" means the first start, however often the query restarts before its first batch.
    log: Option<Arc<dyn SourceLog>>,
    /// The consumer of the last range, which has fetched ahead into the next one.
    reader: Arc<Mutex<Option<Reader>>>,
    /// Ends that `freeze` fixed, or the end of a batch read.
    frozen: Option<Offsets>,
    pacing: Pacing,
    created: Instant,
    latest: Offsets,
    consumed: Offsets,
    losses: Losses,
    /// The flag that ends the query.
    stop: Option<Arc<AtomicBool>>,
}

impl KafkaSource {
    /// A source of these options; keys are compared without regard to case.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] naming the option that is missing, unknown or wrong.
    pub fn new(options: &BTreeMap<String, String>) -> Result<Self> {
        Self::of(options, Reading::Stream)
    }

    /// A source for one read with two ends: `initial` gives the first, and every `propose` the second.
    ///
    /// # Errors
    /// As [`KafkaSource::new`]; options of streams are passed over with a warning, as in Spark.
    pub fn bounded(options: &BTreeMap<String, String>) -> Result<Self> {
        Self::of(options, Reading::Batch)
    }

    fn of(options: &BTreeMap<String, String>, reading: Reading) -> Result<Self> {
        let options = SourceOptions::parse(options, reading)?;
        Ok(Self {
            schema: columns::schema(options.include_headers),
            pacing: Pacing::new(options.limits.clone()),
            options,
            reading,
            control: None,
            log: None,
            reader: Arc::default(),
            frozen: None,
            created: Instant::now(),
            latest: Offsets::new(),
            consumed: Offsets::new(),
            losses: Losses::default(),
            stop: None,
        })
    }

    fn control(&self) -> Result<Arc<Control>> {
        self.control.clone().ok_or_else(|| Error::internal("the Kafka source was used before it was opened"))
    }

    /// The newest offsets, or those that are fixed; None when the query was stopped meanwhile.
    async fn ends(&self, start: Offsets) -> Result<Option<Offsets>> {
        let control = self.control()?;
        match &self.frozen {
            Some(frozen) => {
                control.check(&start, frozen)?;
                Ok(Some(frozen.clone()))
            }
            None => until_stopped(self.stop.as_ref(), detached(move || control.latest(&start))).await,
        }
    }

    /// `start` with the first offsets of the partitions that it does not know.
    async fn with_new_partitions(&self, start: &Offsets, latest: &Offsets) -> Result<Offsets> {
        let new: Vec<TopicPartition> = latest.keys().filter(|at| !start.contains_key(at)).cloned().collect();
        let mut start = start.clone();
        if !new.is_empty() {
            let control = self.control()?;
            start.extend(detached(move || control.query(&new, EARLIEST)).await?);
        }
        Ok(start)
    }

    /// The end of a batch read: as its options say, and never before the start.
    async fn bounded_end(&mut self, start: &Offsets) -> Result<Offsets> {
        let (control, end) = (self.control()?, self.options.end.clone());
        let mut end = blocking(move || control.resolve(&end, "ending")).await?;
        if let Some(at) =
            start.keys().find(|at| !end.contains_key(at)).or(end.keys().find(|at| !start.contains_key(at)))
        {
            return Err(Error::new(
                ErrorCode::Kafka,
                format!("partition {at} came or went while the ends of the batch were looked up; read again"),
            ));
        }
        for (at, end) in &mut end {
            *end = (*end).max(offsets::begin(start, at));
        }
        self.frozen = Some(end.clone());
        Ok(end)
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
            Topics::Pattern(pattern) => format!("KafkaV2[SubscribePattern[{}]]", pattern.text()),
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

    fn stops_with(&mut self, stop: &Arc<AtomicBool>) {
        self.stop = Some(stop.clone());
    }

    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, log: Arc<dyn SourceLog>) -> Result<()> {
        self.log = Some(log);
        Ok(())
    }

    async fn initial(&mut self) -> Result<Offset> {
        // A batch read has no checkpoint, and is not restarted.
        let log = match (&self.log, self.reading) {
            (Some(log), _) => Some(log.clone()),
            (None, Reading::Batch) => None,
            (None, Reading::Stream) => {
                return Err(Error::internal("the Kafka source was used before it was opened"));
            }
        };
        if let Some(log) = &log
            && let Some((_, logged)) = log.entries().await?.first()
        {
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
        let offsets = offsets::to_json(&blocking(move || control.resolve(&start, "starting")).await?);
        if let Some(log) = log {
            log.put(INITIAL, Bytes::from(offsets.to_string())).await?;
        }
        Ok(offsets)
    }

    async fn propose(&mut self, start: &Offset, admission: Admission) -> Result<Proposal> {
        let known = offsets::parse(start, 0)?;
        if self.reading == Reading::Batch {
            let end = match &self.frozen {
                Some(end) => end.clone(),
                None => self.bounded_end(&known).await?,
            };
            self.latest.clone_from(&end);
            return Ok(Proposal { end: offsets::to_json(&end), latest: offsets::to_json(&end) });
        }
        let Some(latest) = self.ends(known.clone()).await? else {
            return Ok(Proposal { end: start.clone(), latest: start.clone() });
        };
        let end = if admission == Admission::Limited && self.options.limits.any() {
            let begin = self.with_new_partitions(&known, &latest).await?;
            let now_ms = i64::try_from(self.created.elapsed().as_millis()).unwrap_or(i64::MAX);
            let end = self.pacing.admit(now_ms, &begin, &latest, self.frozen.is_some());
            // A batch that waits is none, although there may be new partitions.
            if end == begin && latest != end { known } else { end }
        } else {
            latest.clone()
        };
        let proposal = Proposal { end: offsets::to_json(&end), latest: offsets::to_json(&latest) };
        self.latest = latest;
        Ok(proposal)
    }

    async fn freeze(&mut self) -> Result<()> {
        if self.reading == Reading::Stream {
            let control = self.control()?;
            self.frozen = Some(blocking(move || control.query(&control.partitions(REQUEST_TIMEOUT)?, LATEST)).await?);
        }
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
            stop: request.stop.clone(),
        };
        self.consumed.clone_from(&end);
        let opening = detached(move || {
            let ranges = plan.control.available(&start, &end)?;
            reader::start(plan, ranges)
        });
        Ok(match until_stopped(Some(&request.stop), opening).await? {
            Some(chunks) => Box::new(chunks),
            None => Box::new(Stopped),
        })
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

/// Waits for `work`, or for the flag that ends the query: then None, and what the work is about is given up. A client call that
/// waits for brokers ends by itself later, on its own thread.
async fn until_stopped<T>(stop: Option<&Arc<AtomicBool>>, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let stopped = async {
        let Some(stop) = stop else { return std::future::pending().await };
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(STOP_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        done = work => done.map(Some),
        () = stopped => Ok(None),
    }
}

/// The chunks of a batch that was given up.
struct Stopped;

impl Chunks for Stopped {
    fn next(&mut self) -> Result<Option<Chunk>> {
        Ok(None)
    }
}

/// The pause between two looks at offsets that seem to have gone back.
fn pause(interval: Duration) {
    std::thread::sleep(interval);
}
