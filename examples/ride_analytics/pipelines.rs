//! The three queries of the ride analytics: cities to Kafka, surge prices to the console, drivers to Parquet.
//!
//! Comes in: a session and [`Settings`], which hold every location. Goes out: writers that are ready to start. Fails: what
//! analysis finds in the queries, which is nothing unless a setting is wrong.

use tidemill::Result;
use tidemill::frame::DataStreamWriter;
use tidemill::prelude::*;
use tidemill::session::SessionBuilder;

/// What changes between a laptop, a test and production.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `kafka.bootstrap.servers`.
    pub brokers: String,
    /// Topic of ride events.
    pub rides_topic: String,
    /// Topic of the city metrics.
    pub city_topic: String,
    /// Directory of the driver metrics.
    pub drivers_path: String,
    /// Parent of the three checkpoints.
    pub checkpoints: String,
    /// `earliest` or `latest`.
    pub starting_offsets: String,
    /// Most records of a batch.
    pub max_offsets_per_trigger: u64,
    /// Trigger interval of the city and surge queries.
    pub trigger: String,
    /// Trigger interval of the driver query.
    pub drivers_trigger: String,
}

impl Settings {
    /// The product's settings, on these brokers and below this location.
    pub fn new(brokers: &str, location: &str) -> Self {
        Self {
            brokers: brokers.to_string(),
            rides_topic: "ride-events".to_string(),
            city_topic: "city-ride-metrics".to_string(),
            drivers_path: format!("{location}/driver-metrics"),
            checkpoints: format!("{location}/checkpoints"),
            starting_offsets: "latest".to_string(),
            max_offsets_per_trigger: 100_000,
            trigger: "30 seconds".to_string(),
            drivers_trigger: "5 minutes".to_string(),
        }
    }
}

/// A session as the queries want it; add the device and build it.
pub fn session() -> SessionBuilder {
    Session::builder()
        .app_name("UberRealTimeAnalytics")
        .config("spark.sql.shuffle.partitions", "200")
        .config("spark.streaming.kafka.maxRatePerPartition", "10000")
}

/// The schema of a ride event.
pub fn ride_schema() -> StructType {
    StructType::new([
        StructField::new("ride_id", StringType, false),
        StructField::new("driver_id", StringType, false),
        StructField::new("rider_id", StringType, false),
        StructField::new("city", StringType, false),
        StructField::new("pickup_lat", DoubleType, false),
        StructField::new("pickup_lon", DoubleType, false),
        StructField::new("dropoff_lat", DoubleType, true),
        StructField::new("dropoff_lon", DoubleType, true),
        StructField::new("fare_amount", DoubleType, true),
        StructField::new("status", StringType, false),
        StructField::new("event_time", TimestampType, false),
    ])
}

/// Ride events, parsed, cleaned and enriched.
pub async fn clean_rides(session: &Session, settings: &Settings) -> Result<DataFrame> {
    let raw_stream = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &settings.brokers)
        .option("subscribe", &settings.rides_topic)
        .option("startingOffsets", &settings.starting_offsets)
        .option("maxOffsetsPerTrigger", settings.max_offsets_per_trigger)
        .load()
        .await?;

    let parsed_stream = raw_stream
        .select([
            col("key").cast("string").alias("key"),
            from_json(col("value").cast("string"), ride_schema()).alias("data"),
            col("timestamp").alias("kafka_timestamp"),
        ])?
        .select(["key", "data.*", "kafka_timestamp"])?;

    parsed_stream
        .filter(col("status").isin(["completed", "cancelled", "in_progress"]))?
        .with_column("event_date", to_date(col("event_time")))?
        .with_column("hour_of_day", hour(col("event_time")))
}

/// 1. Rides per city per 5-minute window, to Kafka for a dashboard.
pub async fn city_rides(session: &Session, settings: &Settings) -> Result<DataStreamWriter> {
    let city_rides = clean_rides(session, settings)
        .await?
        .with_watermark("event_time", "10 minutes")?
        .group_by([window(col("event_time"), "5 minutes"), col("city")])?
        .agg([
            count("*").alias("ride_count"),
            sum(when(col("status").eq("completed"), 1).otherwise(0)).alias("completed_rides"),
            avg("fare_amount").alias("avg_fare"),
            approx_count_distinct("driver_id").alias("active_drivers"),
        ])?
        .with_column("completion_rate", col("completed_rides") / col("ride_count"))?;

    Ok(city_rides
        .select([col("city").alias("key"), to_json(r#struct(["*"])).alias("value")])?
        .write_stream()
        .query_name("city_rides")
        .output_mode("update")
        .format("kafka")
        .option("kafka.bootstrap.servers", &settings.brokers)
        .option("topic", &settings.city_topic)
        .option("checkpointLocation", format!("{}/city-rides", settings.checkpoints))
        .trigger(Trigger::processing_time(&settings.trigger)))
}

/// 2. Surge pricing where demand is high, to the console for monitoring.
pub async fn surge_detection(session: &Session, settings: &Settings) -> Result<DataStreamWriter> {
    let surge_detection = clean_rides(session, settings)
        .await?
        .with_watermark("event_time", "10 minutes")?
        .group_by([window(col("event_time"), "5 minutes"), col("city")])?
        .agg([
            count("*").alias("total_requests"),
            sum(when(col("status").eq("in_progress"), 1).otherwise(0)).alias("active_rides"),
            approx_count_distinct("driver_id").alias("available_drivers"),
        ])?
        .with_column(
            "surge_multiplier",
            when((col("active_rides") / col("available_drivers")).gt(3), 2.0)
                .when((col("active_rides") / col("available_drivers")).gt(2), 1.5)
                .otherwise(1.0),
        )?;

    Ok(surge_detection
        .filter(col("surge_multiplier").gt(1.0))?
        .write_stream()
        .query_name("surge_detection")
        .output_mode("update")
        .format("console")
        .option("truncate", "false")
        .option("checkpointLocation", format!("{}/surge", settings.checkpoints))
        .trigger(Trigger::processing_time(&settings.trigger)))
}

/// 3. Performance of drivers, to the data lake.
pub async fn driver_metrics(session: &Session, settings: &Settings) -> Result<DataStreamWriter> {
    let driver_metrics = clean_rides(session, settings)
        .await?
        .with_watermark("event_time", "30 minutes")?
        .filter(col("status").eq("completed"))?
        .group_by([window(col("event_time"), "15 minutes"), col("driver_id")])?
        .agg([
            count("*").alias("completed_rides"),
            avg("fare_amount").alias("avg_fare"),
            count_distinct("rider_id").alias("unique_riders"),
        ])?;

    Ok(driver_metrics
        .write_stream()
        .query_name("driver_metrics")
        .output_mode("append")
        .format("parquet")
        .option("path", &settings.drivers_path)
        .option("checkpointLocation", format!("{}/driver-metrics", settings.checkpoints))
        .trigger(Trigger::processing_time(&settings.drivers_trigger)))
}
