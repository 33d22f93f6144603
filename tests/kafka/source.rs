//! What the source reads: exact ranges, starting offsets, limits, and losses.

use crate::support::broker::{ApiKey, Control};
use crate::support::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::json;
use std::sync::Arc;
use tidemill::ErrorCode;
use tidemill::source::kafka::KafkaSource;
use tidemill::source::{Admission, Chunk, ReadRequest, Source};

/// A topic whose only partition holds committed records at 0-2 and 7-8, aborted ones at 4-5, and markers at 3, 6 and 9.
fn topic_with_holes(kafka: &Kafka) -> String {
    let topic = kafka.topic(1);
    let producer = kafka.transactional(&topic);
    for (values, commit) in [(vec!["a", "b", "c"], true), (vec!["x", "y"], false), (vec!["d", "e"], true)] {
        producer.begin_transaction().unwrap();
        values.into_iter().for_each(|value| send(&producer, &topic, 0, value));
        producer.flush(WAIT).unwrap();
        match commit {
            true => producer.commit_transaction(WAIT).unwrap(),
            false => producer.abort_transaction(WAIT).unwrap(),
        }
    }
    kafka.settle(&topic);
    topic
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_range_gives_its_committed_records_every_time() {
    let kafka = Kafka::start();
    let topic = topic_with_holes(&kafka);
    let at = |offset: i64| json!({ topic.as_str(): { "0": offset } });
    let mut source = kafka.source(&topic, &[("startingOffsets", "earliest")]).await;
    assert_eq!(source.initial().await.unwrap(), at(0));
    let proposal = source.propose(&at(0), Admission::Limited).await.unwrap();
    assert_eq!((proposal.end, proposal.latest), (at(10), at(10)));
    for (start, end, expected) in [
        (0, 10, vec![0, 1, 2, 7, 8]),
        (0, 10, vec![0, 1, 2, 7, 8]),
        // In steps, which go on with one consumer.
        (0, 2, vec![0, 1]),
        (2, 3, vec![2]),
        (3, 4, vec![]),
        (4, 6, vec![]),
        (6, 8, vec![7]),
        (8, 9, vec![8]),
        (9, 10, vec![]),
        (10, 10, vec![]),
        // And back.
        (2, 8, vec![2, 7]),
    ] {
        assert_eq!(offsets(&mut source, &at(start), &at(end)).await, expected, "{start}..{end}");
    }
    // A second source, as after a restart, reads a logged range without a proposal.
    let mut restarted = kafka.source(&topic, &[]).await;
    let rows = read(&mut restarted, &at(1), &at(9), 1).await.unwrap();
    let row = |offset, value: &str| vec![(0, offset, value.to_owned())];
    assert_eq!(rows, [row(1, "b"), row(2, "c"), row(7, "d"), row(8, "e")]);
    // Rows that come later are read by the consumer that has waited at the end.
    assert_eq!(offsets(&mut source, &at(8), &at(10)).await, [8]);
    kafka.produce(&topic, 0, ["f", "g"]);
    let proposal = source.propose(&at(10), Admission::Limited).await.unwrap();
    assert_eq!(proposal.end, at(12));
    assert_eq!(offsets(&mut source, &at(10), &at(12)).await, [10, 11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_runs_of_one_partition_and_the_same_when_read_again() {
    let kafka = Kafka::start();
    let topic = kafka.topic(2);
    for partition in 0..2 {
        kafka.produce(&topic, partition, (0..50).map(|i| format!("{partition}-{i:0>98}")));
    }
    let mut source = kafka.source(&topic, &[]).await;
    let (start, end) = (json!({ topic.as_str(): {"0": 5, "1": 0} }), json!({ topic.as_str(): {"0": 40, "1": 50} }));
    let chunks = read(&mut source, &start, &end, 1_000).await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 8), "132 bytes a row fill a chunk with the eighth");
    let mut rows = chunks.concat();
    rows.sort();
    let expected: Vec<Row> = [(0, 5..40), (1, 0..50)]
        .into_iter()
        .flat_map(|(p, range)| range.map(move |i: i64| (p, i, format!("{p}-{i:0>98}"))))
        .collect();
    assert_eq!(rows, expected);
    let mut again = kafka.source(&topic, &[]).await;
    assert_eq!(read(&mut again, &start, &end, 1_000).await.unwrap(), chunks);
    let lag = |source: &KafkaSource| source.metrics();
    source.propose(&end, Admission::Limited).await.unwrap();
    assert_eq!(
        serde_json::Value::from(lag(&source)),
        json!({"avgOffsetsBehindLatest": "5.0", "maxOffsetsBehindLatest": "10", "minOffsetsBehindLatest": "0"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_sparks_and_only_those_asked_for() {
    let kafka = Kafka::start();
    let topic = kafka.topic(1);
    let producer = kafka.transactional(&topic);
    producer.begin_transaction().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "h", value: Some("1") })
        .insert(Header { key: "none", value: None::<&str> });
    let record = BaseRecord::<str, str>::to(&topic).key("k").payload("v").timestamp(1_500).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    let record = BaseRecord::<str, str>::to(&topic).timestamp(2_500);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.commit_transaction(WAIT).unwrap();
    kafka.settle(&topic);

    let mut source = kafka.source(&topic, &[("includeHeaders", "true")]).await;
    let names: Vec<String> = source.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["key", "value", "topic", "partition", "offset", "timestamp", "timestampType", "headers"]);
    let (start, end) = (json!({ topic.as_str(): {"0": 0} }), json!({ topic.as_str(): {"0": 2} }));
    let mut next = async |projection: Vec<usize>| {
        let request = ReadRequest { projection, chunk_bytes: 1 << 20, stop: Arc::default() };
        let mut chunks = source.read(&start, &end, &request).await.unwrap();
        let Some(Chunk::Columns { batch, .. }) = chunks.next().unwrap() else { panic!("no chunk") };
        assert!(chunks.next().unwrap().is_none());
        batch
    };
    let batch = next(vec![0, 1, 5, 6, 7]).await;
    let bytes = |column: usize| batch.column(column).as_binary::<i32>().iter().collect::<Vec<_>>();
    assert_eq!(bytes(0), [Some(&b"k"[..]), None]);
    assert_eq!(bytes(1), [Some(&b"v"[..]), None]);
    let timestamps = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    assert_eq!((timestamps.values().to_vec(), timestamps.timezone()), (vec![1_500_000, 2_500_000], Some("UTC")));
    assert_eq!(batch.column(3).as_primitive::<Int32Type>().values().to_vec(), [0, 0]);
    let headers = batch.column(4).as_list::<i32>();
    assert!(headers.is_null(1));
    let first = headers.value(0);
    let entries = first.as_struct();
    assert_eq!(entries.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("h"), Some("none")]);
    assert_eq!(entries.column(1).as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"1"[..]), None]);
    let counted = next(vec![]).await;
    assert_eq!((counted.num_columns(), counted.num_rows()), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_offsets_are_resolved_once() {
    let kafka = Kafka::start();
    let topic = kafka.topic(2);
    kafka.produce(&topic, 0, ["a", "b", "c"]);
    kafka.produce(&topic, 1, ["d", "e"]);
    kafka.remove_records_before(&topic, 1, 0);
    let json_form = json!({ topic.as_str(): {"0": -1, "1": 1} }).to_string();
    let mixed_form = json!({ topic.as_str(): {"0": 2, "1": -2} }).to_string();
    for (option, expected) in
        [("earliest", [0, 0]), ("latest", [3, 2]), (json_form.as_str(), [3, 1]), (mixed_form.as_str(), [2, 0])]
    {
        let mut source = kafka.source(&topic, &[("startingOffsets", option)]).await;
        let initial = source.initial().await.unwrap();
        assert_eq!(initial, json!({ topic.as_str(): {"0": expected[0], "1": expected[1]} }), "{option}");
    }
    let mut latest = kafka.source(&topic, &[]).await;
    assert_eq!(latest.initial().await.unwrap(), json!({ topic.as_str(): {"0": 3, "1": 2} }));
    let partial = json!({ topic.as_str(): {"0": 1} }).to_string();
    let mut source = kafka.source(&topic, &[("startingOffsets", &partial)]).await;
    let error = source.initial().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidOption);
    assert!(error.message().contains(&format!("option startingOffsets does not name {topic}-1;")), "{error}");

    let options = kafka.options(&[("assign", &json!({ topic.as_str(): [1] }).to_string())]);
    let mut assigned = KafkaSource::new(&options).unwrap();
    open(&mut assigned).await.unwrap();
    assert_eq!(assigned.initial().await.unwrap(), json!({ topic.as_str(): {"1": 2} }));
    assert_eq!(assigned.description(), format!("KafkaV2[Assign[{topic}-1]]"));
    assert_eq!(latest.description(), format!("KafkaV2[Subscribe[{topic}]]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_end_at_the_first_start_even_if_no_batch_was_logged() {
    let kafka = Kafka::start();
    let topic = kafka.topic(1);
    kafka.produce(&topic, 0, ["before"]);
    let log = Arc::new(Log::default());
    for round in ["first start", "restart"] {
        let mut source = KafkaSource::new(&kafka.options(&[("subscribe", &topic)])).unwrap();
        open_with(&mut source, log.clone()).await.unwrap();
        assert_eq!(source.initial().await.unwrap(), json!({ topic.as_str(): {"0": 1} }), "{round}");
        kafka.produce(&topic, 0, ["after"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_is_read_from_its_beginning() {
    let kafka = Kafka::start();
    let topic = kafka.topic(1);
    kafka.produce(&topic, 0, ["a"]);
    let mut source = kafka.source(&topic, &[]).await;
    let start = source.initial().await.unwrap();
    assert_eq!(start, json!({ topic.as_str(): {"0": 1} }));
    kafka.add_partitions(&topic, 2);
    kafka.produce(&topic, 1, ["b", "c"]);
    let end = source.propose(&start, Admission::Limited).await.unwrap().end;
    assert_eq!(end, json!({ topic.as_str(): {"0": 1, "1": 2} }));
    let rows = read(&mut source, &start, &end, 1 << 20).await.unwrap().concat();
    assert_eq!(rows, [(1, 0, "b".to_owned()), (1, 1, "c".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_shared_in_proportion_and_available_now_stops_at_what_was_there() {
    let kafka = Kafka::start();
    let topic = kafka.topic(3);
    for (partition, count) in [(0, 101), (1, 11), (2, 1)] {
        kafka.produce(&topic, partition, (0..count).map(|i| i.to_string()));
    }
    let at = |offsets: [i64; 3]| json!({ topic.as_str(): {"0": offsets[0], "1": offsets[1], "2": offsets[2]} });
    let mut source = kafka.source(&topic, &[("maxOffsetsPerTrigger", "10")]).await;
    source.freeze().await.unwrap();
    kafka.produce(&topic, 2, ["late"]);
    let first = source.propose(&at([0, 0, 0]), Admission::Limited).await.unwrap();
    assert_eq!((first.end, first.latest), (at([8, 1, 1]), at([101, 11, 1])));
    let second = source.propose(&at([8, 1, 1]), Admission::Limited).await.unwrap();
    assert_eq!(second.end, at([17, 2, 1]));
    let all = source.propose(&at([17, 2, 1]), Admission::Unlimited).await.unwrap();
    assert_eq!(all.end, at([101, 11, 1]));
    assert_eq!(source.propose(&all.end, Admission::Limited).await.unwrap().end, all.end);
    assert_eq!(read(&mut source, &at([8, 1, 1]), &at([17, 2, 1]), 1 << 20).await.unwrap().concat().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_neither_shows_nor_blocks() {
    let kafka = Kafka::start();
    let topic = kafka.topic(1);
    kafka.produce(&topic, 0, ["a", "b"]);
    let producer = kafka.transactional(&topic);
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 0, "open");
    producer.flush(WAIT).unwrap();
    let mut source = kafka.source(&topic, &[]).await;
    let start = json!({ topic.as_str(): {"0": 0} });
    let end = source.propose(&start, Admission::Limited).await.unwrap().end;
    assert_eq!(end, json!({ topic.as_str(): {"0": 2} }));
    assert_eq!(offsets(&mut source, &start, &end).await, [0, 1]);
    producer.commit_transaction(WAIT).unwrap();
    kafka.settle(&topic);
    let later = source.propose(&end, Admission::Limited).await.unwrap().end;
    assert_eq!(later, json!({ topic.as_str(): {"0": 4} }));
    assert_eq!(offsets(&mut source, &end, &later).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_offsets_stop_the_query_or_are_counted() {
    let kafka = Kafka::start();
    let topic = kafka.topic(1);
    // One by one, because records that were written together are also removed together.
    for i in 0..6 {
        kafka.produce(&topic, 0, [i.to_string()]);
    }
    kafka.remove_records_before(&topic, 0, 4);
    let at = |offset: i64| json!({ topic.as_str(): { "0": offset } });
    let mut source = kafka.source(&topic, &[]).await;
    let error = read(&mut source, &at(1), &at(6), 1 << 20).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "[KAFKA_DATA_LOSS] topic {topic}, partition 0: offsets 1 to 4 cannot be read, 3 offsets are lost; the log \
             now starts at offset 4. Likely cause: retention removed them, or the topic was deleted and created again. \
             To skip what is lost and go on, set the option failOnDataLoss to false; numRowsLost in the source's metrics \
             then counts it"
        )
    );
    let error = source.propose(&at(9), Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::KafkaDataLoss);
    assert!(
        error
            .message()
            .contains("offsets 6 to 9 cannot be read, 3 offsets are lost; the log now ends at offset 6, and no"),
        "{error}"
    );

    let mut lenient = kafka.source(&topic, &[("failOnDataLoss", "false")]).await;
    assert_eq!(offsets(&mut lenient, &at(1), &at(6)).await, [4, 5]);
    assert_eq!(lenient.metrics().get("numRowsLost"), Some(&json!("3")));
    assert_eq!(offsets(&mut lenient, &at(1), &at(3)).await, Vec::<i64>::new());
    assert_eq!(lenient.metrics().get("numRowsLost"), Some(&json!("5")));
    assert_eq!(offsets(&mut lenient, &at(5), &at(8)).await, [5]);
    assert_eq!(lenient.metrics().get("numRowsLost"), Some(&json!("7")));
    assert_eq!(lenient.propose(&at(9), Admission::Limited).await.unwrap().end, at(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_when_the_source_opens() {
    let kafka = Kafka::start();
    let refused = async |pairs: &[(&str, &str)]| {
        let mut source = KafkaSource::new(&kafka.options(pairs)).unwrap();
        open(&mut source).await.unwrap_err()
    };
    let servers = &kafka.bootstrap;
    assert_eq!(
        refused(&[("subscribe", "nowhere")]).await.to_string(),
        format!(
            "[KAFKA] topic nowhere does not exist on {servers}; create it, or correct the option subscribe or assign"
        )
    );
    let topic = kafka.topic(1);
    assert_eq!(
        refused(&[("assign", &json!({ topic.as_str(): [0, 3] }).to_string())]).await.to_string(),
        format!(
            "[KAFKA] partition {topic}-3 does not exist on {servers}; create it, or correct the option subscribe or assign"
        )
    );
    // Port 1 answers no one.
    let error = refused(&[("subscribe", &topic), ("kafka.bootstrap.servers", "127.0.0.1:1")]).await;
    assert_eq!(error.code(), ErrorCode::Kafka);
    assert!(error.message().contains("cannot read the metadata of topic"), "{error}");
    assert!(error.message().contains("127.0.0.1:1") && error.message().contains("refused"), "{error}");
    let error = refused(&[("subscribe", &topic), ("kafka.no.such.thing", "1")]).await;
    assert_eq!(
        error.to_string(),
        "[INVALID_OPTION] Kafka source: option kafka.no.such.thing: No such configuration property: \"no.such.thing\""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_never_shown() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_wrong_password_is_refused_and_never_shown") else { return };
    broker.create_topic("t", 1);
    broker.fake().require_sasl_plain("ada", "right");
    let login = |password| {
        kafka.options(&[
            ("subscribe", "t"),
            ("kafka.security.protocol", "SASL_PLAINTEXT"),
            ("kafka.sasl.mechanism", "PLAIN"),
            ("kafka.sasl.username", "ada"),
            ("kafka.sasl.password", password),
        ])
    };
    let mut source = KafkaSource::new(&login("canary-wrong")).unwrap();
    let error = open(&mut source).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Kafka);
    assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
    assert!(error.message().to_lowercase().contains("authentication"), "{error}");
    open(&mut KafkaSource::new(&login("right")).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_after_a_broken_connection() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("reading_goes_on_after_a_broken_connection") else { return };
    broker.create_topic("t", 1);
    kafka.produce("t", 0, ["a", "b", "c"]);
    let mut source = kafka.source("t", &[]).await;
    broker.fake().on_times(ApiKey::Fetch, 2, |_| Control::Disconnect);
    assert_eq!(offsets(&mut source, &json!({"t": {"0": 0}}), &json!({"t": {"0": 3}})).await, [0, 1, 2]);
    broker.fake().delete_topic("t");
    let error = source.propose(&json!({"t": {"0": 3}}), Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::KafkaDataLoss, "{error}");
    let error = read(&mut source, &json!({"t": {"0": 0}}), &json!({"t": {"0": 3}}), 1).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::KafkaDataLoss);
    assert!(error.message().contains("the partition does not exist. Likely cause: the topic was deleted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_report_of_the_end_is_not_believed() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_stale_report_of_the_end_is_not_believed") else { return };
    broker.create_topic("t", 1);
    kafka.produce("t", 0, ["a", "b"]);
    let mut source = kafka.source("t", &[]).await;
    let at = |offset: i64| json!({"t": {"0": offset}});
    assert_eq!(offsets(&mut source, &at(0), &at(2)).await, [0, 1]);
    // The answer to the next fetch says that the partition ends at 2; the one after it was sent with that on record.
    let fetches = broker.fake().request_count(ApiKey::Fetch);
    assert!(broker.fake().wait_for_requests(ApiKey::Fetch, fetches + 2, WAIT).await);
    kafka.produce("t", 0, ["c", "d"]);
    assert_eq!(offsets(&mut source, &at(2), &at(4)).await, [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_names_its_place() {
    let kafka = Kafka::start();
    let Some(broker) = kafka.faults("a_damaged_record_names_its_place") else { return };
    broker.create_topic("t", 1);
    kafka.produce("t", 0, ["a"]);
    let mut source = kafka.source("t", &[]).await;
    broker.fake().on(ApiKey::Fetch, |_| Control::CorruptRecords);
    let error = read(&mut source, &json!({"t": {"0": 0}}), &json!({"t": {"0": 1}}), 1).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Kafka);
    assert!(error.message().contains("cannot read topic t, partition 0, at offset 0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_come_through_once() {
    let kafka = Kafka::start();
    let topic = kafka.topic(4);
    let count = 30_000i64;
    for partition in 0..4 {
        kafka.produce(&topic, partition, (0..count).map(|i| format!("{i:0>200}")));
    }
    let mut source = kafka.source(&topic, &[("startingOffsets", "earliest")]).await;
    let start = source.initial().await.unwrap();
    let end = source.propose(&start, Admission::Limited).await.unwrap().end;
    let rows = read(&mut source, &start, &end, 1 << 18).await.unwrap().concat();
    let mut next = [0i64; 4];
    for (partition, offset, value) in &rows {
        let next = &mut next[*partition as usize];
        assert_eq!((*offset, value.trim_start_matches('0').parse().unwrap_or(0)), (*next, *next));
        *next += 1;
    }
    assert_eq!(next, [count; 4]);
}
