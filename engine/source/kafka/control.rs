//! The source's questions to the brokers: which partitions there are, which offsets they hold, and what is lost.
//!
//! Comes in: topics and offsets. Goes out: offsets, and ranges that can be read. Fails: missing topics, brokers that do
//! not answer, and [`ErrorCode::KafkaDataLoss`] with the wanted range, the available one and the way to go on.

use super::offsets::{self, EARLIEST, LATEST, Offsets, TopicPartition};
use super::options::{SourceOptions, Topics};
use super::pause;
use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{self, LogConsumer, REQUEST_TIMEOUT};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};
use std::collections::BTreeMap;
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
        let topics: Vec<&Arc<str>> = match &self.options.topics {
            Topics::Subscribe(topics) => topics.iter().collect(),
            Topics::Assign(partitions) => {
                let mut topics: Vec<&Arc<str>> = partitions.iter().map(|at| &at.topic).collect();
                topics.dedup();
                topics
            }
        };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for topic in topics {
            match kafka::partition_count(&self.consumer, topic, self.options.client.servers(), timeout)? {
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

    /// The oldest ([`EARLIEST`]) or newest ([`LATEST`], the last stable one) offset of every partition.
    pub(super) fn query_all(&self, which: i64) -> Result<Offsets> {
        self.query(&self.partitions(REQUEST_TIMEOUT)?, which)
    }

    /// The oldest or newest offset of some partitions, in one request for each broker.
    pub(super) fn query(&self, partitions: &[TopicPartition], which: i64) -> Result<Offsets> {
        if partitions.is_empty() {
            return Ok(Offsets::new());
        }
        let fail = |error: &KafkaError| {
            kafka::serve_events(&self.consumer);
            let servers = self.options.client.servers();
            self.consumer.context().error(format_args!("cannot read offsets from {servers}"), error)
        };
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let at = if which == EARLIEST { ClientOffset::Beginning } else { ClientOffset::End };
        for partition in partitions {
            list.add_partition_offset(&partition.topic, partition.partition, at).map_err(|error| fail(&error))?;
        }
        let answer = self.consumer.offsets_for_times(list, REQUEST_TIMEOUT).map_err(|error| fail(&error))?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| fail(&error))?;
            let ClientOffset::Offset(offset) = element.offset() else {
                return Err(fail(&KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset)));
            };
            found.insert((element.topic().to_owned(), element.partition()), offset);
        }
        partitions
            .iter()
            .map(|at| match found.get(&(at.topic.to_string(), at.partition)) {
                Some(offset) => Ok((at.clone(), *offset)),
                None => Err(fail(&KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))),
            })
            .collect()
    }

    /// The newest offsets, checked against what has been read: an end that went back, or a partition that went away, is
    /// a loss.
    pub(super) fn latest(&self, start: &Offsets) -> Result<Offsets> {
        let mut tries = 0;
        let latest = loop {
            let (found, missing) = self.find(REQUEST_TIMEOUT)?;
            let latest = self.query(&found, LATEST)?;
            let sound =
                missing.is_empty() && start.iter().all(|(at, begin)| latest.get(at).is_none_or(|end| end >= begin));
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
        for (at, begin) in start {
            match latest.get(at) {
                None if self.wants(at) => self.lost(at, *begin, *begin, Loss::Deleted)?,
                Some(end) if end < begin => self.lost(at, *end, *begin, Loss::Truncated { last: *end })?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the options ask for a partition; a changed query may still have to read one that they no longer name.
    fn wants(&self, at: &TopicPartition) -> bool {
        match &self.options.topics {
            Topics::Subscribe(topics) => topics.contains(&at.topic),
            Topics::Assign(partitions) => partitions.contains(at),
        }
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
        let mut ranges = Vec::with_capacity(wanted.len());
        for (at, mut begin, mut end) in wanted {
            let (Some(first), Some(last)) = (first.get(&at), last.get(&at)) else {
                self.lost(&at, begin, end, Loss::Deleted)?;
                continue;
            };
            if *first > begin {
                self.lost(&at, begin, end.min(*first), Loss::Expired { first: *first })?;
                begin = *first;
            }
            if *last < end {
                self.lost(&at, begin.max(*last), end, Loss::Truncated { last: *last })?;
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
            Loss::Truncated { last } => (
                format!("the log now ends at offset {last}"),
                "the topic was deleted and created again, or an unclean leader election truncated it",
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
