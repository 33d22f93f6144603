"""PySpark's side of the comparison: the city query over JSON files.

Arguments: the directory of events, the number of runs. Prints one line a run: the seconds from the start of the query to its end,
checkpoint included. The first run warms the JVM up and is not printed.
"""

import sys
import tempfile
import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

SCHEMA = (
    "ride_id STRING, driver_id STRING, rider_id STRING, city STRING, pickup_lat DOUBLE, pickup_lon DOUBLE, "
    "dropoff_lat DOUBLE, dropoff_lon DOUBLE, fare_amount DOUBLE, status STRING, event_time TIMESTAMP"
)


def run(spark, directory):
    rides = spark.readStream.schema(SCHEMA).json(directory)
    city = (
        rides.filter(F.col("status").isin("completed", "cancelled", "in_progress"))
        .withWatermark("event_time", "10 minutes")
        .groupBy(F.window(F.col("event_time"), "5 minutes"), F.col("city"))
        .agg(
            F.count("*").alias("ride_count"),
            F.sum(F.when(F.col("status") == "completed", 1).otherwise(0)).alias("completed_rides"),
            F.avg(F.col("fare_amount")).alias("avg_fare"),
            F.approx_count_distinct(F.col("driver_id")).alias("active_drivers"),
        )
        .withColumn("completion_rate", F.col("completed_rides") / F.col("ride_count"))
    )
    with tempfile.TemporaryDirectory() as checkpoint:
        started = time.perf_counter()
        query = (
            city.writeStream.outputMode("update")
            .format("noop")
            .option("checkpointLocation", checkpoint)
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
        return time.perf_counter() - started


def main():
    directory, runs = sys.argv[1], int(sys.argv[2])
    spark = (
        SparkSession.builder.master("local[2]")
        .appName("city metrics")
        .config("spark.sql.shuffle.partitions", 2)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    run(spark, directory)
    for _ in range(runs):
        print(f"{run(spark, directory):.3f}", flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
