"""Tumbling, sliding and session windows over the files of basic.py.

    python examples/python/windows.py tumbling --input data/clicks

Each batch's changed rows go to the server's console (sessions only when they close: Spark's rule for session windows
is append mode). Runs until interrupted, or for --seconds.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import *

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("kind", choices=["tumbling", "sliding", "session"])
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--input", default="s3a://bucket/input/")
parser.add_argument("--seconds", type=float, help="end after so many seconds")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()

streaming_df = spark.readStream \
    .format("csv") \
    .option("header", "true") \
    .schema("user_id STRING, event_type STRING, product_id STRING, event_time TIMESTAMP") \
    .load(args.input)

# Tumbling window: non-overlapping fixed-size windows
windowed_counts = streaming_df \
    .withWatermark("event_time", "10 minutes") \
    .groupBy(
        window(col("event_time"), "5 minutes"),  # 5-minute tumbling window
        "event_type"
    ) \
    .count()

# Sliding window: overlapping windows
sliding_counts = streaming_df \
    .withWatermark("event_time", "10 minutes") \
    .groupBy(
        window(col("event_time"), "10 minutes", "5 minutes"),  # 10-min window, slides every 5 min
        "event_type"
    ) \
    .count()

# Session window: dynamic windows based on activity gaps
session_counts = streaming_df \
    .withWatermark("event_time", "10 minutes") \
    .groupBy(
        session_window(col("event_time"), "10 minutes"),  # Session gap
        "user_id"
    ) \
    .count()

counts, mode = {
    "tumbling": (windowed_counts, "update"),
    "sliding": (sliding_counts, "update"),
    "session": (session_counts, "append"),
}[args.kind]
query = counts.writeStream.outputMode(mode).format("console").option("truncate", "false").start()

query.awaitTermination(args.seconds)
query.stop()
