"""The basic example: CSV files, filtered and counted in windows of five minutes, on the server's console.

    python examples/python/basic.py --input data/clicks --checkpoints /tmp/checkpoints

The files have the columns user_id, event_type, product_id and event_time. Runs until interrupted, or for --seconds.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import *
from pyspark.sql.types import StringType, StructField, StructType

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--input", default="s3a://bucket/input/")
parser.add_argument("--checkpoints", default="s3a://bucket/checkpoints/")
parser.add_argument("--seconds", type=float, help="end after so many seconds")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()
spark.conf.set("spark.sql.shuffle.partitions", "200")

schema = StructType([StructField(name, StringType()) for name in ("user_id", "event_type", "product_id", "event_time")])

# Read from a file source (for demo)
streaming_df = spark.readStream \
    .format("csv") \
    .option("header", "true") \
    .schema(schema) \
    .load(args.input)

# Apply transformations
processed_df = streaming_df \
    .filter(col("event_type").isin(["click", "view", "purchase"])) \
    .withColumn("event_time", col("event_time").cast("timestamp")) \
    .withColumn("window", window(col("event_time"), "5 minutes")) \
    .groupBy("window", "event_type") \
    .count()

# Write to output
query = processed_df.writeStream \
    .outputMode("update") \
    .format("console") \
    .option("checkpointLocation", args.checkpoints) \
    .trigger(processingTime="30 seconds") \
    .start()

query.awaitTermination(args.seconds)
query.stop()
