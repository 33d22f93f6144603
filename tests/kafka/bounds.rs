//! Which topics are read, and between which ends: patterns, times, batch reads, limits of a batch, topics made again.

use crate::support::*;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tidemill::ErrorCode;
use tidemill::source::kafka::KafkaSource;
use tidemill::source::{Admission, Source};
use uuid::Uuid;

/// An hour ago: old enough to be before every record that is written now, young enough for any retention.
fn an_hour_ago() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 - 3_600_000
}

/// An open source of exactly these options.
async fn opened(kafka: &Kafka, options: &[(&str, &str)]) -> KafkaSource {
    let options = kafka.options(&[&[("fetchOffset.retryIntervalMs", "1")], options].concat());
    let mut source = KafkaSource::new(&options).unwrap();
    open(&mut source).await.unwrap();
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_finds_topics_while_the_query_runs() {
    let kafka = Kafka::start();
    let prefix = format!("p-{}", Uuid::new_v4().simple());
    let name = |suffix: &str| format!("{prefix}-{suffix}");
    kafka.named_topic(&name("a"), 1);
    kafka.named_topic(&name("skipped"), 1);
    kafka.produce(&name("a"), 0, ["before"]);
    let pattern = format!("^(?!.*skip){prefix}-\\p{{Lower}}+");
    let mut source = opened(&kafka, &[("subscribePattern", &pattern)]).await;
    assert_eq!(source.description(), format!("KafkaV2[SubscribePattern[{pattern}]]"));
    let start = source.initial().await.unwrap();
    assert_eq!(start, json!({ name("a"): {"0": 1} }));
    kafka.named_topic(&name("b"), 2);
    kafka.named_topic(&format!("x-{prefix}-c"), 1);
    kafka.produce(&name("b"), 1, ["first", "second"]);
    let end = source.propose(&start, Admission::Limited).await.unwrap().end;
    assert_eq!(end, json!({ name("a"): {"0": 1}, name("b"): {"0": 0, "1": 2} }));
    let rows = read(&mut source, &start, &end, 1 << 20).await.unwrap().concat();
    assert_eq!(rows, [(1, 0, "first".to_owned()), (1, 1, "second".to_owned())]);
    kafka.delete_topic(&name("a"));
    let error = source.propose(&end, Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::KafkaDataLoss);
    assert!(error.message().contains("Likely cause: the topic was deleted."), "{error}");
    // Before there is any such topic there is nothing to read, and no error.
    let mut none = opened(&kafka, &[("subscribePattern", &format!("none-{prefix}.*"))]).await;
    assert_eq!(none.initial().await.unwrap(), json!({}));
    assert_eq!(none.propose(&json!({}), Admission::Limited).await.unwrap().end, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_choose_where_a_query_starts() {
    let kafka = Kafka::start();
    let (topic, base) = (kafka.topic(2), an_hour_ago());
    kafka.produce_at(&topic, 0, &[base + 1_000, base + 2_000, base + 3_000]);
    kafka.produce_at(&topic, 1, &[base + 1_500]);
    let at = |first: i64, second: i64| json!({ topic.as_str(): {"0": first, "1": second} });
    let millis = |offset: i64| (base + offset).to_string();
    let times = |first: i64, second: i64| at(base + first, base + second).to_string();
    let start = async |options: &[(&str, &str)]| -> Result<Value, tidemill::Error> {
        opened(&kafka, &[&[("subscribe", topic.as_str())], options].concat()).await.initial().await
    };
    assert_eq!(start(&[("startingTimestamp", &millis(0))]).await.unwrap(), at(0, 0));
    assert_eq!(start(&[("startingTimestamp", &millis(1_500))]).await.unwrap(), at(1, 0));
    assert_eq!(start(&[("startingOffsetsByTimestamp", &times(2_001, 1_500))]).await.unwrap(), at(2, 0));
    let latest = ("startingOffsetsByTimestampStrategy", "latest");
    assert_eq!(start(&[("startingTimestamp", &millis(2_500)), latest]).await.unwrap(), at(2, 1));
    assert_eq!(start(&[("startingOffsetsByTimestamp", &times(9_000, 0)), latest]).await.unwrap(), at(3, 0));
    let error = start(&[("startingTimestamp", &millis(2_500))]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "[KAFKA] option startingTimestamp: topic {topic}, partition 1 has no record at or after {} ms; give an earlier \
             time, or set startingOffsetsByTimestampStrategy to latest to start there with the next record",
            millis(2_500)
        )
    );
    let partial = json!({ topic.as_str(): {"1": base} }).to_string();
    let error = start(&[("startingOffsetsByTimestamp", &partial)]).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidOption);
    assert!(error.message().contains(&format!("startingOffsetsByTimestamp does not name {topic}-0;")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_read_has_two_ends() {
    let kafka = Kafka::start();
    let (topic, base) = (kafka.topic(2), an_hour_ago());
    kafka.produce_at(&topic, 0, &[base + 1_000, base + 2_000, base + 3_000]);
    kafka.produce_at(&topic, 1, &[base + 1_500]);
    let at = |first: i64, second: i64| json!({ topic.as_str(): {"0": first, "1": second} });
    let range = async |options: &[(&str, &str)]| -> Result<(Value, Value, usize), tidemill::Error> {
        let options = kafka.options(&[&[("subscribe", topic.as_str())], options].concat());
        let mut source = KafkaSource::bounded(&options)?;
        source.check().await?;
        let start = source.initial().await?;
        let end = source.propose(&start, Admission::Unlimited).await?.end;
        assert_eq!(source.propose(&end, Admission::Unlimited).await?.end, end, "once");
        let rows = read(&mut source, &start, &end, 1 << 20).await?.concat();
        Ok((start, end, rows.len()))
    };
    assert_eq!(range(&[]).await.unwrap(), (at(0, 0), at(3, 1), 4));
    assert_eq!(range(&[("maxOffsetsPerTrigger", "1")]).await.unwrap().2, 4, "ignored, as in Spark");
    assert_eq!(
        range(&[("startingOffsets", &at(1, -2).to_string()), ("endingOffsets", &at(2, -1).to_string())]).await.unwrap(),
        (at(1, 0), at(2, 1), 2)
    );
    assert_eq!(
        range(&[("startingTimestamp", &(base + 1_500).to_string()), ("endingTimestamp", &(base + 2_500).to_string())])
            .await
            .unwrap(),
        (at(1, 0), at(2, 1), 2),
        "a partition without a later record is read to its end"
    );
    let by_partition = at(base + 2_000, base).to_string();
    assert_eq!(range(&[("endingOffsetsByTimestamp", &by_partition)]).await.unwrap(), (at(0, 0), at(1, 0), 1));
    // An end before the start reads nothing.
    assert_eq!(
        range(&[("startingOffsets", &at(2, 1).to_string()), ("endingOffsets", &at(1, 1).to_string())]).await.unwrap(),
        (at(2, 1), at(2, 1), 0)
    );
    let error = range(&[("endingOffsets", &json!({ topic.as_str(): {"0": 1} }).to_string())]).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidOption);
    assert!(error.message().contains(&format!("option endingOffsets does not name {topic}-1;")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_waits_for_its_minimum_but_not_when_nothing_more_will_come() {
    let kafka = Kafka::start();
    let topic = kafka.topic(1);
    let at = |offset: i64| json!({ topic.as_str(): { "0": offset } });
    let limits = [("minOffsetsPerTrigger", "3"), ("maxOffsetsPerTrigger", "4"), ("maxTriggerDelay", "1h")];
    let mut source = kafka.source(&topic, &limits).await;
    kafka.produce(&topic, 0, ["a"]);
    assert_eq!(source.propose(&at(0), Admission::Limited).await.unwrap().end, at(1), "the first batch never waits");
    kafka.produce(&topic, 0, ["b", "c"]);
    let waiting = source.propose(&at(1), Admission::Limited).await.unwrap();
    assert_eq!((waiting.end, waiting.latest), (at(1), at(3)));
    assert_eq!(source.propose(&at(1), Admission::Unlimited).await.unwrap().end, at(3), "once waits for nothing");
    kafka.produce(&topic, 0, ["d", "e", "f"]);
    assert_eq!(source.propose(&at(1), Admission::Limited).await.unwrap().end, at(5), "at least 3, at most 4");
    assert_eq!(source.propose(&at(5), Admission::Limited).await.unwrap().end, at(5));
    source.freeze().await.unwrap();
    assert_eq!(source.propose(&at(5), Admission::Limited).await.unwrap().end, at(6));

    let mut paced = kafka.source(&topic, &[("maxRatePerPartition", "2")]).await;
    assert_eq!(paced.propose(&at(0), Admission::Limited).await.unwrap().end, at(2), "a second's worth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_is_a_loss() {
    let kafka = Kafka::start();
    let topic = kafka.topic(2);
    for partition in 0..2 {
        kafka.produce(&topic, partition, ["a", "b", "c"]);
    }
    let at = |first: i64, second: i64| json!({ topic.as_str(): {"0": first, "1": second} });
    let mut source = kafka.source(&topic, &[]).await;
    assert_eq!(read(&mut source, &at(0, 0), &at(3, 3), 1 << 20).await.unwrap().concat().len(), 6);
    kafka.delete_topic(&topic);
    kafka.named_topic(&topic, 2);
    kafka.produce(&topic, 0, ["new"]);
    let error = source.propose(&at(3, 3), Admission::Limited).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "[KAFKA_DATA_LOSS] topic {topic}, partition 0: offsets 1 to 3 cannot be read, 2 offsets are lost; the log now ends \
             at offset 1, and no partition of the topic reaches what was read. Likely cause: the topic was deleted and created \
             again; what the new topic holds below these offsets was not read. To skip what is lost and go on, set the option \
             failOnDataLoss to false; numRowsLost in the source's metrics then counts it"
        )
    );
    let error = read(&mut source, &at(2, 2), &at(3, 3), 1 << 20).await.unwrap_err();
    assert!(error.message().contains("the topic was deleted and created again"), "{error}");
    let mut lenient = kafka.source(&topic, &[("failOnDataLoss", "false")]).await;
    let end = lenient.propose(&at(3, 3), Admission::Limited).await.unwrap().end;
    assert_eq!(end, at(1, 0));
    assert_eq!(lenient.metrics().get("numRowsLost"), Some(&json!("5")));
    assert_eq!(read(&mut lenient, &at(3, 3), &end, 1 << 20).await.unwrap().concat(), []);
    kafka.produce(&topic, 1, ["later"]);
    let rows = read(&mut lenient, &end, &at(1, 1), 1 << 20).await.unwrap().concat();
    assert_eq!(rows, [(1, 0, "later".to_owned())]);
}
