//! The options of the Kafka source, for streams and for batch reads.
//!
//! Comes in: the option map. Goes out: [`SourceOptions`]. Fails: an option that is missing, unknown or wrong, by name.

use super::offsets::{self, EARLIEST, LATEST, Offsets, TopicPartition};
use super::pacing::Limits;
use super::pattern::TopicPattern;
use crate::error::Result;
use crate::kafka::{ClientSettings, Options, invalid};
use crate::options::{parse_duration, short_duration};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What is read.
#[derive(Clone)]
pub(super) enum Topics {
    /// Every partition of these topics, new ones included.
    Subscribe(Vec<Arc<str>>),
    /// Every partition of the topics whose names match, new ones included.
    Pattern(TopicPattern),
    /// These partitions.
    Assign(Vec<TopicPartition>),
}

impl Topics {
    /// Whether a partition is among them.
    pub(super) fn contain(&self, at: &TopicPartition) -> bool {
        match self {
            Self::Subscribe(topics) => topics.contains(&at.topic),
            Self::Pattern(pattern) => pattern.matches(&at.topic),
            Self::Assign(partitions) => partitions.contains(at),
        }
    }
}

/// One end of what is read: where a fresh query starts, where a batch read starts or ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    Earliest,
    Latest,
    /// For every partition, with -2 and -1 for earliest and latest.
    Offsets(Offsets),
    /// The first record at or after this time in milliseconds, in every partition.
    Timestamp(i64),
    /// The same with a time for every partition.
    Timestamps(Offsets),
}

/// Whether the source is read as a stream or once.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Reading {
    Stream,
    Batch,
}

/// The options, understood.
#[derive(Clone)]
pub(super) struct SourceOptions {
    pub(super) client: ClientSettings,
    pub(super) group_id: String,
    pub(super) topics: Topics,
    pub(super) start: Bound,
    /// Where a batch read ends.
    pub(super) end: Bound,
    /// Whether a partition without a record at or after the starting time starts at its end, rather than failing the query.
    pub(super) latest_without_match: bool,
    pub(super) limits: Limits,
    pub(super) fail_on_data_loss: bool,
    pub(super) include_headers: bool,
    /// How long a read waits without progress before it fails.
    pub(super) poll_timeout: Duration,
    /// How often offsets that seem to have gone back are looked at again before data counts as lost: a new leader may
    /// answer with an older end for a moment.
    pub(super) retries: u64,
    pub(super) retry_interval: Duration,
}

const KNOWN: &str = "subscribe, subscribePattern, assign, startingOffsets, startingTimestamp, startingOffsetsByTimestamp, \
                     startingOffsetsByTimestampStrategy, endingOffsets, endingTimestamp, endingOffsetsByTimestamp, \
                     maxOffsetsPerTrigger, minOffsetsPerTrigger, maxTriggerDelay, maxRatePerPartition, minPartitions, \
                     maxRecordsPerPartition, failOnDataLoss, includeHeaders, groupIdPrefix, kafkaConsumer.pollTimeoutMs, \
                     fetchOffset.numRetries, fetchOffset.retryIntervalMs";

/// Options that only a batch read has.
const BATCH_ONLY: [&str; 3] = ["endingOffsets", "endingTimestamp", "endingOffsetsByTimestamp"];

/// Options that only a stream has; Spark's batch reads pass over them with a warning.
const STREAM_ONLY: [&str; 4] =
    ["maxOffsetsPerTrigger", "minOffsetsPerTrigger", "maxTriggerDelay", "maxRatePerPartition"];

const DENIED: &[(&str, &str)] = &[
    ("auto.offset.reset", "use startingOffsets, and failOnDataLoss for offsets that are gone"),
    ("enable.auto.commit", "offsets are kept in the checkpoint, not in a consumer group"),
    ("enable.auto.offset.store", "offsets are kept in the checkpoint, not in a consumer group"),
    ("enable.partition.eof", "the source needs it itself"),
    ("allow.auto.create.topics", "reading never creates a topic"),
];

/// Spark's default of `maxTriggerDelay`.
const MAX_TRIGGER_DELAY_MS: i64 = 15 * 60 * 1_000;

impl SourceOptions {
    /// Reads the options.
    pub(super) fn parse(options: &BTreeMap<String, String>, reading: Reading) -> Result<Self> {
        let mut options = Options::new("Kafka source", options)?;
        let mut client = options.take_client(DENIED)?;
        for name in BATCH_ONLY {
            if reading == Reading::Stream && options.take(name).is_some() {
                return Err(invalid(format!(
                    "Kafka source: option {name} is not valid in a streaming query, which has no end; read a batch with \
                     read() for it, or stop the query with the trigger availableNow"
                )));
            }
        }
        if reading == Reading::Batch {
            for name in STREAM_ONLY {
                if options.take(name).is_some() {
                    tracing::warn!(target: "tidemill::kafka", "option {name} is ignored in a batch read");
                }
            }
        }
        let topics = topics(&mut options)?;
        let default = if reading == Reading::Stream { Bound::Latest } else { Bound::Earliest };
        let start = bound(&mut options, "starting", default)?;
        let end = bound(&mut options, "ending", Bound::Latest)?;
        if reading == Reading::Batch {
            let holds =
                |bound: &Bound, special| matches!(bound, Bound::Offsets(all) if all.values().any(|o| *o == special));
            if start == Bound::Latest || holds(&start, LATEST) {
                return Err(invalid(
                    "Kafka source: option startingOffsets cannot be latest (-1) in a batch read; nothing would be read"
                        .into(),
                ));
            }
            if end == Bound::Earliest || holds(&end, EARLIEST) {
                return Err(invalid(
                    "Kafka source: option endingOffsets cannot be earliest (-2) in a batch read; nothing would be read"
                        .into(),
                ));
            }
        }
        for name in ["minPartitions", "maxRecordsPerPartition"] {
            if options.take_number(name, 1)?.is_some() {
                tracing::info!(
                    target: "tidemill::kafka",
                    "option {name} has no effect: the records of a partition are shared by all cores as they are"
                );
            }
        }
        let prefix = options.take("groupIdPrefix").unwrap_or_else(|| "tidemill-kafka-source".into());
        let group_id = match client.take("group.id") {
            Some(group) => {
                tracing::warn!(
                    target: "tidemill::kafka",
                    "option kafka.group.id is set to {group}: sources of the same group may disturb each other where brokers \
                     grant access or quotas by group, and groupIdPrefix is ignored; offsets come from the checkpoint all the \
                     same"
                );
                group
            }
            None => format!("{prefix}-{}", Uuid::new_v4()),
        };
        let parsed = Self {
            group_id,
            topics,
            start,
            end,
            latest_without_match: without_match(&mut options)?,
            limits: limits(&mut options)?,
            fail_on_data_loss: options.take_bool("failOnDataLoss", true)?,
            include_headers: options.take_bool("includeHeaders", false)?,
            poll_timeout: Duration::from_millis(
                options.take_number("kafkaConsumer.pollTimeoutMs", 1)?.unwrap_or(120_000),
            ),
            retries: options.take_number("fetchOffset.numRetries", 0)?.unwrap_or(3),
            retry_interval: Duration::from_millis(
                options.take_number("fetchOffset.retryIntervalMs", 0)?.unwrap_or(1_000),
            ),
            client,
        };
        options.finish(KNOWN)?;
        Ok(parsed)
    }
}

/// Exactly one of `subscribe`, `subscribePattern` and `assign`.
fn topics(options: &mut Options) -> Result<Topics> {
    let given = (options.take("subscribe"), options.take("subscribePattern"), options.take("assign"));
    match given {
        (Some(list), None, None) => Ok(Topics::Subscribe(topic_list(options, &list)?)),
        (None, Some(pattern), None) => Ok(Topics::Pattern(TopicPattern::new(&pattern)?)),
        (None, None, Some(text)) => Ok(Topics::Assign(offsets::parse_assignment(&text)?)),
        (None, None, None) => Err(invalid(
            "Kafka source: one of the options subscribe (topic,...), subscribePattern and assign is required".into(),
        )),
        _ => Err(invalid("Kafka source: give only one of the options subscribe, subscribePattern and assign".into())),
    }
}

fn topic_list(options: &Options, list: &str) -> Result<Vec<Arc<str>>> {
    let mut topics: Vec<Arc<str>> = list.split(',').map(str::trim).filter(|t| !t.is_empty()).map(Arc::from).collect();
    topics.sort();
    topics.dedup();
    match topics.is_empty() {
        true => Err(options.bad("subscribe", list, "a list of topics, as a,b")),
        false => Ok(topics),
    }
}

/// The options of one end (`starting`, `ending`). As in Spark a time for all partitions goes before times for each, and those
/// before offsets.
fn bound(options: &mut Options, side: &str, default: Bound) -> Result<Bound> {
    let names = [format!("{side}Timestamp"), format!("{side}OffsetsByTimestamp"), format!("{side}Offsets")];
    let [timestamp, by_partition, offsets] = &names;
    let time = options.take_parsed(timestamp, "a number of milliseconds since 1970", |text| {
        text.parse::<i64>().ok().filter(|millis| *millis >= 0)
    })?;
    let times = options.take(by_partition);
    let text = options.take(offsets);
    if let Some(millis) = time {
        return Ok(Bound::Timestamp(millis));
    }
    if let Some(times) = times {
        return Ok(Bound::Timestamps(offsets::parse_timestamps(times.trim())?));
    }
    let Some(text) = text else { return Ok(default) };
    match text.trim().to_ascii_lowercase().as_str() {
        "earliest" => Ok(Bound::Earliest),
        "latest" => Ok(Bound::Latest),
        json if json.starts_with('{') => Ok(Bound::Offsets(offsets::parse_text(text.trim(), EARLIEST)?)),
        _ => Err(options.bad(offsets, &text, "earliest, latest, or JSON such as {\"topic\":{\"0\":23,\"1\":-2}}")),
    }
}

/// `startingOffsetsByTimestampStrategy`.
fn without_match(options: &mut Options) -> Result<bool> {
    let strategy = options.take_parsed("startingOffsetsByTimestampStrategy", "error or latest", |text| {
        match text.to_ascii_lowercase().as_str() {
            "error" => Some(false),
            "latest" => Some(true),
            _ => None,
        }
    })?;
    Ok(strategy.unwrap_or(false))
}

fn limits(options: &mut Options) -> Result<Limits> {
    let delay = options.take_parsed("maxTriggerDelay", "a duration such as 15m, 500ms or '10 minutes'", |text| {
        // A bare number is in milliseconds.
        short_duration(text, 1_000).or_else(|| parse_duration(text).ok()).filter(|micros| *micros > 0)
    })?;
    let limits = Limits {
        max_offsets: options.take_number("maxOffsetsPerTrigger", 1)?,
        min_offsets: options.take_number("minOffsetsPerTrigger", 1)?,
        max_delay_ms: delay.map_or(MAX_TRIGGER_DELAY_MS, |micros| micros / 1_000),
        max_rate: options.take_number("maxRatePerPartition", 1)?,
    };
    if let (Some(least), Some(most)) = (limits.min_offsets, limits.max_offsets)
        && least > most
    {
        return Err(invalid(format!(
            "Kafka source: option minOffsetsPerTrigger ({least}) is higher than maxOffsetsPerTrigger ({most}); no batch could \
             hold both"
        )));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests;
