"""Triggers: when a batch runs.

    python examples/python/triggers.py available-now --input data/clicks

The kinds are processing-time, as-fast-as-possible, once, available-now and continuous. once and available-now end by
themselves; the others run until interrupted, or for --seconds. Rows go to the server's console.
"""

import argparse

from pyspark.sql import SparkSession

KINDS = ["processing-time", "as-fast-as-possible", "once", "available-now", "continuous"]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("kind", choices=KINDS)
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--input", default="s3a://bucket/input/")
parser.add_argument("--seconds", type=float, help="end after so many seconds")
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()

if args.kind == "continuous":
    # Continuous processing reads what has no batches: Kafka, or the rate source.
    streaming_df = spark.readStream.format("rate").load()
else:
    streaming_df = spark.readStream \
        .format("csv") \
        .option("header", "true") \
        .option("maxFilesPerTrigger", 1) \
        .schema("user_id STRING, event_type STRING, product_id STRING, event_time TIMESTAMP") \
        .load(args.input)

# The default sink is parquet, which wants a path; the console wants nothing.
writer = streaming_df.writeStream.format("console")

if args.kind == "processing-time":
    # Process new data every 30 seconds
    query = writer \
        .trigger(processingTime="30 seconds") \
        .start()

elif args.kind == "as-fast-as-possible":
    # Process as fast as possible (default)
    query = writer \
        .trigger(processingTime="0 seconds") \
        .start()

elif args.kind == "once":
    # Process all available data in one batch, then stop
    query = writer \
        .trigger(once=True) \
        .start()

elif args.kind == "available-now":
    # Process all available data in batches of the source's limits, then stop
    query = writer \
        .trigger(availableNow=True) \
        .start()

else:
    query = writer \
        .trigger(continuous="1 second") \
        .start()

query.awaitTermination(args.seconds)
query.stop()
