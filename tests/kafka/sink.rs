//! What the sink promises: all of a batch or nothing, once, for readers of committed records.

use crate::support::broker::{ApiKey, Control};
use crate::support::*;
use arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray};
use rdkafka::producer::Producer;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tidemill::ErrorCode;
use tidemill::sink::kafka::{Hook, KafkaSink};
use tidemill::sink::{Settled, Sink};
use uuid::Uuid;

/// Rows with a value each.
fn rows(values: &[&str]) -> RecordBatch {
    let values: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("value", values, true)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_appear_with_the_publication_and_not_before() {
    let kafka = Kafka::start();
    let topic = kafka.topic(2);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("key", Arc::new(StringArray::from(vec![Some("k"), None])) as ArrayRef, true),
        ("value", Arc::new(BinaryArray::from(vec![Some(&b"v"[..]), None])) as ArrayRef, true),
        ("partition", Arc::new(Int32Array::from(vec![Some(0), Some(1)])) as ArrayRef, true),
        ("topic", Arc::new(StringArray::from(vec![topic.as_str(); 2])) as ArrayRef, true),
    ])
    .unwrap();
    let mut sink = KafkaSink::new(&kafka.options(&[]), None).unwrap();
    sink.open(&writer(Uuid::new_v4(), 1, &batch.schema())).await.unwrap();
    let prepared = stage(&mut sink, 0, &batch).await.unwrap();
    assert_eq!(prepared.payload["rows"], 2);
    assert_eq!(prepared.payload["digest"].as_str().unwrap().len(), 32);
    assert_eq!(kafka.records(&topic, "read_uncommitted"), []);
    sink.publish(&prepared).await.unwrap();
    kafka.settle(&topic);
    let expected = [(0, Some("k".to_owned()), Some("v".to_owned())), (1, None, None)];
    assert_eq!(kafka.records(&topic, "read_committed"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_commit_leaves_nothing() {
    let kafka = Kafka::start();
    let (topic, query, batch) = (kafka.topic(1), Uuid::new_v4(), rows(&["a", "b"]));
    // The claim that `open` writes is a transaction too; only the batch's own is to be interrupted.
    let seen = AtomicU32::new(0);
    let hook: Hook = Arc::new(move |at| {
        let batch = at == "kafka.sent" && seen.fetch_add(1, Ordering::Relaxed) == 1;
        assert!(!batch, "the process ends here");
    });
    let mut sink = kafka.sink(&topic, &writer(query, 1, &batch.schema()), Some(hook)).await.unwrap();
    let prepared = stage(&mut sink, 0, &batch).await.unwrap();
    sink.publish(&prepared).await.unwrap_err();
    drop(sink);
    assert_eq!(kafka.records(&topic, "read_uncommitted").len(), 2, "the records did reach the broker");

    let mut restarted = kafka.sink(&topic, &writer(query, 2, &batch.schema()), None).await.unwrap();
    assert_eq!(restarted.settle(&prepared).await.unwrap(), Settled::Absent);
    assert_eq!(kafka.committed(&topic), Vec::<String>::new());
    put(&mut restarted, 0, &rows(&["c"])).await.unwrap();
    assert_eq!(kafka.committed(&topic), ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_commit_is_settled_as_published() {
    let kafka = Kafka::start();
    let (topic, query, batch) = (kafka.topic(1), Uuid::new_v4(), rows(&["a"]));
    let mut first = kafka.sink(&topic, &writer(query, 1, &batch.schema()), None).await.unwrap();
    put(&mut first, 0, &rows(&["zero"])).await.unwrap();
    drop(first);
    let seen = AtomicU32::new(0);
    let hook: Hook = Arc::new(move |at| {
        let batch = at == "kafka.committed" && seen.fetch_add(1, Ordering::Relaxed) == 1;
        assert!(!batch, "the process ends here");
    });
    let mut sink = kafka.sink(&topic, &writer(query, 2, &batch.schema()), Some(hook)).await.unwrap();
    let prepared = stage(&mut sink, 1, &batch).await.unwrap();
    sink.publish(&prepared).await.unwrap_err();
    drop(sink);

    // Twice, because a restart may crash as well; the marker stays.
    for epoch in [3, 4] {
        let mut restarted = kafka.sink(&topic, &writer(query, epoch, &batch.schema()), None).await.unwrap();
        assert_eq!(restarted.settle(&prepared).await.unwrap(), Settled::Published);
        let mut next = prepared.clone();
        (next.batch, next.attempt) = (2, Uuid::new_v4());
        assert_eq!(restarted.settle(&next).await.unwrap(), Settled::Absent);
        // Batch 0: the checkpoint is older than the output.
        (next.batch, next.attempt) = (0, prepared.attempt);
        let error = restarted.settle(&next).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
        assert!(error.message().contains("has published batch 1 of this query"), "{error}");
        // Another attempt of batch 1 is not the one that was published, and cannot be published any more.
        (next.batch, next.attempt) = (1, Uuid::new_v4());
        assert_eq!(restarted.settle(&next).await.unwrap(), Settled::Absent);
        let again = stage(&mut restarted, 1, &batch).await.unwrap();
        let error = restarted.publish(&again).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
        assert!(error.message().contains("has already published batch 1"), "{error}");
    }
    assert_eq!(kafka.committed(&topic), ["zero", "a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_commit_whose_answer_is_lost_is_not_repeated") else { return };
    broker.create_topic("t", 1);
    let batch = rows(&["a", "b"]);
    let mut sink = kafka.sink("t", &writer(Uuid::new_v4(), 1, &batch.schema()), None).await.unwrap();
    let lost = [
        Control::Disconnect,
        // The two ways in which a broker says that the producer is too old; here after it has committed.
        Control::Error(krafka::error::ErrorCode::InvalidProducerEpoch),
        Control::Error(krafka::error::ErrorCode::ProducerFenced),
    ];
    for (number, answer) in lost.into_iter().enumerate() {
        broker.fake().on_once(ApiKey::EndTxn, move |_| Control::ApplyThen(Box::new(answer.clone())));
        put(&mut sink, number as u64, &batch).await.unwrap();
    }
    assert_eq!(kafka.committed("t"), ["a", "b", "a", "b", "a", "b"]);
    assert_eq!(kafka.records("t", "read_uncommitted").len(), 6, "nothing was sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_brokers_gave_up_is_sent_again_once() {
    let kafka = Kafka::start();
    let Some(_) = kafka.faults("a_transaction_that_the_brokers_gave_up_is_sent_again_once") else { return };
    let kafka = Arc::new(kafka);
    let (topic, query, batch) = (kafka.topic(1), Uuid::new_v4(), rows(&["a"]));
    let (other, seen) = (kafka.clone(), AtomicU32::new(0));
    let hook: Hook = Arc::new(move |at| {
        if at == "kafka.sent" && seen.fetch_add(1, Ordering::Relaxed) == 1 {
            // As on a time-out: the transaction is aborted and the producer's epoch raised.
            let fake = other.fake.as_ref().unwrap().fake();
            assert!(fake.abort_transaction(&format!("tidemill.{query}")));
        }
    });
    let mut sink = kafka.sink(&topic, &writer(query, 1, &batch.schema()), Some(hook)).await.unwrap();
    put(&mut sink, 0, &batch).await.unwrap();
    assert_eq!(kafka.committed(&topic), ["a"]);
    assert_eq!(kafka.records(&topic, "read_uncommitted").len(), 2, "one copy was aborted");
    put(&mut sink, 1, &rows(&["b"])).await.unwrap();
    assert_eq!(kafka.committed(&topic), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_does_not_tear_a_batch() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_broken_connection_does_not_tear_a_batch") else { return };
    broker.create_topic("t", 2);
    let batch = rows(&["a", "b", "c", "d"]);
    let mut sink = kafka.sink("t", &writer(Uuid::new_v4(), 1, &batch.schema()), None).await.unwrap();
    for (number, api) in [ApiKey::Produce, ApiKey::AddPartitionsToTxn, ApiKey::EndTxn].into_iter().enumerate() {
        broker.fake().on_once(api, |_| Control::Disconnect);
        put(&mut sink, number as u64, &batch).await.unwrap();
        let mut values = kafka.committed("t");
        values.sort();
        let copies = number + 1;
        let expected: Vec<&str> =
            ["a", "b", "c", "d"].into_iter().flat_map(|v| std::iter::repeat_n(v, copies)).collect();
        assert_eq!(values, expected, "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_writers_wins() {
    let kafka = Kafka::start();
    let (topic, query, batch) = (kafka.topic(1), Uuid::new_v4(), rows(&["old"]));
    let old_writer = writer(query, 1, &batch.schema());
    let mut old = kafka.sink(&topic, &old_writer, None).await.unwrap();
    put(&mut old, 0, &rows(&["zero"])).await.unwrap();
    let prepared = stage(&mut old, 1, &batch).await.unwrap();
    let new_writer = writer(query, 2, &batch.schema());
    let mut new = kafka.sink(&topic, &new_writer, None).await.unwrap();
    for _ in 0..2 {
        let error = old.publish(&prepared).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::KafkaFenced, "{error}");
        let runs = [new_writer.run_id, old_writer.run_id].map(|run| run.to_string());
        assert!(runs.iter().all(|run| error.message().contains(run)), "{error}");
    }
    put(&mut new, 1, &rows(&["new"])).await.unwrap();
    assert_eq!(kafka.committed(&topic), ["zero", "new"]);
    // Nor can the old one come back, or a copy of the checkpoint that counts the same epoch.
    for epoch in [1, 2] {
        let error = kafka.sink(&topic, &writer(query, epoch, &batch.schema()), None).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::KafkaFenced, "{error}");
    }
    put(&mut new, 2, &rows(&["still"])).await.unwrap();
    assert_eq!(kafka.committed(&topic), ["zero", "new", "still"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_behind_the_open_transaction_of_another_query_is_found() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_marker_behind_the_open_transaction_of_another_query_is_found") else { return };
    broker.create_topic("t", 1);
    broker.create_topic("tidemill-progress", 1);
    let foreign = kafka.transactional("foreign");
    foreign.begin_transaction().unwrap();
    let (query, batch) = (Uuid::new_v4(), rows(&["a"]));
    let mut sink = kafka.sink("t", &writer(query, 1, &batch.schema()), None).await.unwrap();
    send(&foreign, "tidemill-progress", 0, "{}");
    foreign.flush(WAIT).unwrap();
    let prepared = put(&mut sink, 0, &batch).await.unwrap();
    drop(sink);
    // The restart reads the marker while the foreign transaction still hides it, and has to wait for that.
    let asked = broker.fake().request_count(ApiKey::ListOffsets);
    let options = kafka.options(&[("topic", "t")]);
    let restart = tokio::spawn(async move {
        let mut sink = KafkaSink::new(&options, None).unwrap();
        sink.open(&writer(query, 2, &rows(&[]).schema())).await.unwrap();
        sink.settle(&prepared).await.unwrap()
    });
    assert!(broker.fake().wait_for_requests(ApiKey::ListOffsets, asked + 8, WAIT).await);
    foreign.abort_transaction(WAIT).unwrap();
    assert_eq!(restart.await.unwrap(), Settled::Published);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_costs_no_transaction() {
    let kafka = Kafka::start();
    let (topic, query, batch) = (kafka.topic(1), Uuid::new_v4(), rows(&[]));
    let hook: Hook = {
        let seen = AtomicU32::new(0);
        Arc::new(move |at| assert!(at != "kafka.sent" || seen.fetch_add(1, Ordering::Relaxed) == 0, "a transaction"))
    };
    let mut sink = kafka.sink(&topic, &writer(query, 1, &batch.schema()), Some(hook)).await.unwrap();
    let prepared = put(&mut sink, 0, &batch).await.unwrap();
    assert_eq!(prepared.payload["rows"], 0);
    let mut restarted = kafka.sink(&topic, &writer(query, 2, &batch.schema()), None).await.unwrap();
    assert_eq!(restarted.settle(&prepared).await.unwrap(), Settled::Absent);
    put(&mut restarted, 1, &rows(&["a"])).await.unwrap();
    assert_eq!(kafka.committed(&topic), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused_before_a_transaction() {
    let kafka = Kafka::start();
    let (topic, batch) = (kafka.topic(1), rows(&["a"]));
    let servers = &kafka.bootstrap;
    let error = kafka.sink("nowhere", &writer(Uuid::new_v4(), 1, &batch.schema()), None).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "[KAFKA] Kafka sink: topic nowhere does not exist on {servers}; create it first, output topics are never \
             created here"
        )
    );
    let columns: Vec<(&str, ArrayRef)> =
        vec![("value", Arc::new(StringArray::from(vec!["v"]))), ("partition", Arc::new(Int32Array::from(vec![7])))];
    let misplaced = RecordBatch::try_from_iter(columns).unwrap();
    let mut sink = kafka.sink(&topic, &writer(Uuid::new_v4(), 1, &misplaced.schema()), None).await.unwrap();
    let error = stage(&mut sink, 0, &misplaced).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("[KAFKA] Kafka sink: topic {topic} has 1 partitions, and a row asks for partition 7")
    );
    let mut sink = kafka.sink(&topic, &writer(Uuid::new_v4(), 1, &batch.schema()), None).await.unwrap();
    let large = "x".repeat(1_000_001);
    let error = stage(&mut sink, 0, &rows(&["small", &large])).await.unwrap_err();
    assert!(error.message().contains("has 1000001 bytes, more than the 1000000 of kafka.message.max.bytes"), "{error}");
    put(&mut sink, 0, &batch).await.unwrap();
    assert_eq!(kafka.committed(&topic), ["a"], "a refused batch does not spoil the sink");
    KafkaSink::new(&kafka.options(&[("includeHeaders", "true")]), None).unwrap();
    for (option, value, part) in [
        ("tpoic", "x", "option tpoic is unknown"),
        ("includeHeaders", "x", "option includeHeaders must be true or false, not 'x'"),
        ("includeHeaders", "false", "leave the column headers out instead"),
        ("kafka.value.serializer", "x", "values are written as bytes; cast the value column instead"),
        ("kafka.partitioner.class", "x", "choose another with kafka.partitioner"),
        ("kafka.ssl.truststore.location", "/trust.jks", "counts as a JKS store, which only Java reads"),
    ] {
        let error = KafkaSink::new(&kafka.options(&[(option, value)]), None).err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption);
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_to_the_partitions_that_java_producers_choose() {
    let kafka = Kafka::start();
    let topic = kafka.topic(10);
    // Java's murmur2 of these keys, as Kafka's own tests list them.
    let keys = [
        ("21", -973932308i32),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ];
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(keys.map(|(key, _)| key)));
    let batch = RecordBatch::try_from_iter([("key", names.clone()), ("value", names)]).unwrap();
    let mut sink = kafka.sink(&topic, &writer(Uuid::new_v4(), 1, &batch.schema()), None).await.unwrap();
    put(&mut sink, 0, &batch).await.unwrap();
    let mut expected: Vec<(i32, Option<String>)> =
        keys.iter().map(|(key, hash)| ((hash & i32::MAX) % 10, Some(key.to_string()))).collect();
    expected.sort();
    kafka.settle(&topic);
    let mut found: Vec<(i32, Option<String>)> =
        kafka.records(&topic, "read_committed").into_iter().map(|(partition, key, _)| (partition, key)).collect();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_progress_topic_names_the_way_out() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_refused_progress_topic_names_the_way_out") else { return };
    broker.create_topic("t", 1);
    let refusal = Control::Error(krafka::error::ErrorCode::TopicAuthorizationFailed);
    broker.fake().on_once(ApiKey::CreateTopics, move |_| refusal.clone());
    let error = kafka.sink("t", &writer(Uuid::new_v4(), 1, &rows(&[]).schema()), None).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::Kafka);
    assert!(error.message().contains("cannot create the progress topic tidemill-progress on"), "{error}");
    assert!(error.message().contains("cleanup.policy=compact, and allow this user"), "{error}");
}
