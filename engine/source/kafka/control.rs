//! The source's questions to the brokers: which partitions there are, which offsets they hold, and what is lost.
//!
//! Comes in: topics and offsets. Goes out: offsets, options resolved to offsets, and ranges that can be read. Fails: missing topics, brokers that do
//! not answer, and [`ErrorCode::KafkaDataLoss`] with the wanted range, the available one and the way to go on.

use super::offsets::{self, EARLIEST, LATEST, Offsets, TopicPartition};
use super::options::{Bound, SourceOptions, Topics};
use super::pause;
use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{self, CONNECT_TIMEOUT, LogConsumer, REQUEST_TIMEOUT, invalid};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Rows that were skipped because the brokers no longer have them.
#[derive(Clone, Default)]
pub(super) struct Losses(Arc<AtomicI64>);

impl Losses {
    pub(super) fn count(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A consumer that never fetches, and the options.
pub(super) struct Control {
    consumer: LogConsumer,
    pub(super) options: SourceOptions,
    losses: Losses,
}

/// Why offsets are gone, with what each case knows.
pub(super) enum Loss {
    /// The partition is not there any more.
    Deleted,
    /// The log now starts after the wanted offset.
    Expired { first: i64 },
    /// The log now ends before the wanted offset.
    Truncated { last: i64 },
    /// Every partition of the topic ends before what was read of it, or is not there any more: it is another topic now.
    Recreated { last: Option<i64> },
}

impl Control {
    /// Makes the client; the first question connects it.
    pub(super) fn connect(options: SourceOptions, losses: Losses) -> Result<Self> {
        let log = options.client.log();
        let consumer = consumer(&options, &log, &[])?;
        Ok(Self { consumer, options, losses })
    }

    /// The partitions to read, ascending.
    pub(super) fn partitions(&self, timeout: Duration) -> Result<Vec<TopicPartition>> {
        let (found, missing) = self.find(timeout)?;
        match missing.first() {
            None => Ok(found),
            Some(missing) => Err(Error::new(
                ErrorCode::Kafka,
                format!(
                    "{missing} does not exist on {}; create it, or correct the option subscribe or assign",
                    self.options.client.servers()
                ),
            )),
        }
    }

    /// The partitions to read that there are, ascending, and the names of topics and partitions that there are not.
    fn find(&self, timeout: Duration) -> Result<(Vec<TopicPartition>, Vec<String>)> {
        let servers = self.options.client.servers();
        let topics: Vec<&Arc<str>> = match &self.options.topics {
            Topics::Subscribe(topics) => topics.iter().collect(),
            Topics::Pattern(pattern) => {
                // Nothing is missing where nothing is named; a topic that was read and is gone shows in the offsets.
                let topics = kafka::topics_that(&self.consumer, servers, timeout, |name| pattern.matches(name))?;
                let partitions = topics.into_iter().flat_map(|(topic, count)| {
                    let topic: Arc<str> = topic.into();
                    (0..count).map(move |partition| TopicPartition::new(&topic, partition))
                });
                return Ok((partitions.collect(), Vec::new()));
            }
            Topics::Assign(partitions) => {
                let mut topics: Vec<&Arc<str>> = partitions.iter().map(|at| &at.topic).collect();
                topics.dedup();
                topics
            }
        };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for topic in topics {
            match kafka::partition_count(&self.consumer, topic, servers, timeout)? {
                Some(count) => found.extend((0..count).map(|partition| TopicPartition::new(topic, partition))),
                None => missing.push(format!("topic {topic}")),
            }
        }
        if let Topics::Assign(wanted) = &self.options.topics {
            if missing.is_empty() {
                let absent = wanted.iter().filter(|at| found.binary_search(at).is_err());
                missing.extend(absent.map(|at| format!("partition {at}")));
            }
            found.retain(|at| wanted.binary_search(at).is_ok());
        }
        Ok((found, missing))
    }

    /// The oldest ([`EARLIEST`]) or newest ([`LATEST`], the last stable one) offset of some partitions, in one request for each
    /// broker.
    pub(super) fn query(&self, partitions: &[TopicPartition], which: i64) -> Result<Offsets> {
        let at = if which == EARLIEST { ClientOffset::Beginning } else { ClientOffset::End };
        let wanted = partitions.iter().map(|partition| (partition.clone(), at));
        let none = || self.refused(&KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
        self.list_offsets(wanted)?.into_iter().map(|(at, offset)| Ok((at, offset.ok_or_else(none)?))).collect()
    }

    /// For each partition the offset of the first record at or after a time in milliseconds, None where there is none.
    fn query_times(&self, times: &Offsets) -> Result<BTreeMap<TopicPartition, Option<i64>>> {
        self.list_offsets(times.iter().map(|(at, millis)| (at.clone(), ClientOffset::Offset(*millis))))
    }

    fn refused(&self, error: &KafkaError) -> Error {
        kafka::serve_events(&self.consumer);
        let servers = self.options.client.servers();
        self.consumer.context().error(format_args!("cannot read offsets from {servers}"), error)
    }

    fn list_offsets(
        &self,
        wanted: impl Iterator<Item = (TopicPartition, ClientOffset)>,
    ) -> Result<BTreeMap<TopicPartition, Option<i64>>> {
        let mut list = TopicPartitionList::new();
        let mut topics: BTreeMap<(String, i32), TopicPartition> = BTreeMap::new();
        for (at, offset) in wanted {
            list.add_partition_offset(&at.topic, at.partition, offset).map_err(|error| self.refused(&error))?;
            topics.insert((at.topic.to_string(), at.partition), at);
        }
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answer = self.consumer.offsets_for_times(list, REQUEST_TIMEOUT).map_err(|error| self.refused(&error))?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.refused(&error))?;
            let offset = match element.offset() {
                ClientOffset::Offset(offset) => Some(offset),
                _ => None,
            };
            if let Some(at) = topics.remove(&(element.topic().to_owned(), element.partition())) {
                found.insert(at, offset);
            }
        }
        match topics.is_empty() {
            true => Ok(found),
            false => Err(self.refused(&KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))),
        }
    }

    /// An end of what is read, as numbers: `side` is `starting` or `ending`, for messages.
    pub(super) fn resolve(&self, bound: &Bound, side: &str) -> Result<Offsets> {
        let partitions = self.partitions(CONNECT_TIMEOUT)?;
        match bound {
            Bound::Earliest => self.query(&partitions, EARLIEST),
            Bound::Latest => self.query(&partitions, LATEST),
            Bound::Offsets(wanted) => {
                let way_out = "name every partition, with -1 for latest and -2 for earliest";
                same_partitions(&partitions, wanted, &format!("{side}Offsets"), way_out)?;
                let special = |value| -> Vec<TopicPartition> {
                    wanted.iter().filter(|(_, offset)| **offset == value).map(|(at, _)| at.clone()).collect()
                };
                let mut resolved = self.query(&special(EARLIEST), EARLIEST)?;
                resolved.extend(self.query(&special(LATEST), LATEST)?);
                for (at, offset) in wanted {
                    resolved.entry(at.clone()).or_insert(*offset);
                }
                Ok(resolved)
            }
            Bound::Timestamp(millis) => {
                let times = partitions.into_iter().map(|at| (at, *millis)).collect();
                self.resolve_times(&times, side, &format!("{side}Timestamp"))
            }
            Bound::Timestamps(times) => {
                let option = format!("{side}OffsetsByTimestamp");
                same_partitions(&partitions, times, &option, "name every partition, with a time in milliseconds")?;
                self.resolve_times(times, side, &option)
            }
        }
    }

    /// Where no record is as new as asked for: the end of the partition, or for a start an error, as the options say.
    fn resolve_times(&self, times: &Offsets, side: &str, option: &str) -> Result<Offsets> {
        let found = self.query_times(times)?;
        let without: Vec<TopicPartition> =
            found.iter().filter(|(_, offset)| offset.is_none()).map(|(at, _)| at.clone()).collect();
        if let (Some(at), "starting", false) = (without.first(), side, self.options.latest_without_match) {
            return Err(Error::new(
                ErrorCode::Kafka,
                format!(
                    "option {option}: topic {}, partition {} has no record at or after {} ms; give an earlier time, or set \
                     startingOffsetsByTimestampStrategy to latest to start there with the next record",
                    at.topic,
                    at.partition,
                    times.get(at).copied().unwrap_or_default()
                ),
            ));
        }
        let mut resolved = self.query(&without, LATEST)?;
        for (at, offset) in found {
            if let Some(offset) = offset {
                resolved.insert(at, offset);
            }
        }
        Ok(resolved)
    }

    /// The newest offsets, checked against what has been read: an end that went back, or a partition that went away, is
    /// a loss.
    pub(super) fn latest(&self, start: &Offsets) -> Result<Offsets> {
        let mut tries = 0;
        let latest = loop {
            let (found, missing) = self.find(REQUEST_TIMEOUT)?;
            let latest = self.query(&found, LATEST)?;
            let sound = missing.is_empty()
                && start.iter().all(|(at, begin)| latest.get(at).map_or(!self.wants(at), |end| end >= begin));
            if sound || tries >= self.options.retries {
                break latest;
            }
            tries += 1;
            pause(self.options.retry_interval);
        };
        self.check(start, &latest)?;
        Ok(latest)
    }

    /// Compares the newest offsets with what has been read.
    pub(super) fn check(&self, start: &Offsets, latest: &Offsets) -> Result<()> {
        let recreated = self.recreated(start, latest);
        for (at, begin) in start {
            let last = latest.get(at).copied();
            match last {
                _ if recreated.contains(&at.topic) && last.is_none_or(|last| last < *begin) => {
                    self.lost(at, last.unwrap_or(0), *begin, Loss::Recreated { last })?;
                }
                None if self.wants(at) => self.lost(at, *begin, *begin, Loss::Deleted)?,
                Some(last) if last < *begin => self.lost(at, last, *begin, Loss::Truncated { last })?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Topics that were deleted and created again, as far as offsets show it: there are partitions, each ends before what was
    /// read of it, or some are gone, which no topic's partitions ever do. The client does not tell topic ids, so a new
    /// topic that has grown past the old one's offsets looks like the old one.
    fn recreated(&self, start: &Offsets, latest: &Offsets) -> BTreeSet<Arc<str>> {
        let mut topics: BTreeMap<&Arc<str>, bool> = BTreeMap::new();
        for (at, begin) in start.iter().filter(|(at, begin)| **begin > 0 && self.wants(at)) {
            let shorter = latest.get(at).is_none_or(|last| last < begin);
            topics.entry(&at.topic).and_modify(|all| *all &= shorter).or_insert(shorter);
        }
        let there = |topic: &Arc<str>| latest.keys().any(|at| at.topic == *topic);
        topics.into_iter().filter(|(topic, shorter)| *shorter && there(topic)).map(|(topic, _)| topic.clone()).collect()
    }

    /// Whether the options ask for a partition; a changed query may still have to read one that they no longer name.
    fn wants(&self, at: &TopicPartition) -> bool {
        self.options.topics.contain(at)
    }

    /// The parts of `start..end` that can be read: all of it, or an error, or with `failOnDataLoss` false what is left.
    pub(super) fn available(&self, start: &Offsets, end: &Offsets) -> Result<Vec<(TopicPartition, i64, i64)>> {
        let wanted: Vec<(TopicPartition, i64, i64)> = end
            .iter()
            .map(|(at, end)| (at.clone(), offsets::begin(start, at), *end))
            .filter(|(_, begin, end)| begin < end)
            .collect();
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let (present, _) = self.find(REQUEST_TIMEOUT)?;
        let there = |at: &TopicPartition| !self.wants(at) || present.binary_search(at).is_ok();
        let asked: Vec<TopicPartition> =
            wanted.iter().filter(|(at, ..)| there(at)).map(|(at, ..)| at.clone()).collect();
        let mut tries = 0;
        let (first, last) = loop {
            let (first, last) = (self.query(&asked, EARLIEST)?, self.query(&asked, LATEST)?);
            let sound = wanted.iter().all(|(at, _, end)| last.get(at).is_none_or(|last| last >= end));
            if sound || tries >= self.options.retries {
                break (first, last);
            }
            tries += 1;
            pause(self.options.retry_interval);
        };
        let ends = wanted.iter().map(|(at, _, end)| (at.clone(), *end)).collect();
        let recreated = self.recreated(&ends, &last);
        let mut ranges = Vec::with_capacity(wanted.len());
        for (at, mut begin, mut end) in wanted {
            let again = recreated.contains(&at.topic);
            let (Some(first), Some(last)) = (first.get(&at), last.get(&at)) else {
                self.lost(&at, begin, end, if again { Loss::Recreated { last: None } } else { Loss::Deleted })?;
                continue;
            };
            if *first > begin {
                self.lost(&at, begin, end.min(*first), Loss::Expired { first: *first })?;
                begin = *first;
            }
            if *last < end {
                let loss = if again { Loss::Recreated { last: Some(*last) } } else { Loss::Truncated { last: *last } };
                self.lost(&at, begin.max(*last), end, loss)?;
                end = *last;
            }
            if begin < end {
                ranges.push((at, begin, end));
            }
        }
        Ok(ranges)
    }

    /// The first and the last stable offset of a partition now.
    pub(super) fn bounds(&self, at: &TopicPartition) -> Result<(i64, i64)> {
        let one = std::slice::from_ref(at);
        let value = |offsets: Offsets| offsets.get(at).copied().unwrap_or_default();
        Ok((value(self.query(one, EARLIEST)?), value(self.query(one, LATEST)?)))
    }

    /// Records `begin..end` of a partition as lost: an error, or a count when the user chose to go on.
    pub(super) fn lost(&self, at: &TopicPartition, begin: i64, end: i64, loss: Loss) -> Result<()> {
        let lost = (end - begin).max(0);
        let (available, cause) = match loss {
            Loss::Deleted => ("the partition does not exist".to_owned(), "the topic was deleted"),
            Loss::Expired { first } => (
                format!("the log now starts at offset {first}"),
                "retention removed them, or the topic was deleted and created again",
            ),
            Loss::Truncated { last } => {
                (format!("the log now ends at offset {last}"), "an unclean leader election truncated the log")
            }
            Loss::Recreated { last } => (
                match last {
                    Some(last) => format!(
                        "the log now ends at offset {last}, and no partition of the topic reaches what was read"
                    ),
                    None => "the topic exists without this partition".to_owned(),
                },
                "the topic was deleted and created again; what the new topic holds below these offsets was not read",
            ),
        };
        let text = format!(
            "topic {}, partition {}: offsets {begin} to {end} cannot be read, {lost} offsets are lost; {available}. \
             Likely cause: {cause}. To skip what is lost and go on, set the option failOnDataLoss to false; \
             numRowsLost in the source's metrics then counts it",
            at.topic, at.partition
        );
        if self.options.fail_on_data_loss {
            return Err(Error::new(ErrorCode::KafkaDataLoss, text));
        }
        tracing::warn!(target: "tidemill::kafka", "{text}");
        self.losses.0.fetch_add(lost, Ordering::Relaxed);
        Ok(())
    }
}

/// Refuses offsets or times that do not name exactly the partitions that are read.
fn same_partitions(partitions: &[TopicPartition], named: &Offsets, option: &str, way_out: &str) -> Result<()> {
    let list = |items: Vec<&TopicPartition>| items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let missing: Vec<&TopicPartition> = partitions.iter().filter(|at| !named.contains_key(at)).collect();
    let foreign: Vec<&TopicPartition> = named.keys().filter(|at| partitions.binary_search(at).is_err()).collect();
    for (items, problem) in [(missing, "does not name"), (foreign, "names what is not read:")] {
        if !items.is_empty() {
            return Err(invalid(format!("Kafka source: option {option} {problem} {}; {way_out}", list(items))));
        }
    }
    Ok(())
}

/// A consumer of these options: `tuning` are defaults that the user may override.
pub(super) fn consumer(
    options: &SourceOptions,
    log: &kafka::ClientLog,
    tuning: &[(&str, &str)],
) -> Result<LogConsumer> {
    let defaults: Vec<(&str, &str)> =
        [("isolation.level", "read_committed"), ("check.crcs", "true")].iter().chain(tuning).copied().collect();
    let fixed = [
        ("group.id", options.group_id.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
    ];
    options.client.create(&defaults, &fixed, log)
}
