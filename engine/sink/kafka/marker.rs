//! The marker: the record in the progress topic that says which batch of a query was published last, and by whom.
//!
//! Comes in: the progress topic. Goes out: the newest marker of a query. Fails: a topic that cannot be created or read.
//!
//! The topic is compacted and keyed by query id, so it holds one record for each query for ever. A marker is written in
//! the transaction of the rows it speaks of, hence it is there exactly when they are.

use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{self, ClientLog, ClientSettings, LogConsumer};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The progress topic unless the option `progressTopic` names another.
pub(super) const DEFAULT_TOPIC: &str = "tidemill-progress";

/// How long the answers to reading the marker may take beyond the longest transaction of anyone.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What the progress topic knows of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The last published batch and its attempt; None while the query has only claimed the topic.
    pub(super) batch: Option<u64>,
    pub(super) attempt: Option<Uuid>,
    /// Epoch and run that wrote the marker: a start of the query claims the sink by writing its own.
    pub(super) epoch: u64,
    pub(super) run: Uuid,
    pub(super) rows: u64,
    pub(super) digest: String,
}

/// Where markers are kept.
pub(super) struct ProgressTopic {
    pub(super) name: String,
    pub(super) settings: ClientSettings,
    /// The longest that a transaction may stay open, and with it hide markers behind it.
    pub(super) patience: Duration,
}

impl ProgressTopic {
    /// Creates the topic where it does not exist.
    pub(super) fn ensure(&self, control: &LogConsumer, log: &ClientLog) -> Result<()> {
        let servers = self.settings.servers();
        if kafka::partition_count(control, &self.name, servers, kafka::CONNECT_TIMEOUT)?.is_some() {
            return Ok(());
        }
        let admin: AdminClient<ClientLog> = self.settings.create(&[], &[], log)?;
        // -1 replicas: as many as the brokers are configured to give.
        let topic = NewTopic::new(&self.name, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let options = AdminOptions::new()
            .request_timeout(Some(kafka::REQUEST_TIMEOUT))
            .operation_timeout(Some(kafka::REQUEST_TIMEOUT));
        let answer = futures::executor::block_on(admin.create_topics([&topic], &options));
        let refusal = match answer {
            Ok(results) => results.into_iter().find_map(|result| result.err().map(|(_, code)| code)),
            Err(error) => Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        match refusal {
            None | Some(RDKafkaErrorCode::TopicAlreadyExists) => self.await_topic(control),
            Some(code) => Err(log.error(
                format_args!(
                    "Kafka sink: cannot create the progress topic {name} on {servers}; create it yourself with one \
                     partition and cleanup.policy=compact, and allow this user to read and write it, or name such a \
                     topic by the option progressTopic",
                    name = self.name
                ),
                &KafkaError::AdminOp(code),
            )),
        }
    }

    /// Waits until every later request will find the topic.
    fn await_topic(&self, control: &LogConsumer) -> Result<()> {
        let deadline = Instant::now() + kafka::REQUEST_TIMEOUT;
        while kafka::partition_count(control, &self.name, self.settings.servers(), kafka::REQUEST_TIMEOUT)?.is_none() {
            if Instant::now() > deadline {
                return Err(Error::new(
                    ErrorCode::Kafka,
                    format!("Kafka sink: the progress topic {} was created and did not appear", self.name),
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The newest marker of a query. `control` reads uncommitted.
    ///
    /// Another query's open transaction hides every marker behind it, also committed ones, and "no marker" would then
    /// publish a batch twice. So the last stable offset must first pass the log's end as it is now.
    pub(super) fn read(&self, control: &LogConsumer, log: &ClientLog, query: &str) -> Result<Option<Marker>> {
        let fail = |error: KafkaError| {
            log.error(format_args!("Kafka sink: cannot read the progress topic {}", self.name), &error)
        };
        let group = format!("tidemill-kafka-sink-{query}");
        let consumer: LogConsumer = self.settings.create(
            &[("fetch.wait.max.ms", "10"), ("check.crcs", "true")],
            &[
                ("group.id", group.as_str()),
                ("isolation.level", "read_committed"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "error"),
                ("enable.partition.eof", "true"),
                ("allow.auto.create.topics", "false"),
            ],
            log,
        )?;
        let (first, end) = control.fetch_watermarks(&self.name, 0, kafka::REQUEST_TIMEOUT).map_err(fail)?;
        let deadline = Instant::now() + self.patience + READ_TIMEOUT;
        let late = || {
            Error::new(
                ErrorCode::Kafka,
                format!(
                    "Kafka sink: the progress topic {} has an open transaction before offset {end} that does not end; \
                     look for a query on this topic that hangs in a commit",
                    self.name
                ),
            )
        };
        while consumer.fetch_watermarks(&self.name, 0, kafka::REQUEST_TIMEOUT).map_err(fail)?.1 < end {
            if Instant::now() > deadline {
                return Err(late());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, 0, Offset::Offset(first)).map_err(fail)?;
        consumer.assign(&list).map_err(fail)?;
        let mut newest = None;
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    if record.key() == Some(query.as_bytes()) {
                        newest = record.payload().map(|bytes| self.parse(bytes, record.offset())).transpose()?;
                    }
                    if record.offset() + 1 >= end {
                        return Ok(newest);
                    }
                }
                // This consumer began after the last stable offset had passed `end`: the report is not stale.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
                Some(Err(KafkaError::MessageConsumption(
                    code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::Authentication),
                ))) => return Err(fail(KafkaError::MessageConsumption(code))),
                // Lost connections are made again by the client.
                Some(Err(_)) | None => {}
            }
            if Instant::now() > deadline {
                return Err(fail(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
            }
        }
    }

    fn parse(&self, bytes: &[u8], offset: i64) -> Result<Marker> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::new(
                ErrorCode::Kafka,
                format!(
                    "Kafka sink: the record at offset {offset} of the progress topic {} is no marker: {error}; another \
                     program writes to this topic, or a newer version of this one",
                    self.name
                ),
            )
        })
    }
}
