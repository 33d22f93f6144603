use super::*;

fn parsed(reading: Reading, pairs: &[(&str, &str)]) -> Result<SourceOptions> {
    let given = [&[("kafka.bootstrap.servers", "h:1")], pairs].concat();
    let map = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    SourceOptions::parse(&map, reading)
}

fn refusal(reading: Reading, pairs: &[(&str, &str)]) -> String {
    parsed(reading, pairs).err().map_or_else(|| "accepted".into(), |error| error.to_string())
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(&topic.into(), partition)
}

#[test]
fn options_are_refused_by_name() {
    let topic = ("subscribe", "a, b,,a");
    for accepted in [
        ("STARTINGOFFSETS", "Earliest"),
        ("kafka.group.id", "g"),
        ("kafka.isolation.level", "x"),
        ("minPartitions", "8"),
        ("maxRecordsPerPartition", "100"),
    ] {
        assert_eq!(refusal(Reading::Stream, &[topic, accepted]), "accepted");
    }
    for (pair, part) in [
        (("startingOfsets", "latest"), "option startingOfsets is unknown; options are subscribe, subscribePattern,"),
        (("startingOffsets", "newest"), "option startingOffsets must be earliest, latest, or JSON"),
        (("startingTimestamp", "-1"), "option startingTimestamp must be a number of milliseconds since 1970, not '-1'"),
        (("startingOffsetsByTimestamp", "5"), "timestamps of partitions are not of the form"),
        (
            ("startingOffsetsByTimestampStrategy", "x"),
            "option startingOffsetsByTimestampStrategy must be error or latest",
        ),
        (("maxOffsetsPerTrigger", "0"), "option maxOffsetsPerTrigger must be a whole number of at least 1, not '0'"),
        (("minOffsetsPerTrigger", "x"), "option minOffsetsPerTrigger must be a whole number of at least 1, not 'x'"),
        (("maxTriggerDelay", "soon"), "option maxTriggerDelay must be a duration such as 15m"),
        (("maxRatePerPartition", "0"), "option maxRatePerPartition must be a whole number of at least 1"),
        (("minPartitions", "0"), "option minPartitions must be a whole number of at least 1, not '0'"),
        (("failOnDataLoss", "no"), "option failOnDataLoss must be true or false, not 'no'"),
        (("kafka.auto.offset.reset", "earliest"), "option kafka.auto.offset.reset is not supported: use starting"),
        (("kafka.enable.auto.commit", "true"), "option kafka.enable.auto.commit is not supported: offsets are kept"),
        (("kafka.key.deserializer", "x"), "option kafka.key.deserializer is not supported: keys are read as bytes"),
        (("kafka.value.deserializer", "x"), "option kafka.value.deserializer is not supported: values are read"),
        (("kafka.interceptor.classes", "x"), "option kafka.interceptor.classes is not supported: interceptors"),
        (("Subscribe", "c"), "option Subscribe is given twice, as Subscribe and as subscribe"),
        (("assign", "{\"a\":[0]}"), "give only one of the options subscribe, subscribePattern and assign"),
        (("subscribePattern", "a"), "give only one of the options subscribe, subscribePattern and assign"),
        (("endingOffsets", "latest"), "option endingOffsets is not valid in a streaming query"),
        (("endingTimestamp", "1"), "option endingTimestamp is not valid in a streaming query"),
        (("endingOffsetsByTimestamp", "{}"), "option endingOffsetsByTimestamp is not valid in a streaming query"),
    ] {
        let text = refusal(Reading::Stream, &[topic, pair]);
        assert!(text.starts_with("[INVALID_OPTION] ") && text.contains(part), "{text}");
    }
    assert!(refusal(Reading::Stream, &[]).contains("one of the options subscribe (topic,...), subscribePattern and"));
    let limits = [topic, ("minOffsetsPerTrigger", "5"), ("maxOffsetsPerTrigger", "4")];
    assert!(
        refusal(Reading::Stream, &limits).contains("minOffsetsPerTrigger (5) is higher than maxOffsetsPerTrigger (4)")
    );
}

#[test]
fn a_batch_read_has_two_ends_and_no_limits() {
    let topic = ("subscribe", "a");
    let options = parsed(Reading::Batch, &[topic, ("maxOffsetsPerTrigger", "7"), ("maxTriggerDelay", "soon")]).unwrap();
    assert_eq!((options.start, options.end), (Bound::Earliest, Bound::Latest));
    assert!(!options.limits.any());
    let options = parsed(Reading::Batch, &[topic, ("endingOffsets", "{\"a\":{\"0\":-1,\"1\":5}}")]).unwrap();
    assert_eq!(options.end, Bound::Offsets(Offsets::from([(at("a", 0), -1), (at("a", 1), 5)])));
    for (pair, part) in [
        (("startingOffsets", "latest"), "startingOffsets cannot be latest"),
        (("startingOffsets", "{\"a\":{\"0\":-1}}"), "startingOffsets cannot be latest"),
        (("endingOffsets", "earliest"), "endingOffsets cannot be earliest"),
        (("endingOffsets", "{\"a\":{\"0\":-2}}"), "endingOffsets cannot be earliest"),
    ] {
        let text = refusal(Reading::Batch, &[topic, pair]);
        assert!(text.starts_with("[INVALID_OPTION] Kafka source: option ") && text.contains(part), "{text}");
    }
}

#[test]
fn times_go_before_offsets_as_in_spark() {
    let topic = ("subscribe", "a");
    let offsets = ("startingOffsets", "earliest");
    let by_partition = ("startingOffsetsByTimestamp", "{\"a\":{\"0\":1000}}");
    let start = |pairs: &[(&str, &str)]| parsed(Reading::Stream, pairs).unwrap().start;
    assert_eq!(start(&[topic]), Bound::Latest);
    assert_eq!(start(&[topic, offsets]), Bound::Earliest);
    assert_eq!(start(&[topic, offsets, by_partition]), Bound::Timestamps(Offsets::from([(at("a", 0), 1_000)])));
    assert_eq!(start(&[topic, offsets, by_partition, ("startingTimestamp", "5")]), Bound::Timestamp(5));
}

#[test]
fn limits_have_sparks_defaults_and_units() {
    let topic = ("subscribe", "a");
    let limits = |pairs: &[(&str, &str)]| parsed(Reading::Stream, pairs).unwrap().limits;
    assert_eq!(limits(&[topic]), Limits { max_delay_ms: 900_000, ..Limits::default() });
    for (text, millis) in [("2s", 2_000), ("250", 250), ("10 minutes", 600_000)] {
        assert_eq!(limits(&[topic, ("maxTriggerDelay", text)]).max_delay_ms, millis);
    }
    let all =
        limits(&[topic, ("minOffsetsPerTrigger", "4"), ("maxOffsetsPerTrigger", "4"), ("maxRatePerPartition", "9")]);
    assert_eq!(all, Limits { max_offsets: Some(4), min_offsets: Some(4), max_delay_ms: 900_000, max_rate: Some(9) });
}
