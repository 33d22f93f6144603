"""The three output modes: append into parquet, complete and update onto the server's console.

    python examples/python/output_modes.py append --input data/clicks --checkpoints /tmp/checkpoints --output /tmp/events
    python examples/python/output_modes.py complete --input data/clicks --checkpoints /tmp/checkpoints
    python examples/python/output_modes.py update --input data/clicks --checkpoints /tmp/checkpoints

The files are those of basic.py. Runs until interrupted, or for --seconds.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import *

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("mode", choices=["append", "complete", "update"])
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--input", default="s3a://bucket/input/")
parser.add_argument("--output", default="s3a://bucket/output/")
parser.add_argument("--checkpoints", default="s3a://bucket/checkpoints/")
parser.add_argument("--seconds", type=float, help="end after so many seconds")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()

streaming_df = spark.readStream \
    .format("csv") \
    .option("header", "true") \
    .schema("user_id STRING, event_type STRING, product_id STRING, event_time TIMESTAMP") \
    .load(args.input)

if args.mode == "append":
    # Append mode: only new rows
    query = streaming_df.writeStream \
        .outputMode("append") \
        .format("parquet") \
        .option("checkpointLocation", args.checkpoints + "/append/") \
        .option("path", args.output) \
        .start()

elif args.mode == "complete":
    # Complete mode: entire result table
    query = streaming_df \
        .groupBy("event_type") \
        .count() \
        .writeStream \
        .outputMode("complete") \
        .format("console") \
        .option("checkpointLocation", args.checkpoints + "/complete/") \
        .start()

else:
    # Update mode: only updated rows
    query = streaming_df \
        .groupBy("user_id") \
        .agg(count("*").alias("event_count")) \
        .writeStream \
        .outputMode("update") \
        .format("console") \
        .option("checkpointLocation", args.checkpoints + "/update/") \
        .start()

query.awaitTermination(args.seconds)
query.stop()
