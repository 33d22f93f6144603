//! What the Kafka tests share: brokers, plain clients beside the engine's, and small drivers for sources and sinks.

#[path = "../support/broker.rs"]
pub mod broker;
#[path = "../support/skip.rs"]
mod skip;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use broker::Broker;
use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidemill::Error;
use tidemill::sink::kafka::{Hook, KafkaSink};
use tidemill::sink::{OutputMode, Prepared, Sink, Writer};
use tidemill::source::kafka::KafkaSource;
use tidemill::source::{Chunk, Offset, Origin, ReadRequest, Source, SourceLog};
use uuid::Uuid;

pub const WAIT: Duration = Duration::from_secs(30);

/// The brokers under test: in this process, or those that the environment variable names.
pub struct Kafka {
    pub fake: Option<Broker>,
    pub bootstrap: String,
}

impl Kafka {
    pub fn start() -> Self {
        match std::env::var("TIDEMILL_KAFKA") {
            Ok(bootstrap) => Self { fake: None, bootstrap },
            Err(_) => {
                let broker = Broker::start(&[]).unwrap();
                Self { bootstrap: broker.bootstrap(), fake: Some(broker) }
            }
        }
    }

    /// The broker in this process; without one the caller has to say goodbye.
    pub fn faults(&self, test: &str) -> Option<&Broker> {
        if self.fake.is_none() {
            skip::skipped(test, "it needs the fault hooks of the broker in this process");
        }
        self.fake.as_ref()
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("broker.address.family", "v4");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// A new topic under a name that nobody used before.
    pub fn topic(&self, partitions: i32) -> String {
        let name = format!("t-{}", Uuid::new_v4().simple());
        self.named_topic(&name, partitions);
        name
    }

    /// A new topic under a name of the caller's.
    pub fn named_topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        let made = futures::executor::block_on(self.admin().create_topics([&topic], &options)).unwrap();
        made.into_iter().for_each(|result| assert_eq!(result.unwrap(), name));
        self.await_partitions(name, partitions as usize);
    }

    /// Deletes a topic and waits until nobody is told of it any more.
    pub fn delete_topic(&self, name: &str) {
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        let gone = futures::executor::block_on(self.admin().delete_topics(&[name], &options)).unwrap();
        gone.into_iter().for_each(|result| assert_eq!(result.unwrap(), name));
        let consumer: BaseConsumer = self.client().set("group.id", "tests").create().unwrap();
        while consumer.fetch_metadata(None, WAIT).unwrap().topics().iter().any(|topic| topic.name() == name) {}
    }

    /// Waits until the brokers tell everyone of a topic's partitions.
    fn await_partitions(&self, topic: &str, partitions: usize) {
        let consumer: BaseConsumer = self.client().set("group.id", "tests").create().unwrap();
        loop {
            let metadata = consumer.fetch_metadata(Some(topic), WAIT).unwrap();
            let led = |p: &rdkafka::metadata::MetadataPartition| p.error().is_none() && p.leader() >= 0;
            let found =
                metadata.topics().iter().map(|t| t.partitions().iter().filter(|p| led(p)).count()).sum::<usize>();
            if found == partitions {
                return;
            }
        }
    }

    pub fn add_partitions(&self, topic: &str, partitions: i32) {
        match &self.fake {
            Some(broker) => drop(broker.fake().add_partitions(topic, partitions)),
            None => {
                let more = NewPartitions::new(topic, partitions as usize);
                let options = AdminOptions::new().operation_timeout(Some(WAIT));
                futures::executor::block_on(self.admin().create_partitions([&more], &options)).unwrap();
                self.await_partitions(topic, partitions as usize);
            }
        }
    }

    pub fn remove_records_before(&self, topic: &str, partition: i32, offset: i64) {
        match &self.fake {
            Some(broker) => broker.remove_records_before(topic, partition, offset),
            None => {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(topic, partition, ClientOffset::Offset(offset)).unwrap();
                let options = AdminOptions::new().operation_timeout(Some(WAIT));
                futures::executor::block_on(self.admin().delete_records(&list, &options)).unwrap();
            }
        }
    }

    /// A transactional producer, initialised.
    pub fn transactional(&self, id: &str) -> BaseProducer {
        let producer: BaseProducer = self.client().set("transactional.id", id).create().unwrap();
        producer.init_transactions(WAIT).unwrap();
        producer
    }

    /// Writes values without a key.
    pub fn produce<T: AsRef<str>>(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = T>) {
        let producer: BaseProducer = self.client().set("queue.buffering.max.messages", "1000000").create().unwrap();
        for value in values {
            send(&producer, topic, partition, value.as_ref());
        }
        producer.flush(WAIT).unwrap();
    }

    /// Writes one record for each time, in milliseconds.
    pub fn produce_at(&self, topic: &str, partition: i32, times: &[i64]) {
        let producer: BaseProducer = self.client().create().unwrap();
        for millis in times {
            let value = millis.to_string();
            let record = BaseRecord::<str, str>::to(topic).partition(partition).payload(&value).timestamp(*millis);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(WAIT).unwrap();
    }

    /// Waits until the markers of every ended transaction are written: Kafka answers a commit before that, so that for a
    /// moment readers of committed records do not see it yet.
    pub fn settle(&self, topic: &str) {
        let ask = |isolation| -> BaseConsumer {
            self.client().set("group.id", "tests").set("isolation.level", isolation).create().unwrap()
        };
        let (stable, written) = (ask("read_committed"), ask("read_uncommitted"));
        let metadata = written.fetch_metadata(Some(topic), WAIT).unwrap();
        for partition in metadata.topics()[0].partitions().iter().map(|partition| partition.id()) {
            let (_, end) = written.fetch_watermarks(topic, partition, WAIT).unwrap();
            while stable.fetch_watermarks(topic, partition, WAIT).unwrap().1 < end {}
        }
    }

    /// Every record of a topic as partition, key and value, in order; with or without what is not committed.
    pub fn records(&self, topic: &str, isolation: &str) -> Vec<(i32, Option<String>, Option<String>)> {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "tests")
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), WAIT).unwrap();
        let mut open = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), ClientOffset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let mut records = Vec::new();
        while open > 0 {
            match consumer.poll(WAIT).expect("the end of each partition is reported") {
                Ok(record) => records.push((record.partition(), text(record.key()), text(record.payload()))),
                Err(KafkaError::PartitionEOF(_)) => open -= 1,
                Err(error) => panic!("{error}"),
            }
        }
        records.sort_by_key(|(partition, ..)| *partition);
        records
    }

    /// The values that a `read_committed` reader sees.
    pub fn committed(&self, topic: &str) -> Vec<String> {
        self.settle(topic);
        self.records(topic, "read_committed").into_iter().filter_map(|(_, _, value)| value).collect()
    }

    pub fn options(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut options: BTreeMap<String, String> =
            more.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        options.entry("kafka.bootstrap.servers".into()).or_insert(self.bootstrap.clone());
        options.insert("kafka.broker.address.family".into(), "v4".into());
        options
    }

    /// An open source of one topic.
    pub async fn source(&self, topic: &str, more: &[(&str, &str)]) -> KafkaSource {
        let options = self.options(&[&[("subscribe", topic), ("fetchOffset.retryIntervalMs", "1")], more].concat());
        let mut source = KafkaSource::new(&options).unwrap();
        open(&mut source).await.unwrap();
        source
    }

    /// An open sink of one topic.
    pub async fn sink(&self, topic: &str, writer: &Writer, hook: Option<Hook>) -> Result<KafkaSink, Error> {
        let mut sink = KafkaSink::new(&self.options(&[("topic", topic)]), hook)?;
        sink.open(writer).await?;
        Ok(sink)
    }
}

/// Puts a record into a producer's queue.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &str) {
    let record = BaseRecord::<str, str>::to(topic).partition(partition).payload(value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

/// Checks and opens a source, as a starting query does.
pub async fn open(source: &mut KafkaSource) -> Result<(), Error> {
    open_with(source, Arc::new(Log::default())).await
}

/// Checks and opens a source over the log that earlier starts of its query wrote.
pub async fn open_with(source: &mut KafkaSource, log: Arc<Log>) -> Result<(), Error> {
    source.check().await?;
    source.open(log).await
}

/// The log of a source, in memory.
#[derive(Default)]
pub struct Log(Mutex<BTreeMap<u64, Bytes>>);

#[async_trait::async_trait]
impl SourceLog for Log {
    async fn put(&self, index: u64, entry: Bytes) -> Result<(), Error> {
        assert_eq!(self.0.lock().unwrap().insert(index, entry), None, "entry {index} is written twice");
        Ok(())
    }

    async fn entries(&self) -> Result<Vec<(u64, Bytes)>, Error> {
        Ok(self.0.lock().unwrap().iter().map(|(index, entry)| (*index, entry.clone())).collect())
    }
}

/// A row that was read: partition, offset and value; chunks come in lists.
pub type Row = (i32, i64, String);

/// Reads a range whole, with every column, and checks that each row's origin says what the row says.
pub async fn read(
    source: &mut KafkaSource,
    start: &Offset,
    end: &Offset,
    chunk_bytes: usize,
) -> Result<Vec<Vec<Row>>, Error> {
    let projection: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut chunks = source.read(start, end, &ReadRequest { projection, chunk_bytes, stop: Arc::default() }).await?;
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next()? {
        let Chunk::Columns { batch, origin: Origin::Kafka { topic, partition, offsets } } = chunk else {
            panic!("a chunk that is not from Kafka")
        };
        let column = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
        assert_eq!(column.values(), &offsets[..]);
        assert!(
            batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>().iter().all(|p| p == Some(partition))
        );
        assert!(batch.column_by_name("topic").unwrap().as_string::<i32>().iter().all(|t| t == Some(&*topic)));
        let values = batch.column_by_name("value").unwrap().as_binary::<i32>();
        let row = |index| (partition, offsets[index], String::from_utf8(values.value(index).to_vec()).unwrap());
        all.push((0..batch.num_rows()).map(row).collect());
    }
    Ok(all)
}

/// The offsets of one partition that a range gives.
pub async fn offsets(source: &mut KafkaSource, start: &Offset, end: &Offset) -> Vec<i64> {
    read(source, start, end, 1 << 20).await.unwrap().concat().into_iter().map(|(_, offset, _)| offset).collect()
}

/// A start of a query.
pub fn writer(query_id: Uuid, epoch: u64, schema: &SchemaRef) -> Writer {
    Writer { query_id, run_id: Uuid::new_v4(), epoch, mode: OutputMode::Append, schema: schema.clone() }
}

/// Stages and publishes a batch.
pub async fn put(sink: &mut KafkaSink, batch: u64, rows: &RecordBatch) -> Result<Prepared, Error> {
    let prepared = stage(sink, batch, rows).await?;
    sink.publish(&prepared).await?;
    Ok(prepared)
}

/// Stages a batch.
pub async fn stage(sink: &mut KafkaSink, batch: u64, rows: &RecordBatch) -> Result<Prepared, Error> {
    let attempt = Uuid::new_v4();
    let payload = sink.stage(batch, attempt, std::slice::from_ref(rows)).await?;
    Ok(Prepared { batch, attempt, payload })
}
