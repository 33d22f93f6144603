"""Exactly once: a query that ends in the middle, and goes on where it stopped.

    python examples/python/checkpoint.py --input data/clicks --output /tmp/events --checkpoints /tmp/checkpoints

Each run takes what is new, prints what the query says of itself, and ends; run it twice and no row is written twice.
The last lines are the settings of the tutorial's tuning section.
"""

import argparse

from pyspark.sql import SparkSession

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--input", default="s3a://bucket/input/")
parser.add_argument("--output", default="s3a://bucket/output/")
parser.add_argument("--checkpoints", default="s3a://bucket/checkpoints/query-1/")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()

streaming_df = spark.readStream \
    .format("csv") \
    .option("header", "true") \
    .option("maxFilesPerTrigger", 1) \
    .schema("user_id STRING, event_type STRING, product_id STRING, event_time TIMESTAMP") \
    .load(args.input)

# Checkpointing stores:
# 1. Offset ranges (what data has been processed)
# 2. State (for stateful operations)
# 3. Aggregated results (for incremental updates)

# Checkpoint location must be on reliable storage
query = streaming_df.writeStream \
    .option("checkpointLocation", args.checkpoints) \
    .option("path", args.output) \
    .trigger(availableNow=True) \
    .start()

query.awaitTermination()

print("status", query.status)  # Current status
for progress in query.recentProgress:  # Recent batch progress
    print("batch", progress.batchId, "took", progress.numInputRows, "rows")
print("last batch", query.lastProgress and query.lastProgress.batchId)  # Last batch progress
print("error", query.exception())
print(spark.read.parquet(args.output).count(), "rows written in all runs")

# 1. Rate limiting (this key is for Spark's old DStreams; maxOffsetsPerTrigger is the option that limits)
spark.conf.set("spark.streaming.kafka.maxRatePerPartition", "10000")

# 2. Micro-batch optimization
spark.conf.set("spark.sql.shuffle.partitions", "200")

# 3. State store optimization
spark.conf.set("spark.sql.streaming.stateStore.providerClass",
               "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider")

# 4. Memory management for stateful operations
spark.conf.set("spark.sql.streaming.stateStore.rocksDB.format", "true")
