//! Offsets of topic partitions: Spark's JSON, starting offsets, and the split of a rate limit. Pure.
//!
//! Comes in: `{"topic":{"0":23}}` and what the brokers hold. Goes out: the same JSON, sorted. Fails: JSON of another
//! shape.

use crate::error::Result;
use crate::kafka::invalid;
use crate::source::Offset;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A partition of a topic, printed as Kafka does: `topic-0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicPartition {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

impl TopicPartition {
    pub(super) fn new(topic: &Arc<str>, partition: i32) -> Self {
        Self { topic: topic.clone(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// An offset for each partition.
pub(super) type Offsets = BTreeMap<TopicPartition, i64>;

/// The offset in `startingOffsets` that means the newest.
pub(super) const LATEST: i64 = -1;
/// The offset in `startingOffsets` that means the oldest.
pub(super) const EARLIEST: i64 = -2;

/// Reads `{"topic":{"0":23}}`; offsets of at least `least`. A JSON text in a JSON string is read as well.
pub(super) fn parse(value: &Offset, least: i64) -> Result<Offsets> {
    if let Value::String(text) = value {
        return parse_text(text, least);
    }
    let wrong = || invalid(format!("Kafka offsets are not of the form {{\"topic\":{{\"0\":23}}}}: {value}"));
    let mut offsets = Offsets::new();
    for (topic, partitions) in value.as_object().ok_or_else(wrong)? {
        let topic: Arc<str> = topic.as_str().into();
        for (partition, offset) in partitions.as_object().ok_or_else(wrong)? {
            let partition: i32 = partition.parse().ok().filter(|p| *p >= 0).ok_or_else(wrong)?;
            let offset = offset.as_i64().filter(|offset| *offset >= least).ok_or_else(wrong)?;
            offsets.insert(TopicPartition::new(&topic, partition), offset);
        }
    }
    Ok(offsets)
}

/// Reads the JSON text of [`parse`].
pub(super) fn parse_text(text: &str, least: i64) -> Result<Offsets> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => parse(&value, least),
        _ => Err(invalid(format!("Kafka offsets are not of the form {{\"topic\":{{\"0\":23}}}}: {text}"))),
    }
}

/// Reads `startingOffsetsByTimestamp` and `endingOffsetsByTimestamp`: `{"topic":{"0":1700000000000}}`, in milliseconds.
pub(super) fn parse_timestamps(text: &str) -> Result<Offsets> {
    parse_text(text, 0).map_err(|_| {
        invalid(format!("timestamps of partitions are not of the form {{\"topic\":{{\"0\":1700000000000}}}}: {text}"))
    })
}

/// Reads `assign`: `{"topicA":[0,1],"topicB":[2]}`.
pub(super) fn parse_assignment(text: &str) -> Result<Vec<TopicPartition>> {
    let wrong = || invalid(format!("option assign must be of the form {{\"topic\":[0,1]}}, not '{text}'"));
    let topics: BTreeMap<String, Vec<i32>> = serde_json::from_str(text).map_err(|_| wrong())?;
    let mut partitions: Vec<TopicPartition> = Vec::new();
    for (topic, numbers) in topics {
        let topic: Arc<str> = topic.into();
        for number in numbers {
            partitions.push(TopicPartition::new(&topic, Some(number).filter(|n| *n >= 0).ok_or_else(wrong)?));
        }
    }
    partitions.sort();
    partitions.dedup();
    if partitions.is_empty() { Err(wrong()) } else { Ok(partitions) }
}

/// Spark's JSON of offsets, topics and partitions ascending.
pub(super) fn to_json(offsets: &Offsets) -> Offset {
    let mut topics = Map::new();
    for (at, offset) in offsets {
        let partitions = topics.entry(at.topic.to_string()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(partitions) = partitions {
            partitions.insert(at.partition.to_string(), Value::from(*offset));
        }
    }
    Value::Object(topics)
}

/// The first offset to read: partitions that `start` does not know are new, and are read from their beginning.
pub(super) fn begin(start: &Offsets, at: &TopicPartition) -> i64 {
    start.get(at).copied().unwrap_or(0)
}

/// Splits `limit` over the partitions in proportion to their backlogs, as Spark does: a share below one is rounded up, so
/// that a small partition is never starved, and any other share is rounded down.
pub(super) fn rate_limit(limit: u64, start: &Offsets, until: &Offsets) -> Offsets {
    let size = |at: &TopicPartition, end: i64| end.saturating_sub(begin(start, at));
    let total: f64 = until.iter().map(|(at, end)| size(at, *end).max(0) as f64).sum();
    let share = |at: &TopicPartition, end: i64| {
        let size = size(at, end);
        if size <= 0 {
            return end;
        }
        let share = limit as f64 * (size as f64 / total);
        let share = if share < 1.0 { share.ceil() } else { share.floor() };
        begin(start, at).saturating_add(share as i64).min(end)
    };
    until.iter().map(|(at, end)| (at.clone(), share(at, *end))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Offsets of the first partitions of a topic.
    pub(in crate::source::kafka) fn offsets(values: &[i64]) -> Offsets {
        let topic: Arc<str> = "t".into();
        values.iter().enumerate().map(|(p, offset)| (TopicPartition::new(&topic, p as i32), *offset)).collect()
    }

    #[test]
    fn the_limit_is_split_as_spark_splits_it() {
        let until = offsets(&[101, 11, 1]);
        let first = rate_limit(10, &offsets(&[0, 0, 0]), &until);
        assert_eq!(first, offsets(&[8, 1, 1]));
        assert_eq!(rate_limit(10, &first, &until), offsets(&[17, 2, 1]));
        assert_eq!(rate_limit(1_000, &first, &until), until);
        assert_eq!(rate_limit(10, &until, &until), until);
        assert_eq!(rate_limit(4, &offsets(&[]), &offsets(&[2, 2])), offsets(&[2, 2]));
        assert_eq!(rate_limit(10, &offsets(&[5]), &offsets(&[3])), offsets(&[3]));
    }

    #[test]
    fn json_keeps_its_form_and_its_order() {
        let text = r#"{"b":{"10":1,"2":3},"a":{"0":-2}}"#;
        let parsed = parse_text(text, EARLIEST).unwrap();
        assert_eq!(to_json(&parsed).to_string(), r#"{"a":{"0":-2},"b":{"2":3,"10":1}}"#);
        assert_eq!(parse(&Value::String(text.into()), EARLIEST).unwrap(), parsed);
        for wrong in ["7", "{\"a\":1}", "{\"a\":{\"x\":1}}", "{\"a\":{\"0\":-3}}", "{\"a\":{\"0\":1.5}}", "{", "\"x\""]
        {
            assert!(parse_text(wrong, EARLIEST).unwrap_err().message().contains(wrong), "{wrong}");
        }
        assert!(parse_text(text, 0).is_err());
    }

    #[test]
    fn an_assignment_is_a_list_of_partitions() {
        let shown: Vec<String> =
            parse_assignment(r#"{"b":[1,0,1],"a":[2]}"#).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a-2", "b-0", "b-1"]);
        assert!(parse_assignment(r#"{"b":[-1]}"#).is_err());
        assert!(parse_assignment("{}").is_err());
    }
}
