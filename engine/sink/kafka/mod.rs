//! The exactly-once Kafka sink: a batch is one transaction, with the marker that remembers it.
//!
//! Comes in: rows with `value` and optionally `key`, `topic`, `partition`, `headers`. Goes out: records that readers with
//! `isolation.level=read_committed` see once, whatever was killed meanwhile. Fails: wrong options or schema, a missing
//! topic, a record that is too large, and [`ErrorCode::KafkaFenced`] when a newer start of the query has taken over.
//!
//! The transactional id is the same for every start of a query. `open` first initialises it, which ends whatever an
//! earlier start left open, and only then reads the marker: from there on nothing of that start can appear any more.

mod marker;
mod publish;
mod rows;

use super::{OutputMode, Prepared, Settled, Sink, Writer};
use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::kafka::{ClientSettings, Options, blocking};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use marker::DEFAULT_TOPIC;
use publish::Publisher;
use rows::{Layout, Staged};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A function that is called at named points of a publication, so that tests can stop there: `kafka.sent` after every
/// record has reached the brokers and before the commit, and `kafka.committed` after it.
pub type Hook = Arc<dyn Fn(&str) + Send + Sync>;

/// Publications of a query that runs continuously are numbered from here on: no batch comes so far.
const CONTINUOUS: u64 = 1 << 60;

const KNOWN: &str = "topic, progressTopic, includeHeaders";

/// Writes to Kafka, each batch in one transaction.
///
/// Options: `kafka.bootstrap.servers`; `topic`, unless the rows have a column of that name; `progressTopic`, the
/// compacted topic of the markers, `tidemill-progress` by default, made on demand; `kafka.transactional.id`, the prefix of
/// the transactional id `<prefix>.<query id>`, `tidemill` by default; any other `kafka.` option goes to librdkafka, Java's names
/// included. A column `headers` is always written, so that `includeHeaders` need not be given.
pub struct KafkaSink {
    settings: ClientSettings,
    topic: Option<Arc<str>>,
    progress_topic: String,
    id_prefix: String,
    hook: Option<Hook>,
    layout: Option<Layout>,
    /// Out while a blocking call has it; gone when such a call panicked.
    publisher: Option<Box<Publisher>>,
    staged: Option<(u64, Uuid, Arc<Staged>)>,
    /// The number of the last publication of a query that runs continuously.
    continuous: Option<u64>,
}

impl KafkaSink {
    /// A sink of these options; keys are compared without regard to case.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] naming the option that is missing, unknown or wrong.
    pub fn new(options: &BTreeMap<String, String>, hook: Option<Hook>) -> Result<Self> {
        let mut options = Options::new("Kafka sink", options)?;
        let mut settings = options.take_client(&[])?;
        let topic = options.take("topic");
        if topic.as_deref().is_some_and(|topic| topic.trim().is_empty()) {
            return Err(options.bad("topic", "", "the name of a topic"));
        }
        let progress_topic = options.take("progressTopic").unwrap_or_else(|| DEFAULT_TOPIC.into());
        if !options.take_bool("includeHeaders", true)? {
            return Err(options.bad(
                "includeHeaders",
                "false",
                "true, or left out: leave the column headers out instead",
            ));
        }
        options.finish(KNOWN)?;
        Ok(Self {
            id_prefix: settings.take("transactional.id").unwrap_or_else(|| "tidemill".into()),
            settings,
            topic: topic.map(Arc::from),
            progress_topic,
            hook,
            layout: None,
            publisher: None,
            staged: None,
            continuous: None,
        })
    }

    /// The number under which a publication is marked: the batch's, or in a query that runs continuously the next one, which
    /// is greater than those of every earlier start.
    fn number(&mut self, batch: u64) -> u64 {
        match &mut self.continuous {
            None => batch,
            Some(next) => {
                *next += 1;
                *next
            }
        }
    }

    /// Runs blocking work on the publisher.
    async fn with_publisher<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Publisher) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut publisher = self.publisher.take().ok_or_else(|| Error::internal("the Kafka sink is not open"))?;
        let (publisher, result) = blocking(move || {
            let result = work(&mut publisher);
            Ok((publisher, result))
        })
        .await?;
        self.publisher = Some(publisher);
        result
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn description(&self) -> String {
        match &self.topic {
            Some(topic) => format!("KafkaSink[{topic}]"),
            None => "KafkaSink[by column topic]".into(),
        }
    }

    async fn check(&mut self, _mode: OutputMode, schema: &SchemaRef) -> Result<()> {
        Layout::of(schema, self.topic.clone())?;
        let (settings, topic) = (self.settings.clone(), self.topic.clone());
        blocking(move || publish::check_reachable(&settings, topic.as_deref())).await
    }

    /// Every part of an epoch is a transaction of its own.
    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        self.continuous = Some(CONTINUOUS);
        Ok(())
    }

    async fn open(&mut self, writer: &Writer) -> Result<()> {
        let topic = self.topic.clone();
        self.layout = Some(Layout::of(&writer.schema, topic.clone())?);
        let mut publisher = Box::new(Publisher::new(
            self.settings.clone(),
            self.progress_topic.clone(),
            format!("{}.{}", self.id_prefix, writer.query_id),
            writer,
            self.hook.clone(),
        )?);
        let publisher = blocking(move || {
            if let Some(topic) = &topic {
                publisher.check(topic, None)?;
            }
            publisher.claim()?;
            Ok(publisher)
        })
        .await?;
        if self.continuous.is_some() {
            self.continuous = Some(CONTINUOUS + (writer.epoch << 32));
        } else if publisher.last().0.is_some_and(|last| last > CONTINUOUS) {
            return Err(Error::new(
                ErrorCode::CheckpointIncompatible,
                "this query has written to Kafka continuously, at least once, so its checkpoint cannot go on exactly once; \
                 go on with Trigger::continuous, or start a new checkpoint",
            ));
        }
        self.publisher = Some(publisher);
        Ok(())
    }

    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        let layout = self.layout.take().ok_or_else(|| Error::internal("the Kafka sink is not open"))?;
        let rows = rows.to_vec();
        let (layout, staged) = self
            .with_publisher(move |publisher| {
                let limit = publisher.max_record_bytes();
                let staged = Staged::new(&layout, &rows, limit, |topic, partition| publisher.check(topic, partition));
                Ok((layout, staged))
            })
            .await?;
        self.layout = Some(layout);
        let staged = staged?;
        let payload = json!({ "rows": staged.rows, "digest": staged.digest });
        self.staged = Some((batch, attempt, Arc::new(staged)));
        Ok(payload)
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        let staged = match &self.staged {
            Some((batch, attempt, staged)) if *batch == prepared.batch && *attempt == prepared.attempt => {
                staged.clone()
            }
            _ => {
                return Err(Error::internal(format!(
                    "the Kafka sink was asked to publish batch {}, attempt {}, and did not stage it",
                    prepared.batch, prepared.attempt
                )));
            }
        };
        // Without rows there is nothing that a second attempt could double, so the transaction is saved: after a crash
        // `settle` says Absent, and the batch runs again. Fencing is then left to the checkpoint's create-once commit.
        if staged.rows > 0 {
            let (batch, attempt) = (self.number(prepared.batch), prepared.attempt);
            self.with_publisher(move |publisher| publisher.publish(batch, attempt, &staged)).await?;
        }
        self.staged = None;
        Ok(())
    }

    async fn settle(&mut self, prepared: &Prepared) -> Result<Settled> {
        let (batch, attempt) = (prepared.batch, prepared.attempt);
        let (last, by) = self.with_publisher(|publisher| Ok(publisher.last())).await?;
        match last {
            // An epoch is logged after its rows were published.
            Some(last) if last > CONTINUOUS && self.continuous.is_some() => Ok(Settled::Published),
            Some(last) if last == batch && by == Some(attempt) => Ok(Settled::Published),
            // The same batch by another attempt is Absent: of several prepared attempts at most one was published, and it is
            // asked for as well. Should the checkpoint not know it, `publish` refuses the batch.
            Some(last) if last > batch => Err(Error::new(
                ErrorCode::CheckpointCorrupt,
                format!(
                    "the Kafka sink has published batch {last} of this query, and the checkpoint is about to run batch \
                     {batch}, attempt {attempt}: the checkpoint was rolled back or copied. Restore the newest one, or \
                     start a new checkpoint"
                ),
            )),
            _ => Ok(Settled::Absent),
        }
    }
}
