"""Joins: a stream with a table of files, and two Kafka topics with each other.

    python examples/python/joins.py static --input data/clicks --products data/products
    python examples/python/joins.py stream --brokers localhost:9092

The products are parquet files with a column product_id. The topics hold JSON like
{"user_id": "u1", "event_time": "2024-01-01T10:00:00Z"}. Joined rows go to the server's console.
Runs until interrupted, or for --seconds.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import *

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("kind", choices=["static", "stream"])
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--input", default="s3a://bucket/input/")
parser.add_argument("--products", default="s3a://bucket/products/")
parser.add_argument("--brokers", default="kafka-broker1:9092,kafka-broker2:9092")
parser.add_argument("--clicks", default="clicks", help="topic")
parser.add_argument("--purchases", default="purchases", help="topic")
parser.add_argument("--starting-offsets", default="latest")
parser.add_argument("--seconds", type=float, help="end after so many seconds")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()

if args.kind == "static":
    streaming_df = spark.readStream \
        .format("csv") \
        .option("header", "true") \
        .schema("user_id STRING, event_type STRING, product_id STRING, event_time TIMESTAMP") \
        .load(args.input)

    # Stream-static join
    static_df = spark.read.parquet(args.products)

    joined = streaming_df.join(
        static_df,
        streaming_df.product_id == static_df.product_id,
        "left"
    )

else:
    # Kafka gives key, value, topic, partition, offset and timestamp; user_id and event_time are in the value.
    def events(topic):
        return spark.readStream.format("kafka") \
            .option("kafka.bootstrap.servers", args.brokers) \
            .option("subscribe", topic) \
            .option("startingOffsets", args.starting_offsets) \
            .load() \
            .select(from_json(col("value").cast("string"), "user_id STRING, event_time TIMESTAMP").alias("data")) \
            .select("data.*")

    # Stream-stream join (requires watermarks)
    clicks = events(args.clicks)
    purchases = events(args.purchases)

    joined = clicks \
        .withWatermark("event_time", "10 minutes") \
        .join(
            purchases.withWatermark("event_time", "10 minutes"),
            "user_id"
        )

query = joined.writeStream.outputMode("append").format("console").option("truncate", "false").start()

query.awaitTermination(args.seconds)
query.stop()
