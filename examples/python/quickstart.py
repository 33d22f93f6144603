"""A live windowed aggregate on the screen, in the time it takes to read this.

    pip install pyspark-client
    tidemill server --connect 127.0.0.1:15002 &
    python examples/python/quickstart.py

It makes 200 rides a second, counts them by city in windows of two seconds, shows the newest windows once a second
on this screen, and ends by itself after ten seconds. `--remote` names another server; Spark's own gives the same.
"""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import array, avg, col, count, element_at, lit, round, window

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--remote", default="sc://localhost:15002")
parser.add_argument("--seconds", type=int, default=10)
args = parser.parse_args()

spark = SparkSession.builder.remote(args.remote).getOrCreate()

cities = array(lit("Berlin"), lit("Lagos"), lit("Lima"))
rides = (
    spark.readStream.format("rate")
    .option("rowsPerSecond", 200)
    .load()
    .withColumn("city", element_at(cities, (col("value") % 7 % 3 + 1).cast("int")))
    .withColumn("fare", col("value") % 40 + 5)
)

query = (
    rides.withWatermark("timestamp", "2 seconds")
    .groupBy(window("timestamp", "2 seconds"), "city")
    .agg(count("*").alias("rides"), round(avg("fare"), 2).alias("average_fare"))
    .writeStream.outputMode("complete")
    .format("memory")
    .queryName("city_rides")
    .start()
)

for _ in range(args.seconds):
    query.awaitTermination(1)
    rows = spark.table("city_rides").select("window.start", "city", "rides", "average_fare")
    rows.orderBy(col("start").desc(), "city").limit(6).show(truncate=False)

progress = query.lastProgress
print(f"{progress.batchId + 1} batches; the watermark stands at {progress.eventTime['watermark']}")
query.stop()
spark.stop()
