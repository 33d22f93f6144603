//! Whole queries over Kafka: what a person is told when records or topics are wrong.

use crate::support::{Kafka, WAIT};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemill::prelude::*;

async fn rides(kafka: &Kafka, topic: &str, options: &[(&str, &str)]) -> DataFrame {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let schema = "city STRING, fare DOUBLE";
    session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &kafka.bootstrap)
        .option("kafka.broker.address.family", "v4")
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
        .await
        .unwrap()
        .select([from_json_with(col("value").cast("string"), schema, options).alias("data")])
        .unwrap()
        .select(["data.*"])
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_fast_names_topic_partition_and_offset() {
    let kafka = Kafka::start();
    let topic = kafka.topic(2);
    kafka.produce(&topic, 0, [r#"{"city":"sf","fare":1.5}"#]);
    kafka.produce(&topic, 1, [r#"{"city":"sf","fare":1.5}"#, r#"{"city":"la"}"#, "not json"]);
    let table = MemoryTable::new(Some("out")).unwrap();
    let strict = rides(&kafka, &topic, &[("mode", "FAILFAST")]).await;
    let query = strict.write_stream().trigger(Trigger::AvailableNow).table(&table).start().await.unwrap();
    let error = query.await_termination().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StreamFailed);
    let place = format!("[MALFORMED_RECORD_IN_PARSING] malformed record at topic {topic}, partition 1, offset 2:");
    assert!(error.message().contains(&place), "{error}");

    let lenient = rides(&kafka, &topic, &[]).await;
    let query = lenient.write_stream().trigger(Trigger::AvailableNow).table(&table).start().await.unwrap();
    query.await_termination().await.unwrap();
    let progress = query.last_progress().unwrap();
    assert_eq!((progress.num_input_rows, progress.malformed_records), (4, 1));
    assert_eq!(table.concat().unwrap().num_rows(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_topics_are_refused_before_anything_is_written() {
    let kafka = Kafka::start();
    let topic = kafka.topic(1);
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint");
    let start = |frame: DataFrame, output: &str| {
        frame
            .select([col("city").alias("value")])
            .unwrap()
            .write_stream()
            .format("kafka")
            .option("kafka.bootstrap.servers", &kafka.bootstrap)
            .option("kafka.broker.address.family", "v4")
            .option("topic", output)
            .option("checkpointLocation", checkpoint.to_str().unwrap())
            .start()
    };
    let error = start(rides(&kafka, "no-such-input", &[]).await, &topic).await.err().unwrap();
    assert!(error.message().contains("no-such-input"), "{error}");
    let error = start(rides(&kafka, &topic, &[]).await, "no-such-output").await.err().unwrap();
    assert!(error.message().contains("no-such-output"), "{error}");
    assert!(!checkpoint.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_pass_from_topic_to_topic() {
    let kafka = Kafka::start();
    let (input, output) = (kafka.topic(1), kafka.topic(1));
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &kafka.bootstrap).set("broker.address.family", "v4");
    let producer: BaseProducer = client.create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("abc") })
        .insert(Header { key: "empty", value: None::<&str> });
    let record = BaseRecord::to(&input).key("k").payload("with").headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.send(BaseRecord::to(&input).key("k").payload("without")).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let query = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &kafka.bootstrap)
        .option("kafka.broker.address.family", "v4")
        .option("subscribe", &input)
        .option("startingOffsets", "earliest")
        .option("includeHeaders", true)
        .load()
        .await
        .unwrap()
        .select(["key", "value", "headers"])
        .unwrap()
        .write_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &kafka.bootstrap)
        .option("kafka.broker.address.family", "v4")
        .option("topic", &output)
        .option("checkpointLocation", directory.path().join("checkpoint").to_str().unwrap())
        .trigger(Trigger::AvailableNow)
        .start()
        .await
        .unwrap();
    query.await_termination().await.unwrap();

    kafka.settle(&output);
    let reader: BaseConsumer =
        client.set("group.id", "reader").set("isolation.level", "read_committed").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&output, 0, Offset::Beginning).unwrap();
    reader.assign(&list).unwrap();
    let mut found = Vec::new();
    for _ in 0..2 {
        let record = reader.poll(WAIT).expect("two records were written").unwrap();
        let headers: Vec<(String, Option<Vec<u8>>)> = record
            .headers()
            .map(|h| h.iter().map(|h| (h.key.to_string(), h.value.map(<[u8]>::to_vec))).collect())
            .unwrap_or_default();
        found.push((String::from_utf8(record.payload().unwrap().to_vec()).unwrap(), headers));
    }
    let expected = [
        ("with".to_string(), vec![("trace".to_string(), Some(b"abc".to_vec())), ("empty".to_string(), None)]),
        ("without".to_string(), vec![]),
    ];
    assert_eq!(found, expected);
}

/// Rows go from topic to topic as they arrive, in transactions of their own; what was written so cannot be gone on with
/// exactly once, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn continuous_from_topic_to_topic() {
    let kafka = Kafka::start();
    let (input, output) = (kafka.topic(1), kafka.topic(1));
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint");
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let start = async |trigger: Trigger| {
        let frame = session.read_stream().format("kafka").option("kafka.bootstrap.servers", &kafka.bootstrap);
        let frame = frame.option("kafka.broker.address.family", "v4").option("subscribe", &input);
        let frame = frame.option("startingOffsets", "earliest").load().await.unwrap();
        let frame = frame.select(["key", "value"]).unwrap();
        let writer = frame.write_stream().format("kafka").option("kafka.bootstrap.servers", &kafka.bootstrap);
        let writer = writer.option("kafka.broker.address.family", "v4").option("topic", &output).trigger(trigger);
        writer.option("checkpointLocation", checkpoint.to_str().unwrap()).start().await
    };
    let continuous = || Trigger::continuous("100000 days").unwrap();
    let query = start(continuous()).await.unwrap();
    kafka.produce(&input, 0, ["a", "b"]);
    query.process_all_available().await.unwrap();
    kafka.produce(&input, 0, ["c"]);
    query.process_all_available().await.unwrap();
    kafka.settle(&output);
    assert_eq!(kafka.committed(&output), ["a", "b", "c"]);
    let progress = query.last_progress().unwrap();
    assert_eq!((progress.batch_id, progress.num_input_rows), (1, 1));
    query.stop().await;
    let again = start(continuous()).await.unwrap();
    kafka.produce(&input, 0, ["d"]);
    again.process_all_available().await.unwrap();
    again.stop().await;
    kafka.settle(&output);
    assert_eq!((again.id(), kafka.committed(&output)), (query.id(), ["a", "b", "c", "d"].map(String::from).to_vec()));
    let error = start(Trigger::AvailableNow).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointIncompatible, "{error}");
}
