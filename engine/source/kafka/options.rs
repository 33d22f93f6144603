//! The options of the Kafka source.
//!
//! Comes in: the option map. Goes out: [`SourceOptions`]. Fails: an option that is missing, unknown or wrong, by name.

use super::offsets::{self, EARLIEST, Offsets, TopicPartition};
use crate::error::Result;
use crate::kafka::{ClientSettings, Options, invalid};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What is read.
#[derive(Clone)]
pub(super) enum Topics {
    /// Every partition of these topics, new ones included.
    Subscribe(Vec<Arc<str>>),
    /// These partitions.
    Assign(Vec<TopicPartition>),
}

/// Where a fresh query starts.
#[derive(Clone)]
pub(super) enum Start {
    Earliest,
    Latest,
    Offsets(Offsets),
}

/// The options, understood.
#[derive(Clone)]
pub(super) struct SourceOptions {
    pub(super) client: ClientSettings,
    pub(super) group_id: String,
    pub(super) topics: Topics,
    pub(super) start: Start,
    pub(super) max_offsets_per_trigger: Option<u64>,
    pub(super) fail_on_data_loss: bool,
    pub(super) include_headers: bool,
    /// How long a read waits without progress before it fails.
    pub(super) poll_timeout: Duration,
    /// How often offsets that seem to have gone back are looked at again before data counts as lost: a new leader may
    /// answer with an older end for a moment.
    pub(super) retries: u64,
    pub(super) retry_interval: Duration,
}

const KNOWN: &str = "subscribe, assign, startingOffsets, maxOffsetsPerTrigger, failOnDataLoss, includeHeaders, \
                     groupIdPrefix, kafkaConsumer.pollTimeoutMs, fetchOffset.numRetries, fetchOffset.retryIntervalMs";

const LATER: &[&str] = &[
    "subscribePattern",
    "startingTimestamp",
    "startingOffsetsByTimestamp",
    "startingOffsetsByTimestampStrategy",
    "endingOffsets",
    "endingTimestamp",
    "endingOffsetsByTimestamp",
    "minOffsetsPerTrigger",
    "maxTriggerDelay",
    "maxBytesPerTrigger",
    "maxRatePerPartition",
    "minPartitions",
    "maxRecordsPerPartition",
];

const DENIED: &[(&str, &str)] = &[
    ("auto.offset.reset", "use startingOffsets, and failOnDataLoss for offsets that are gone"),
    ("enable.auto.commit", "offsets are kept in the checkpoint, not in a consumer group"),
    ("enable.auto.offset.store", "offsets are kept in the checkpoint, not in a consumer group"),
    ("enable.partition.eof", "the source needs it itself"),
    ("allow.auto.create.topics", "reading never creates a topic"),
];

impl SourceOptions {
    /// Reads the options.
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut options = Options::new("Kafka source", options)?;
        let mut client = options.take_client(DENIED)?;
        let topics = match (options.take("subscribe"), options.take("assign")) {
            (Some(list), None) => Topics::Subscribe(topic_list(&options, &list)?),
            (None, Some(text)) => Topics::Assign(offsets::parse_assignment(&text)?),
            (Some(_), Some(_)) => return Err(invalid("Kafka source: give subscribe or assign, not both".into())),
            (None, None) => {
                // A reader that only gave a later option should hear about that one.
                options.finish(KNOWN, LATER)?;
                return Err(invalid("Kafka source: option subscribe (topic,...) or assign is required".into()));
            }
        };
        let start = match options.take("startingOffsets") {
            None => Start::Latest,
            Some(text) => match text.trim().to_ascii_lowercase().as_str() {
                "earliest" => Start::Earliest,
                "latest" => Start::Latest,
                json if json.starts_with('{') => Start::Offsets(offsets::parse_text(text.trim(), EARLIEST)?),
                _ => {
                    let wanted = "earliest, latest, or JSON such as {\"topic\":{\"0\":23,\"1\":-2}}";
                    return Err(options.bad("startingOffsets", &text, wanted));
                }
            },
        };
        let prefix = options.take("groupIdPrefix").unwrap_or_else(|| "tidemill-kafka-source".into());
        let parsed = Self {
            group_id: client.take("group.id").unwrap_or_else(|| format!("{prefix}-{}", Uuid::new_v4())),
            topics,
            start,
            max_offsets_per_trigger: options.take_number("maxOffsetsPerTrigger", 1)?,
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
        options.finish(KNOWN, LATER)?;
        Ok(parsed)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(pairs: &[(&str, &str)]) -> String {
        let map = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        SourceOptions::parse(&map).err().map_or_else(|| "accepted".into(), |error| error.to_string())
    }

    #[test]
    fn options_are_refused_by_name() {
        let servers = ("kafka.bootstrap.servers", "h:1");
        let topic = ("subscribe", "a, b,,a");
        assert_eq!(refusal(&[servers, topic, ("STARTINGOFFSETS", "Earliest")]), "accepted");
        assert_eq!(refusal(&[servers, topic, ("kafka.group.id", "g"), ("kafka.isolation.level", "x")]), "accepted");
        for (pair, part) in [
            (("subscribePattern", "a.*"), "option subscribePattern is not supported by this version"),
            (("startingOfsets", "latest"), "option startingOfsets is unknown; options are subscribe, assign,"),
            (("startingOffsets", "newest"), "option startingOffsets must be earliest, latest, or JSON"),
            (
                ("maxOffsetsPerTrigger", "0"),
                "option maxOffsetsPerTrigger must be a whole number of at least 1, not '0'",
            ),
            (("failOnDataLoss", "no"), "option failOnDataLoss must be true or false, not 'no'"),
            (("kafka.auto.offset.reset", "earliest"), "option kafka.auto.offset.reset is not supported: use starting"),
            (("Subscribe", "c"), "option Subscribe is given twice, as Subscribe and as subscribe"),
            (("assign", "{\"a\":[0]}"), "give subscribe or assign, not both"),
        ] {
            let text = refusal(&[servers, topic, pair]);
            assert!(text.starts_with("[INVALID_OPTION] Kafka source: ") && text.contains(part), "{text}");
        }
        assert!(refusal(&[servers]).contains("option subscribe (topic,...) or assign is required"));
        assert!(refusal(&[servers, ("subscribePattern", "a")]).contains("subscribePattern is not supported"));
    }
}
