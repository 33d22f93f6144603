//! Whole queries over Kafka: what a person is told when records or topics are wrong.

use crate::support::Kafka;
use tidemill::prelude::*;

async fn rides(kafka: &Kafka, topic: &str, options: &[(&str, &str)]) -> StreamFrame {
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
    let start = |frame: StreamFrame, output: &str| {
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
