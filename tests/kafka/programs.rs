//! The tutorial's programs over Kafka: two topics joined, and rides into windows of cities, from JSON to JSON.

use crate::support::Kafka;
use tidemill::prelude::*;

async fn topic(session: &Session, kafka: &Kafka, name: &str, schema: &str) -> DataFrame {
    session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &kafka.bootstrap)
        .option("kafka.broker.address.family", "v4")
        .option("subscribe", name)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", 100_000)
        .load()
        .await
        .unwrap()
        .select([
            col("key").cast("string").alias("key"),
            from_json(col("value").cast("string"), schema).alias("data"),
            col("timestamp").alias("kafka_timestamp"),
        ])
        .unwrap()
        .select(["key", "data.*", "kafka_timestamp"])
        .unwrap()
}

fn texts(table: &MemoryTable) -> Vec<String> {
    let mut texts = Vec::new();
    for batch in table.rows() {
        texts.extend((0..batch.num_rows()).map(|row| {
            let cell =
                |column: &arrow::array::ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
            batch.columns().iter().map(cell).collect::<Vec<_>>().join("|")
        }));
    }
    texts.sort();
    texts
}

async fn session() -> Session {
    let builder = Session::builder().config("tidemill.device", "cpu").config("spark.sql.shuffle.partitions", "200");
    builder.config("spark.streaming.kafka.maxRatePerPartition", "10000").build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_join_purchases() {
    let (kafka, session) = (Kafka::start(), session().await);
    let (clicks_topic, purchases_topic) = (kafka.topic(2), kafka.topic(1));
    kafka.produce(&clicks_topic, 0, [r#"{"user_id":"u1","event_time":"2024-01-01T10:00:00Z","page":"a"}"#]);
    kafka.produce(&clicks_topic, 1, [r#"{"user_id":"u2","event_time":"2024-01-01T10:01:00Z","page":"b"}"#]);
    kafka.produce(&purchases_topic, 0, [r#"{"user_id":"u1","event_time":"2024-01-01T10:05:00Z","amount":9.5}"#]);
    let clicks = topic(&session, &kafka, &clicks_topic, "user_id STRING, event_time TIMESTAMP, page STRING").await;
    let purchases =
        topic(&session, &kafka, &purchases_topic, "user_id STRING, event_time TIMESTAMP, amount DOUBLE").await;
    let joined = clicks
        .with_watermark("event_time", "10 minutes")
        .unwrap()
        .join(&purchases.with_watermark("event_time", "10 minutes").unwrap(), "user_id", "inner")
        .unwrap()
        .select(["user_id", "page", "amount"])
        .unwrap();
    let table = MemoryTable::new(Some("joined")).unwrap();
    let query = joined.write_stream().table(&table).start().await.unwrap();
    query.process_all_available().await.unwrap();
    assert_eq!(texts(&table), ["u1|a|9.5"]);
    kafka.produce(&purchases_topic, 0, [r#"{"user_id":"u2","event_time":"2024-01-01T10:06:00Z","amount":1.0}"#]);
    query.process_all_available().await.unwrap();
    assert_eq!(texts(&table), ["u1|a|9.5", "u2|b|1.0"]);
    query.stop().await;
    let progress = query.last_progress().unwrap();
    assert_eq!((progress.sources.len(), progress.state_operators[0].operator_name.as_str()), (2, "symmetricHashJoin"));
}

const RIDES: &str = "ride_id STRING, driver_id STRING, rider_id STRING, city STRING, pickup_lat DOUBLE, pickup_lon DOUBLE, \
                     dropoff_lat DOUBLE, dropoff_lon DOUBLE, fare_amount DOUBLE, status STRING, event_time TIMESTAMP";

fn ride(driver: &str, city: &str, fare: f64, status: &str, minute: u32) -> String {
    format!(
        "{{\"ride_id\":\"r\",\"driver_id\":\"{driver}\",\"rider_id\":\"p{minute}\",\"city\":\"{city}\",\"pickup_lat\":1.0,\
         \"pickup_lon\":2.0,\"fare_amount\":{fare},\"status\":\"{status}\",\"event_time\":\"2024-01-01T10:{minute:02}:00Z\"}}"
    )
}

/// City rides to Kafka, surges to the console, drivers to files: the three queries of the tutorial in one session.
#[tokio::test(flavor = "multi_thread")]
async fn rides_become_metrics() {
    let (kafka, session) = (Kafka::start(), session().await);
    let (rides_topic, metrics_topic) = (kafka.topic(2), kafka.topic(1));
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    kafka.produce(&rides_topic, 0, [ride("d1", "sf", 10.0, "completed", 1), ride("d1", "sf", 20.0, "completed", 2)]);
    kafka.produce(&rides_topic, 1, [ride("d2", "la", 30.0, "in_progress", 3), ride("d3", "sf", 1.0, "unknown", 3)]);
    let clean = topic(&session, &kafka, &rides_topic, RIDES)
        .await
        .filter(col("status").isin(["completed", "cancelled", "in_progress"]))
        .unwrap()
        .with_column("event_date", to_date("event_time"))
        .unwrap()
        .with_column("hour_of_day", hour("event_time"))
        .unwrap();
    let status = |status: &str| sum(when(col("status").eq(lit(status)), 1).otherwise(0));
    let city = clean
        .with_watermark("event_time", "10 minutes")
        .unwrap()
        .group_by([window("event_time", "5 minutes"), col("city")])
        .unwrap()
        .agg([
            count("*").alias("ride_count"),
            status("completed").alias("completed_rides"),
            avg("fare_amount").alias("avg_fare"),
            approx_count_distinct("driver_id").alias("active_drivers"),
        ])
        .unwrap()
        .with_column("completion_rate", col("completed_rides") / col("ride_count"))
        .unwrap()
        .select([col("city").alias("key"), to_json(r#struct(["*"])).alias("value")])
        .unwrap();
    let surge = col("active_rides") / col("available_drivers");
    let surges = clean
        .with_watermark("event_time", "10 minutes")
        .unwrap()
        .group_by([window("event_time", "5 minutes"), col("city")])
        .unwrap()
        .agg([
            count("*").alias("total_requests"),
            status("in_progress").alias("active_rides"),
            approx_count_distinct("driver_id").alias("available_drivers"),
        ])
        .unwrap()
        .with_column("surge_multiplier", when(surge.clone().gt(3), 2.0).when(surge.gt(2), 1.5).otherwise(1.0))
        .unwrap()
        .filter(col("surge_multiplier").gt(0.5))
        .unwrap();
    let drivers = clean
        .with_watermark("event_time", "30 minutes")
        .unwrap()
        .filter(col("status").eq(lit("completed")))
        .unwrap()
        .group_by([window("event_time", "15 minutes"), col("driver_id")])
        .unwrap()
        .agg([
            count("*").alias("completed_rides"),
            avg("fare_amount").alias("avg_fare"),
            count_distinct("rider_id").alias("unique_riders"),
        ])
        .unwrap();
    let trigger = || Trigger::processing_time("0 seconds");
    let city = city
        .write_stream()
        .output_mode("update")
        .format("kafka")
        .option("kafka.bootstrap.servers", &kafka.bootstrap)
        .option("kafka.broker.address.family", "v4")
        .option("topic", &metrics_topic)
        .option("checkpointLocation", path("ck/city"))
        .trigger(trigger())
        .start()
        .await
        .unwrap();
    let table = MemoryTable::new(Some("surges")).unwrap();
    let surges = surges.write_stream().output_mode("update").option("checkpointLocation", path("ck/surge"));
    let surges = surges.trigger(trigger()).table(&table).start().await.unwrap();
    let drivers = drivers
        .write_stream()
        .output_mode("append")
        .format("parquet")
        .option("path", path("drivers"))
        .option("checkpointLocation", path("ck/drivers"))
        .trigger(trigger())
        .start()
        .await
        .unwrap();
    assert_eq!(session.streams().active().len(), 3);
    for query in [&city, &surges, &drivers] {
        query.process_all_available().await.unwrap();
    }
    // An hour later the windows of the drivers are over.
    kafka.produce(&rides_topic, 0, [ride("d9", "sf", 5.0, "completed", 59)]);
    for query in [&city, &surges, &drivers] {
        query.process_all_available().await.unwrap();
    }
    session.stop().await;
    session.streams().await_any_termination().await.unwrap();
    kafka.settle(&metrics_topic);
    let mut metrics = kafka.records(&metrics_topic, "read_committed");
    metrics.sort();
    let line = |start: &str, end: &str, city: &str, rest: &str| {
        let times = format!("\"start\":\"2024-01-01T10:{start}:00.000Z\",\"end\":\"2024-01-01T{end}:00.000Z\"");
        (0, Some(city.to_string()), Some(format!("{{\"window\":{{{times}}},\"city\":\"{city}\",{rest}}}")))
    };
    let mut expected = [
        line(
            "00",
            "10:05",
            "la",
            r#""ride_count":1,"completed_rides":0,"avg_fare":30.0,"active_drivers":1,"completion_rate":0.0"#,
        ),
        line(
            "00",
            "10:05",
            "sf",
            r#""ride_count":2,"completed_rides":2,"avg_fare":15.0,"active_drivers":1,"completion_rate":1.0"#,
        ),
        line(
            "55",
            "11:00",
            "sf",
            r#""ride_count":1,"completed_rides":1,"avg_fare":5.0,"active_drivers":1,"completion_rate":1.0"#,
        ),
    ];
    expected.sort();
    assert_eq!(metrics, expected);
    let surged: Vec<String> = texts(&table).iter().map(|row| row.rsplit_once('}').unwrap().1.to_string()).collect();
    assert_eq!(surged, ["|la|1|1|1|1.0", "|sf|2|0|1|1.0", "|sf|1|0|1|1.0"]);
    let read = session.read().load_path(&path("drivers")).await.unwrap();
    let read = read.select(["driver_id", "completed_rides", "avg_fare", "unique_riders"]).unwrap();
    let batches = read.collect().await.unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    assert_eq!(shown.lines().filter(|line| line.contains("d1")).count(), 1, "{shown}");
    assert!(shown.contains("| d1        | 2               | 15.0     | 2             |"), "{shown}");
}
