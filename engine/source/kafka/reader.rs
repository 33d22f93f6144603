//! Reads ranges of partitions: one consumer, one queue for each partition, filled ahead by librdkafka's own threads.
//!
//! Comes in: ranges of offsets that the brokers hold. Goes out: chunks, taken from the partitions in turn, the same ones
//! whenever the range is read. Fails: a broker that stays silent, a damaged record, and offsets that vanish meanwhile.
//!
//! Offsets have holes (transaction markers, aborted records, compaction), so a partition is finished when a record at or
//! past its end arrives, when the client's position has passed it, or when a consumer that was made *after* the range
//! was planned reports the end of the partition. An older report may be stale and is not believed.

use super::columns::ChunkBuilder;
use super::control::{self, Control, Loss};
use super::offsets::TopicPartition;
use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{self, ClientLog, LogConsumer};
use crate::source::{Chunk, Chunks};
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long one poll waits before the consumer's events and position are looked at.
const POLL: Duration = Duration::from_millis(100);

/// Silence after which a consumer from an earlier range is replaced, so that its report of the end can be believed.
const STALE_AFTER: Duration = Duration::from_millis(400);

/// Memory for records fetched ahead, over all partitions.
const PREFETCH_KIB: usize = 256 * 1024;

/// What a range is read for.
pub(super) struct Plan {
    pub(super) schema: SchemaRef,
    pub(super) projection: Arc<[usize]>,
    pub(super) chunk_bytes: usize,
    pub(super) control: Arc<Control>,
    /// Where the consumer waits for the next range.
    pub(super) home: Arc<Mutex<Option<Reader>>>,
    /// Ends the read early.
    pub(super) stop: Arc<AtomicBool>,
}

impl Plan {
    /// The offsets that a partition holds; None when the query was stopped before the brokers answered.
    fn bounds(&self, at: &TopicPartition) -> Result<Option<(i64, i64)>> {
        let (answer, wait) = crossbeam_channel::bounded(1);
        let (control, at) = (self.control.clone(), at.clone());
        // On its own thread, because the client's call cannot be interrupted.
        std::thread::Builder::new()
            .name("kafka-offsets".into())
            .spawn(move || {
                // Nobody waits any more when the query was stopped.
                let _ = answer.send(control.bounds(&at));
            })
            .map_err(|error| Error::caused_by(ErrorCode::Io, format!("cannot start a thread: {error}"), error))?;
        loop {
            match wait.recv_timeout(POLL) {
                Ok(bounds) => return bounds.map(Some),
                Err(crossbeam_channel::RecvTimeoutError::Timeout) if self.stopping() => return Ok(None),
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                    return Err(Error::internal("a look at a partition's offsets did not finish"));
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A consumer and the place it has reached in each of its partitions.
pub(super) struct Reader {
    lanes: BTreeMap<TopicPartition, Lane>,
    consumer: Arc<LogConsumer>,
}

struct Lane {
    queue: PartitionQueue<ClientLog>,
    /// Everything below has been handed out.
    next: i64,
    /// A record past the end of the last range, taken from the queue to find that end.
    stash: Option<OwnedMessage>,
}

impl Reader {
    /// A consumer that starts at `next` in each partition.
    fn new(control: &Control, next: &BTreeMap<TopicPartition, i64>) -> Result<Self> {
        let log = control.options.client.log();
        let prefetch = (PREFETCH_KIB / next.len().max(1)).clamp(1_024, 65_536).to_string();
        let tuning = [
            ("fetch.message.max.bytes", "8388608"),
            ("fetch.max.bytes", "67108864"),
            ("receive.message.max.bytes", "536870912"),
            ("fetch.wait.max.ms", "100"),
            ("queued.min.messages", "1000000"),
            ("queued.max.messages.kbytes", prefetch.as_str()),
            // The default of a second is what a full queue would cost every time.
            ("fetch.queue.backoff.ms", "10"),
        ];
        let consumer = Arc::new(control::consumer(&control.options, &log, &tuning)?);
        let fail = |error: KafkaError| log.error("cannot assign partitions", &error);
        let mut list = TopicPartitionList::with_capacity(next.len());
        let mut lanes = BTreeMap::new();
        for (at, next) in next {
            // Queues are split off before the assignment, so that no record can reach the common queue first.
            let queue = consumer
                .split_partition_queue(&at.topic, at.partition)
                .ok_or_else(|| Error::internal(format!("the Kafka client gave no queue for partition {at}")))?;
            list.add_partition_offset(&at.topic, at.partition, ClientOffset::Offset(*next)).map_err(fail)?;
            lanes.insert(at.clone(), Lane { queue, next: *next, stash: None });
        }
        consumer.assign(&list).map_err(fail)?;
        Ok(Self { lanes, consumer })
    }

    /// The client's position in a partition: past everything taken from its queue, control records included.
    fn position(&self, at: &TopicPartition) -> Result<Option<i64>> {
        let fail = |error: KafkaError| self.consumer.context().error("cannot read the position", &error);
        let list = self.consumer.position().map_err(fail)?;
        Ok(list.find_partition(&at.topic, at.partition).and_then(|element| match element.offset() {
            ClientOffset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }
}

/// Takes up the consumer of the last range where it fits, or makes one.
pub(super) fn start(plan: Plan, ranges: Vec<(TopicPartition, i64, i64)>) -> Result<KafkaChunks> {
    let kept = plan.home.lock().take();
    let fits = |reader: &Reader| {
        ranges.iter().all(|(at, begin, _)| reader.lanes.get(at).is_some_and(|lane| lane.next == *begin))
    };
    let (reader, fresh) = match kept {
        Some(reader) if fits(&reader) => (reader, false),
        _ => {
            let next = ranges.iter().map(|(at, begin, _)| (at.clone(), *begin)).collect();
            (Reader::new(&plan.control, &next)?, true)
        }
    };
    let ranges = ranges.into_iter().map(|(at, next, end)| Range { at, next, end }).collect();
    Ok(KafkaChunks { plan, reader: Some(reader), fresh, ranges, turn: 0, failure: None })
}

/// What is left of a partition's range.
struct Range {
    at: TopicPartition,
    next: i64,
    end: i64,
}

/// The chunks of a range.
pub(super) struct KafkaChunks {
    plan: Plan,
    reader: Option<Reader>,
    /// Whether the consumer was made after the range was planned.
    fresh: bool,
    ranges: Vec<Range>,
    turn: usize,
    /// An error of the connections that no retry can heal.
    failure: Option<KafkaError>,
}

impl Chunks for KafkaChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        while !self.ranges.is_empty() {
            if self.plan.stopping() {
                // The batch is given up; what the consumer has fetched ahead is of no more use.
                self.ranges.clear();
                self.reader = None;
                break;
            }
            self.serve();
            let index = self.turn % self.ranges.len();
            let (builder, finished) = self.fill(index)?;
            let Some(range) = self.ranges.get(index) else { break };
            let (topic, partition) = (range.at.topic.clone(), range.at.partition);
            self.turn = index + 1;
            if finished {
                self.ranges.remove(index);
                self.turn = index;
            }
            if let Some(chunk) = builder.finish(&topic, partition)? {
                return Ok(Some(chunk));
            }
        }
        if let Some(reader) = self.reader.take() {
            *self.plan.home.lock() = Some(reader);
        }
        Ok(None)
    }
}

/// Why a poll loop stopped.
enum Event {
    Full,
    Finished,
    Quiet,
    EndReported,
    Failed(KafkaError),
}

/// What a poll loop has seen of its partition.
struct Watch {
    /// The last record, or the start.
    progress: Instant,
    /// Whether the client reported the end of the partition since then.
    end_reported: bool,
}

impl KafkaChunks {
    /// A chunk of one partition, and whether its range is finished.
    fn fill(&mut self, index: usize) -> Result<(ChunkBuilder, bool)> {
        let mut builder = ChunkBuilder::new(&self.plan.schema, &self.plan.projection, self.plan.chunk_bytes);
        let mut watch = Watch { progress: Instant::now(), end_reported: false };
        loop {
            if self.plan.stopping() {
                return Ok((builder, false));
            }
            match self.step(index, &mut builder, &mut watch)? {
                Event::Full => return Ok((builder, false)),
                Event::Finished => return Ok((builder, true)),
                // Records already in the builder are good: hand them out, and meet the failure again.
                Event::Failed(_) if !builder.is_empty() => {
                    self.restart()?;
                    return Ok((builder, false));
                }
                Event::Failed(error) => self.recover(index, &error, &watch)?,
                Event::EndReported => watch.end_reported = true,
                Event::Quiet => {}
            }
            if self.passed(index)? || self.ended(index, &mut watch)? {
                return Ok((builder, true));
            }
        }
    }

    /// Polls one partition until its chunk is full, its range is finished, or something else happens.
    fn step(&mut self, index: usize, builder: &mut ChunkBuilder, watch: &mut Watch) -> Result<Event> {
        let Some(range) = self.ranges.get_mut(index) else { return Ok(Event::Finished) };
        let lane = lane(&mut self.reader, &range.at)?;
        if let Some(record) = lane.stash.take() {
            if record.offset() >= range.end {
                lane.stash = Some(record);
                lane.next = range.end;
                return Ok(Event::Finished);
            }
            builder.append(&record)?;
            range.next = record.offset() + 1;
        }
        let before = range.next;
        let event = loop {
            if range.next >= range.end {
                break Event::Finished;
            }
            if builder.bytes() >= self.plan.chunk_bytes {
                break Event::Full;
            }
            match lane.queue.poll(POLL) {
                Some(Ok(record)) if record.offset() >= range.end => {
                    lane.stash = Some(record.detach());
                    range.next = range.end;
                }
                Some(Ok(record)) => {
                    builder.append(&record)?;
                    range.next = record.offset() + 1;
                }
                None => break Event::Quiet,
                Some(Err(KafkaError::PartitionEOF(_))) => break Event::EndReported,
                Some(Err(error)) => break Event::Failed(error),
            }
        };
        lane.next = range.next;
        if range.next > before {
            *watch = Watch { progress: Instant::now(), end_reported: false };
        }
        Ok(event)
    }

    /// Whether the client's position is past the end of the range: the rest of it was control records.
    fn passed(&mut self, index: usize) -> Result<bool> {
        let (Some(range), Some(reader)) = (self.ranges.get(index), self.reader.as_ref()) else { return Ok(true) };
        if reader.position(&range.at)?.is_none_or(|position| position < range.end) {
            return Ok(false);
        }
        self.finish(index)
    }

    /// Whether nothing more can come: a consumer made after the range was planned reported the end of the partition,
    /// stayed silent since, and the brokers still hold the whole range. Otherwise silence has its limits.
    fn ended(&mut self, index: usize, watch: &mut Watch) -> Result<bool> {
        let Some(range) = self.ranges.get(index) else { return Ok(true) };
        let silence = watch.progress.elapsed();
        if silence < STALE_AFTER {
            return Ok(false);
        }
        if !self.fresh {
            self.restart()?;
            return Ok(false);
        }
        if watch.end_reported {
            let Some((_, last)) = self.plan.bounds(&range.at)? else { return Ok(false) };
            if last < range.end {
                self.plan.control.lost(&range.at, last.max(range.next), range.end, Loss::Truncated { last })?;
            }
            return self.finish(index);
        }
        self.serve();
        self.limit(index, watch)?;
        Ok(false)
    }

    /// Serves the events of the consumer itself: they do not come through the partitions' queues.
    fn serve(&mut self) {
        if let Some(failure) = self.reader.as_ref().and_then(|reader| kafka::serve_events(&reader.consumer)) {
            self.failure = Some(failure);
        }
    }

    /// Marks a range as read to its end.
    fn finish(&mut self, index: usize) -> Result<bool> {
        if let Some(range) = self.ranges.get_mut(index) {
            range.next = range.end;
            lane(&mut self.reader, &range.at)?.next = range.end;
        }
        Ok(true)
    }

    /// Fails when a partition has been silent for too long, or at once for a failure that no retry can heal.
    fn limit(&self, index: usize, watch: &Watch) -> Result<()> {
        let Some(range) = self.ranges.get(index) else { return Ok(()) };
        let options = &self.plan.control.options;
        if self.failure.is_none() && watch.progress.elapsed() < options.poll_timeout {
            return Ok(());
        }
        let what = format!(
            "topic {}, partition {}: no record between offset {} and the end of the batch at {} within {} ms \
             (kafkaConsumer.pollTimeoutMs)",
            range.at.topic,
            range.at.partition,
            range.next,
            range.end,
            watch.progress.elapsed().as_millis(),
        );
        let timed_out = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        let error = self.failure.as_ref().unwrap_or(&timed_out);
        Err(match &self.reader {
            Some(reader) => reader.consumer.context().error(what, error),
            None => Error::new(ErrorCode::Kafka, what),
        })
    }

    /// Deals with an error of the partition's queue.
    fn recover(&mut self, index: usize, error: &KafkaError, watch: &Watch) -> Result<()> {
        let Some(range) = self.ranges.get_mut(index) else { return Ok(()) };
        let control = &self.plan.control;
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation,
            ) => {
                let Some((first, last)) = self.plan.bounds(&range.at)? else { return Ok(()) };
                if first > range.next {
                    let skipped_to = first.min(range.end);
                    control.lost(&range.at, range.next, skipped_to, Loss::Expired { first })?;
                    range.next = skipped_to;
                } else if last < range.end {
                    control.lost(&range.at, last.max(range.next), range.end, Loss::Truncated { last })?;
                    range.end = last.max(range.next);
                }
                lane(&mut self.reader, &range.at)?.next = range.next;
                self.limit(index, watch)?;
                self.restart()
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => {
                control.lost(&range.at, range.next, range.end, Loss::Deleted)?;
                range.end = range.next;
                Ok(())
            }
            Some(
                RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::Authentication,
            ) => {
                let place = format!(
                    "cannot read topic {}, partition {}, at offset {}",
                    range.at.topic, range.at.partition, range.next
                );
                Err(control.options.client.log().error(place, error))
            }
            _ => self.limit(index, watch),
        }
    }

    /// Replaces the consumer by one that starts where each partition stands.
    fn restart(&mut self) -> Result<()> {
        let Some(old) = self.reader.take() else { return Ok(()) };
        let next = old.lanes.iter().map(|(at, lane)| (at.clone(), lane.next)).collect();
        drop(old);
        self.reader = Some(Reader::new(&self.plan.control, &next)?);
        self.fresh = true;
        Ok(())
    }
}

fn lane<'a>(reader: &'a mut Option<Reader>, at: &TopicPartition) -> Result<&'a mut Lane> {
    let lane = reader.as_mut().and_then(|reader| reader.lanes.get_mut(at));
    lane.ok_or_else(|| Error::internal(format!("no Kafka consumer for partition {at}")))
}
