//! A query that waits for brokers ends when it is told to.

use crate::support::broker::{ApiKey, Control};
use crate::support::*;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidemill::prelude::*;
use tidemill::source::{Admission, ReadRequest, Source};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_for_records_ends_without_an_error() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_read_that_waits_for_records_ends_without_an_error") else { return };
    broker.create_topic("t", 1);
    kafka.produce("t", 0, ["a", "b"]);
    let mut source = kafka.source("t", &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    source.stops_with(&stop);
    let request = ReadRequest { projection: vec![1], chunk_bytes: 1 << 20, stop: stop.clone() };
    broker.fake().on(ApiKey::Fetch, |_| Control::Silence);
    let mut chunks = source.read(&json!({"t": {"0": 0}}), &json!({"t": {"0": 2}}), &request).await.unwrap();
    let reading = tokio::task::spawn_blocking(move || chunks.next().map(|chunk| chunk.is_some()));
    assert!(broker.fake().wait_for_requests(ApiKey::Fetch, 1, WAIT).await);
    stop.store(true, Ordering::Relaxed);
    // If the flag were not seen, the read would fail when its patience ends.
    assert!(!reading.await.unwrap().unwrap(), "a chunk came from nowhere");

    // From here on brokers that do not answer at all cannot hold it either.
    broker.fake().on(ApiKey::Metadata, |_| Control::Silence);
    let start = json!({"t": {"0": 2}});
    assert_eq!(source.propose(&start, Admission::Limited).await.unwrap().end, start);
    let mut chunks = source.read(&json!({"t": {"0": 0}}), &json!({"t": {"0": 2}}), &request).await.unwrap();
    assert!(chunks.next().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_stops_in_the_middle_of_a_batch_and_reads_it_after_the_next_start() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_query_stops_in_the_middle_of_a_batch_and_reads_it_after_the_next_start") else {
        return;
    };
    broker.create_topic("t", 1);
    kafka.produce("t", 0, ["a", "b"]);
    let directory = tempfile::tempdir().unwrap();
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let start = async || {
        let lines = session
            .read_stream()
            .format("kafka")
            .option("kafka.bootstrap.servers", &kafka.bootstrap)
            .option("kafka.broker.address.family", "v4")
            .option("subscribe", "t")
            .option("startingOffsets", "earliest")
            .load()
            .await
            .unwrap()
            .select([col("value").cast("string").alias("line")])
            .unwrap();
        let writer = lines.write_stream().table(&table);
        writer.option("checkpointLocation", directory.path().to_str().unwrap()).start().await.unwrap()
    };
    broker.fake().on(ApiKey::Fetch, |_| Control::Silence);
    let query = start().await;
    assert!(broker.fake().wait_for_requests(ApiKey::Fetch, 1, WAIT).await);
    query.stop().await;
    assert!(query.exception().is_none());
    assert_eq!(table.concat().unwrap().num_rows(), 0);
    broker.fake().clear_hooks();
    let query = start().await;
    query.process_all_available().await.unwrap();
    query.stop().await;
    assert_eq!(table.concat().unwrap().num_rows(), 2);
}

/// The first look for offsets, before any batch has run.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_brokers_fall_silent_before_its_first_batch_stops() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_query_whose_brokers_fall_silent_before_its_first_batch_stops") else { return };
    broker.create_topic("t", 1);
    let mut source = kafka.source("t", &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    source.stops_with(&stop);
    let start = source.initial().await.unwrap();
    broker.fake().on(ApiKey::Metadata, |_| Control::Silence);
    let before = broker.fake().request_count(ApiKey::Metadata);
    let planning = tokio::spawn(async move {
        let proposal = source.propose(&start, Admission::Limited).await.unwrap();
        proposal.end == start
    });
    assert!(broker.fake().wait_for_requests(ApiKey::Metadata, before + 1, WAIT).await);
    stop.store(true, Ordering::Relaxed);
    // If the flag were not seen, the look would fail when its patience ends.
    assert!(planning.await.unwrap(), "offsets came from nowhere");
}
