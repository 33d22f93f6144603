"""Real-time ride analytics: ride events from Kafka, three aggregates, three sinks.

    python examples/python/ride_analytics.py --brokers localhost:9092 --storage /tmp/rides

City metrics go to a Kafka topic, surge alerts to the server's console, driver metrics to parquet files, each exactly
once. Runs until interrupted, or for --seconds. With --available-now it takes what is in the topic and ends; use it
with --starting-offsets earliest.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import *
from pyspark.sql.functions import countDistinct  # not among the names of *
from pyspark.sql.types import *

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--brokers", default="kafka-broker1:9092,kafka-broker2:9092")
parser.add_argument("--topic", default="ride-events")
parser.add_argument("--output-topic", default="city-ride-metrics")
parser.add_argument("--storage", default="s3a://uber-streaming", help="where checkpoints and driver metrics go")
parser.add_argument("--starting-offsets", default="latest")
parser.add_argument("--available-now", action="store_true")
parser.add_argument("--seconds", type=float, help="end after so many seconds")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()
spark.conf.set("spark.sql.shuffle.partitions", "200")
spark.conf.set("spark.streaming.kafka.maxRatePerPartition", "10000")

# Define schema for ride events
ride_schema = StructType([
    StructField("ride_id", StringType(), False),
    StructField("driver_id", StringType(), False),
    StructField("rider_id", StringType(), False),
    StructField("city", StringType(), False),
    StructField("pickup_lat", DoubleType(), False),
    StructField("pickup_lon", DoubleType(), False),
    StructField("dropoff_lat", DoubleType(), True),
    StructField("dropoff_lon", DoubleType(), True),
    StructField("fare_amount", DoubleType(), True),
    StructField("status", StringType(), False),
    StructField("event_time", TimestampType(), False)
])

# Read from Kafka
raw_stream = spark.readStream \
    .format("kafka") \
    .option("kafka.bootstrap.servers", args.brokers) \
    .option("subscribe", args.topic) \
    .option("startingOffsets", args.starting_offsets) \
    .option("maxOffsetsPerTrigger", 100000) \
    .load()

# Parse JSON payload
parsed_stream = raw_stream \
    .select(
        col("key").cast("string").alias("key"),
        from_json(col("value").cast("string"), ride_schema).alias("data"),
        col("timestamp").alias("kafka_timestamp")
    ) \
    .select("key", "data.*", "kafka_timestamp")

# Clean and enrich
clean_stream = parsed_stream \
    .filter(col("status").isin(["completed", "cancelled", "in_progress"])) \
    .withColumn("event_date", to_date(col("event_time"))) \
    .withColumn("hour_of_day", hour(col("event_time")))

# === REAL-TIME AGGREGATIONS ===

# 1. Rides per city per 5-minute window
city_rides = clean_stream \
    .withWatermark("event_time", "10 minutes") \
    .groupBy(
        window(col("event_time"), "5 minutes"),
        "city"
    ) \
    .agg(
        count("*").alias("ride_count"),
        sum(when(col("status") == "completed", 1).otherwise(0)).alias("completed_rides"),
        avg("fare_amount").alias("avg_fare"),
        approx_count_distinct("driver_id").alias("active_drivers")
    ) \
    .withColumn("completion_rate",
                col("completed_rides") / col("ride_count"))

# 2. Surge pricing detection (high demand per city)
surge_detection = clean_stream \
    .withWatermark("event_time", "10 minutes") \
    .groupBy(
        window(col("event_time"), "5 minutes"),
        "city"
    ) \
    .agg(
        count("*").alias("total_requests"),
        sum(when(col("status") == "in_progress", 1).otherwise(0)).alias("active_rides"),
        approx_count_distinct("driver_id").alias("available_drivers")
    ) \
    .withColumn(
        "surge_multiplier",
        when(col("active_rides") / col("available_drivers") > 3, 2.0)
        .when(col("active_rides") / col("available_drivers") > 2, 1.5)
        .otherwise(1.0)
    )

# 3. Driver performance tracking
driver_metrics = clean_stream \
    .withWatermark("event_time", "30 minutes") \
    .filter(col("status") == "completed") \
    .groupBy(
        window(col("event_time"), "15 minutes"),
        "driver_id"
    ) \
    .agg(
        count("*").alias("completed_rides"),
        avg("fare_amount").alias("avg_fare"),
        countDistinct("rider_id").alias("unique_riders")
    )


def every(interval):
    """The document's trigger, or one run over what there is."""
    return {"availableNow": True} if args.available_now else {"processingTime": interval}


# === WRITE TO SINKS ===

# Write city rides to Kafka for real-time dashboard
city_rides_query = city_rides \
    .select(
        col("city").alias("key"),
        to_json(struct("*")).alias("value")
    ) \
    .writeStream \
    .outputMode("update") \
    .format("kafka") \
    .option("kafka.bootstrap.servers", args.brokers) \
    .option("topic", args.output_topic) \
    .option("checkpointLocation", args.storage + "/checkpoints/city-rides/") \
    .trigger(**every("30 seconds")) \
    .start()

# Write surge alerts to console for monitoring
surge_query = surge_detection \
    .filter(col("surge_multiplier") > 1.0) \
    .writeStream \
    .outputMode("update") \
    .format("console") \
    .option("truncate", "false") \
    .option("checkpointLocation", args.storage + "/checkpoints/surge/") \
    .trigger(**every("30 seconds")) \
    .start()

# Write driver metrics to data lake (parquet)
driver_query = driver_metrics \
    .writeStream \
    .outputMode("append") \
    .format("parquet") \
    .option("path", args.storage + "/driver-metrics/") \
    .option("checkpointLocation", args.storage + "/checkpoints/driver-metrics/") \
    .trigger(**every("5 minutes")) \
    .start()

# Wait for termination
if args.available_now:
    for query in (city_rides_query, surge_query, driver_query):
        query.awaitTermination()
else:
    spark.streams.awaitAnyTermination(args.seconds)

for query in (city_rides_query, surge_query, driver_query):
    last = query.lastProgress
    print(query.id, "stands at batch", last.batchId if last else None)
    query.stop()
