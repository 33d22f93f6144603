"""Watermarks: late data is dropped, and state older than the watermark is let go.

    python examples/python/watermark.py late --input data/clicks
    python examples/python/watermark.py state --input data/clicks

`late` counts in windows of 5 minutes; `state` keeps each user's list of events of an hour, which without a watermark
would grow for ever. Prints what each batch dropped and what the state holds. Runs until interrupted, or for --seconds.
"""

import argparse
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import *

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("kind", choices=["late", "state"])
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--input", default="s3a://bucket/input/")
parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so many seconds")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()

streaming_df = spark.readStream \
    .format("csv") \
    .option("header", "true") \
    .option("maxFilesPerTrigger", 1) \
    .schema("user_id STRING, event_type STRING, product_id STRING, event_time TIMESTAMP") \
    .load(args.input)

if args.kind == "late":
    # Watermark defines how late data can arrive
    # A window that ended more than 10 minutes before the newest event takes no more rows
    query = streaming_df \
        .withWatermark("event_time", "10 minutes") \
        .groupBy(
            window(col("event_time"), "5 minutes"),
            "event_type"
        ) \
        .count() \
        .writeStream \
        .outputMode("update") \
        .format("console") \
        .start()

else:
    # Without watermark, user_id state grows unbounded
    # With watermark, state is cleaned up for old windows
    query = streaming_df \
        .withWatermark("event_time", "10 minutes") \
        .groupBy(
            window(col("event_time"), "1 hour"),
            "user_id"
        ) \
        .agg(
            collect_list("event_type").alias("events")
        ) \
        .writeStream \
        .outputMode("update") \
        .format("console") \
        .start()

started, seen = time.monotonic(), -1
while not query.awaitTermination(1) and time.monotonic() - started < args.seconds:
    for progress in query.recentProgress:
        if progress.batchId > seen and progress.stateOperators:
            seen, state = progress.batchId, progress.stateOperators[0]
            print(
                f"batch {seen}: watermark {progress.eventTime['watermark']}, {state.numRowsTotal} groups kept,"
                f" {state.numRowsRemoved} let go, {state.numRowsDroppedByWatermark} too late"
            )
query.stop()
