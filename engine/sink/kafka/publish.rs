//! The transactional producer: claim, publish, and what to do when the outcome is unknown.
//!
//! Comes in: staged rows. Goes out: one committed transaction. Fails: a refusal that no retry can heal, a newer start of
//! the query, and brokers that stay away.
//!
//! A producer is never used again after an error. librdkafka speaks the older transaction protocol, in which a delayed
//! request of one transaction may land in the next; a new producer has a new epoch, which fences such a request, and
//! initialising it settles what became of the last transaction. The marker then says whether to send again.

use super::Hook;
use super::marker::{Marker, ProgressTopic};
use super::rows::{Record, Staged};
use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{self, ClientLog, ClientSettings, LogConsumer};
use crate::sink::Writer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often a batch is sent before its publication fails.
const ATTEMPTS: u32 = 3;

/// How long a transaction may stay open before the brokers abort it, unless the user says otherwise.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(120);

/// How long initialising waits for the brokers to end the last transaction.
const INIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The client's own limit for a record, when the user sets none.
const MAX_RECORD_BYTES: usize = 1_000_000;

type TransactionalProducer = BaseProducer<ClientLog>;

/// A failed transaction.
struct Failure {
    error: Error,
    kind: FailureKind,
}

#[derive(PartialEq)]
enum FailureKind {
    /// Sending again would fail again.
    Lasting,
    /// The brokers know a newer producer of this id, or have timed the transaction out.
    Fenced,
    /// Anything else, with an outcome that may be unknown.
    Passing,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, kind: FailureKind::Lasting }
    }
}

/// Publishes the batches of one start of a query.
pub(super) struct Publisher {
    settings: ClientSettings,
    log: ClientLog,
    progress: ProgressTopic,
    transactional_id: String,
    query: String,
    epoch: u64,
    run: Uuid,
    hook: Option<Hook>,
    timeout: Duration,
    /// Asks for metadata and ends of logs; reads uncommitted.
    control: LogConsumer,
    partitions: HashMap<String, i32>,
    producer: Option<TransactionalProducer>,
    marker: Option<Marker>,
}

/// Checks that the brokers answer and that the output topic exists, with a client of its own: a producer of the sink would
/// fence a run that still has the checkpoint.
pub(super) fn check_reachable(settings: &ClientSettings, topic: Option<&str>) -> Result<()> {
    let log = settings.log();
    let consumer: LogConsumer = settings.create(
        &[],
        &[("group.id", "tidemill-kafka-sink-check"), ("allow.auto.create.topics", "false")],
        &log,
    )?;
    match topic {
        Some(topic) => require_topic(&consumer, topic, settings.servers()).map(drop),
        None => Ok(()),
    }
}

/// Number of partitions of an output topic.
fn require_topic(consumer: &LogConsumer, topic: &str, servers: &str) -> Result<i32> {
    kafka::partition_count(consumer, topic, servers, kafka::CONNECT_TIMEOUT)?.ok_or_else(|| {
        Error::new(
            ErrorCode::Kafka,
            format!(
                "Kafka sink: topic {topic} does not exist on {servers}; create it first, output topics are never created \
                 here"
            ),
        )
    })
}

impl Publisher {
    /// A publisher that is not connected yet.
    pub(super) fn new(
        settings: ClientSettings,
        progress_topic: String,
        transactional_id: String,
        writer: &Writer,
        hook: Option<Hook>,
    ) -> Result<Self> {
        let log = settings.log();
        let query = writer.query_id.to_string();
        let group = format!("tidemill-kafka-sink-{query}");
        let control = settings.create(
            &[],
            &[
                ("group.id", group.as_str()),
                ("isolation.level", "read_uncommitted"),
                ("enable.auto.commit", "false"),
                ("allow.auto.create.topics", "false"),
            ],
            &log,
        )?;
        let timeout = match settings.get("transaction.timeout.ms").map(str::parse) {
            Some(Ok(millis)) => Duration::from_millis(millis),
            // Text that is no number is refused by the client, by name.
            _ => TRANSACTION_TIMEOUT,
        };
        Ok(Self {
            progress: ProgressTopic { name: progress_topic, settings: settings.clone(), patience: timeout },
            settings,
            log,
            transactional_id,
            query,
            epoch: writer.epoch,
            run: writer.run_id,
            hook,
            timeout,
            control,
            partitions: HashMap::new(),
            producer: None,
            marker: None,
        })
    }

    /// The largest record that the client sends.
    pub(super) fn max_record_bytes(&self) -> usize {
        self.settings.get("message.max.bytes").and_then(|text| text.parse().ok()).unwrap_or(MAX_RECORD_BYTES)
    }

    /// The batch and the attempt that were published last.
    pub(super) fn last(&self) -> (Option<u64>, Option<Uuid>) {
        self.marker.as_ref().map_or((None, None), |marker| (marker.batch, marker.attempt))
    }

    /// Checks that an output topic exists, and has the partition.
    pub(super) fn check(&mut self, topic: &str, partition: Option<i32>) -> Result<()> {
        let fits = |count: i32| partition.is_none_or(|partition| (0..count).contains(&partition));
        if self.partitions.get(topic).is_some_and(|count| fits(*count)) {
            return Ok(());
        }
        let count = require_topic(&self.control, topic, self.settings.servers())?;
        if !fits(count) {
            let partition = partition.unwrap_or_default();
            return Err(Error::new(
                ErrorCode::Kafka,
                format!("Kafka sink: topic {topic} has {count} partitions, and a row asks for partition {partition}"),
            ));
        }
        self.partitions.insert(topic.to_owned(), count);
        Ok(())
    }

    /// Takes the sink over from every earlier start: fences it, reads the marker, and writes this start's epoch into it.
    pub(super) fn claim(&mut self) -> Result<()> {
        self.progress.ensure(&self.control, &self.log)?;
        self.renew()?;
        if self.marker.as_ref().is_some_and(|marker| marker.run == self.run) {
            return Ok(());
        }
        let claim = match &self.marker {
            Some(marker) => Marker { epoch: self.epoch, run: self.run, ..marker.clone() },
            None => {
                Marker { batch: None, attempt: None, epoch: self.epoch, run: self.run, rows: 0, digest: String::new() }
            }
        };
        self.commit(None, claim)
    }

    /// Publishes a staged batch.
    pub(super) fn publish(&mut self, batch: u64, attempt: Uuid, staged: &Staged) -> Result<()> {
        match self.last() {
            (Some(last), by) if last == batch && by == Some(attempt) => return Ok(()),
            (Some(last), _) if last >= batch => {
                return Err(Error::new(
                    ErrorCode::CheckpointCorrupt,
                    format!(
                        "the Kafka sink has already published batch {last} of this query and is asked for batch {batch}: \
                         the checkpoint was rolled back or copied"
                    ),
                ));
            }
            _ => {}
        }
        let marker = Marker {
            batch: Some(batch),
            attempt: Some(attempt),
            epoch: self.epoch,
            run: self.run,
            rows: staged.rows,
            digest: staged.digest.clone(),
        };
        self.commit(Some(staged), marker)
    }

    /// A new producer, the end of the last transaction, and the marker as it is after that.
    fn renew(&mut self) -> Result<()> {
        let millis = self.timeout.as_millis().to_string();
        let producer: TransactionalProducer = self.settings.create(
            &[
                ("linger.ms", "5"),
                ("batch.num.messages", "100000"),
                ("queue.buffering.max.messages", "1000000"),
                ("queue.buffering.max.kbytes", "262144"),
                // The same partition for a key as a Java producer picks, on every attempt.
                ("partitioner", "murmur2_random"),
                ("transaction.timeout.ms", millis.as_str()),
            ],
            &[("transactional.id", self.transactional_id.as_str()), ("delivery.report.only.error", "true")],
            &self.log,
        )?;
        let deadline = Instant::now() + INIT_TIMEOUT;
        loop {
            match producer.init_transactions(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
                Err(error) => {
                    producer.poll(Duration::ZERO);
                    return Err(self.log.error(
                        format_args!(
                            "Kafka sink: cannot initialise the transactional id {} on {}",
                            self.transactional_id,
                            self.settings.servers()
                        ),
                        &error,
                    ));
                }
            }
        }
        self.marker = self.read_marker()?;
        self.log.take_undelivered();
        self.producer = Some(producer);
        Ok(())
    }

    /// The marker, unless it belongs to a newer start of the query.
    fn read_marker(&self) -> Result<Option<Marker>> {
        let marker = self.progress.read(&self.control, &self.log, &self.query)?;
        match &marker {
            Some(found) if found.run != self.run && found.epoch >= self.epoch => Err(Error::new(
                ErrorCode::KafkaFenced,
                format!(
                    "query {} was taken over by run {} (epoch {}); this is run {} (epoch {}), and it stops. If that run \
                     is not yours, the checkpoint was copied or rolled back",
                    self.query, found.run, found.epoch, self.run, self.epoch
                ),
            )),
            _ => Ok(marker),
        }
    }

    /// Sends rows and marker in one transaction until the marker is there.
    fn commit(&mut self, staged: Option<&Staged>, marker: Marker) -> Result<()> {
        let mut attempt = 0;
        loop {
            let result = self.ready(&marker).and_then(|there| match there {
                true => Ok(()),
                false => self.transaction(staged, &marker),
            });
            let Err(failure) = result else {
                self.marker = Some(marker);
                return Ok(());
            };
            // Dropped before anything else is asked: nothing may be sent by this producer any more.
            self.producer = None;
            attempt += 1;
            match failure.kind {
                FailureKind::Lasting => return Err(failure.error),
                // A newer start has written its claim; initialising now would fence it in return.
                FailureKind::Fenced => self.marker = self.read_marker()?,
                FailureKind::Passing => {}
            }
            tracing::warn!(target: "tidemill::kafka", attempt, "{}", failure.error);
            if attempt >= ATTEMPTS {
                // The last attempt may have been committed all the same.
                return match self.ready(&marker) {
                    Ok(true) => {
                        self.marker = Some(marker);
                        Ok(())
                    }
                    _ => Err(failure.error),
                };
            }
        }
    }

    /// Makes sure of a producer; true if a new one has found the wanted marker in place.
    fn ready(&mut self, wanted: &Marker) -> Result<bool, Failure> {
        if self.producer.is_some() {
            return Ok(false);
        }
        self.renew().map_err(|error| {
            let lasting = error.code() != ErrorCode::Kafka;
            Failure { error, kind: if lasting { FailureKind::Lasting } else { FailureKind::Passing } }
        })?;
        Ok(self.marker.as_ref() == Some(wanted))
    }

    fn transaction(&self, staged: Option<&Staged>, marker: &Marker) -> Result<(), Failure> {
        let producer = self.producer.as_ref().ok_or_else(|| Error::internal("the Kafka sink has no producer"))?;
        let deadline = Instant::now() + self.timeout;
        producer.begin_transaction().map_err(|error| self.failure(producer, "begin a transaction", &error))?;
        if let Some(staged) = staged {
            staged.each(|record| self.send(producer, record, deadline))?;
        }
        let value = serde_json::to_vec(marker).map_err(|error| Error::internal(error.to_string()))?;
        let record = Record {
            topic: &self.progress.name,
            partition: Some(0),
            key: Some(self.query.as_bytes()),
            value: Some(&value),
            headers: Vec::new(),
        };
        self.send(producer, &record, deadline)?;
        let left = || deadline.saturating_duration_since(Instant::now());
        // Not `flush`: it looks only every 100 ms, and would be most of a small batch's time.
        while producer.in_flight_count() > 0 && Instant::now() < deadline {
            producer.poll(Duration::from_millis(1));
        }
        self.hit("kafka.sent");
        producer.commit_transaction(left()).map_err(|error| self.failure(producer, "commit a batch", &error))?;
        self.hit("kafka.committed");
        Ok(())
    }

    /// Puts a record into the client's queue, waiting while that is full.
    fn send(&self, producer: &TransactionalProducer, record: &Record<'_>, deadline: Instant) -> Result<(), Failure> {
        let mut waiting = BaseRecord::<[u8], [u8]>::to(record.topic);
        waiting.partition = record.partition;
        waiting.key = record.key;
        waiting.payload = record.value;
        waiting.headers = record.owned_headers();
        loop {
            match producer.send(waiting) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    waiting = back;
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(self.failure(producer, "send a batch", &error)),
            }
        }
    }

    /// Says what a client error means for the batch, and aborts where that is certain to be right.
    fn failure(&self, producer: &TransactionalProducer, what: &str, error: &KafkaError) -> Failure {
        producer.poll(Duration::ZERO);
        let undelivered = self.log.take_undelivered().map(KafkaError::MessageProduction);
        let error = undelivered.as_ref().unwrap_or(error);
        let code = error.rdkafka_error_code();
        let kind = match code {
            Some(code) if kafka::is_fencing(code) => FailureKind::Fenced,
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::InvalidRecord,
            ) => FailureKind::Lasting,
            _ => FailureKind::Passing,
        };
        if kind == FailureKind::Lasting {
            // Otherwise readers would wait behind the open transaction until it times out.
            if let Err(error) = producer.abort_transaction(kafka::CONNECT_TIMEOUT) {
                tracing::warn!(target: "tidemill::kafka", "cannot abort the transaction: {error}");
            }
        }
        let way_out = match code {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => "; raise the topic's max.message.bytes",
            _ => "",
        };
        let what = format!("Kafka sink: cannot {what} to {}{way_out}", self.settings.servers());
        Failure { error: self.log.error(what, error), kind }
    }

    fn hit(&self, point: &str) {
        if let Some(hook) = &self.hook {
            hook(point);
        }
    }
}
