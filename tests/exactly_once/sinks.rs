//! The outside world: rides into Kafka, results out of Kafka and Parquet.

use crate::oracle::{DriverRow, Ride};
use crate::pipelines::Settings;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("broker.address.family", "v4");
    config
}

/// Sends rides, in turn to each partition.
pub fn produce(settings: &Settings, partitions: i32, rides: &[Ride]) {
    let producer: BaseProducer = client(&settings.brokers).create().unwrap();
    for (number, ride) in rides.iter().enumerate() {
        let partition = ride.partition.unwrap_or(number as i32 % partitions);
        let value = ride.json();
        let record = BaseRecord::to(&settings.rides_topic).partition(partition).key("k").payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WAIT).unwrap();
}

/// Keys and values that a reader of committed records sees, in the order of each partition.
pub fn committed(brokers: &str, topic: &str) -> Vec<(String, serde_json::Value)> {
    let consumer: BaseConsumer = client(brokers)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).unwrap();
    let partitions = metadata.topics()[0].partitions();
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut open = partitions.len();
    let mut records = Vec::new();
    while open > 0 {
        match consumer.poll(WAIT).expect("the end of each partition is reported") {
            Ok(record) => {
                let key = String::from_utf8(record.key().unwrap().to_vec()).unwrap();
                records.push((key, serde_json::from_slice(record.payload().unwrap()).unwrap()));
            }
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => panic!("{error}"),
        }
    }
    records
}

/// The batches of every Parquet file, as any reader of the directory finds them.
pub fn batches(directory: &str) -> impl Iterator<Item = RecordBatch> {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    files.flat_map(|path| {
        let file = std::fs::File::open(path).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        reader.build().unwrap().map(|batch| batch.unwrap())
    })
}

/// The rows of the drivers' metrics.
pub fn drivers(directory: &str) -> Vec<DriverRow> {
    let mut rows = Vec::new();
    for batch in batches(directory) {
        let starts = batch.column(0).as_struct().column(0).as_primitive::<TimestampMicrosecondType>();
        let drivers = batch.column(1).as_string::<i32>();
        let means = batch.column(3).as_primitive::<Float64Type>();
        let int = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let mean = means.is_valid(row).then(|| means.value(row).to_bits());
            rows.push((starts.value(row) / 1_000_000, drivers.value(row).to_string(), int(2, row), mean, int(4, row)));
        }
    }
    rows
}
