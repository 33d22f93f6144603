"""The programs of examples/python, on files: what each gives, batch by batch."""

from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType, StructField, StructType, TimestampType

from stream import Feed, Watch, at, available, steps

RIDES = StructType(
    [StructField(name, StringType(), False) for name in ("ride_id", "driver_id", "rider_id", "city")]
    + [StructField("pickup_lat", DoubleType(), False), StructField("pickup_lon", DoubleType(), False)]
    + [StructField("dropoff_lat", DoubleType(), True), StructField("dropoff_lon", DoubleType(), True)]
    + [StructField("fare_amount", DoubleType(), True), StructField("status", StringType(), False), StructField("event_time", TimestampType(), False)]
)


def ride(number, seconds, city, driver, status="completed", fare=10.0, **more):
    ride = {"ride_id": f"r{number}", "driver_id": driver, "rider_id": f"p{number % 3}", "city": city, "pickup_lat": 1.5, "pickup_lon": 2.5}
    return ride | {"fare_amount": fare, "status": status, "event_time": at(seconds)} | more


def run(spark, check, work_dir):
    feed = Feed(work_dir / "clicks", "csv")
    schema = "user_id STRING, event_type STRING, event_time STRING"
    streaming_df = spark.readStream.format("csv").option("header", "true").option("maxFilesPerTrigger", 1).schema(schema).load(feed.path)
    processed_df = (
        streaming_df.filter(F.col("event_type").isin(["click", "view", "purchase"]))
        .withColumn("event_time", F.col("event_time").cast("timestamp"))
        .withColumn("window", F.window(F.col("event_time"), "5 minutes"))
        .groupBy("window", "event_type")
        .count()
    )
    header = "user_id,event_type,event_time"
    first = [header, "u1,click,2024-01-01 00:01:00", "u2,view,2024-01-01 00:02:00", "u1,scroll,2024-01-01 00:02:00"]
    second = [header, "u3,click,2024-01-01 00:04:59", "u3,click,2024-01-01 00:05:00"]
    steps(check, "basic", Watch(spark, processed_df, "update"), feed, first, second)
    check("basic, schema", lambda: processed_df.schema)

    by_user = streaming_df.groupBy("user_id").agg(F.count("*").alias("event_count"))
    check("update", Watch(spark, by_user, "update").step)
    check("complete", Watch(spark, streaming_df.groupBy("event_type").count(), "complete").step)
    check("append", Watch(spark, streaming_df, "append").step)

    timed = streaming_df.withColumn("event_time", F.col("event_time").cast("timestamp")).withWatermark("event_time", "10 minutes")
    for name, width in (("tumbling", ["5 minutes"]), ("sliding", ["10 minutes", "5 minutes"])):
        counts = timed.groupBy(F.window(F.col("event_time"), *width), "event_type").count()
        check(f"{name} window", Watch(spark, counts, "update").step)
    events = timed.groupBy(F.window(F.col("event_time"), "1 hour"), "user_id").agg(F.collect_list("event_type").alias("events"))
    check("collect_list", Watch(spark, events, "update").step)

    products = work_dir / "products"
    spark.createDataFrame([("click", "c"), ("view", "v")], "event_type STRING, short STRING").write.parquet(str(products))
    static_df = spark.read.parquet(str(products))
    joined = streaming_df.join(static_df, streaming_df.event_type == static_df.event_type, "left")
    check("stream-static join", Watch(spark, joined).step)
    joined = timed.join(timed.select("user_id", F.col("event_type").alias("other"), "event_time"), "user_id")
    check("stream-stream join", Watch(spark, joined).step)

    feed = Feed(work_dir / "rides", "txt")
    raw = spark.readStream.format("text").option("maxFilesPerTrigger", 1).load(feed.path)
    parsed = raw.select(F.from_json(F.col("value"), RIDES).alias("data")).select("data.*")
    clean = (
        parsed.filter(F.col("status").isin(["completed", "cancelled", "in_progress"]))
        .withColumn("event_date", F.to_date(F.col("event_time")))
        .withColumn("hour_of_day", F.hour(F.col("event_time")))
    )
    check("rides, schema", lambda: clean.schema)
    city_rides = (
        clean.withWatermark("event_time", "10 minutes")
        .groupBy(F.window(F.col("event_time"), "5 minutes"), "city")
        .agg(
            F.count("*").alias("ride_count"),
            F.sum(F.when(F.col("status") == "completed", 1).otherwise(0)).alias("completed_rides"),
            F.avg("fare_amount").alias("avg_fare"),
            F.approx_count_distinct("driver_id").alias("active_drivers"),
        )
        .withColumn("completion_rate", F.col("completed_rides") / F.col("ride_count"))
    )
    check("city rides, schema", lambda: city_rides.schema)
    surge = (
        clean.withWatermark("event_time", "10 minutes")
        .groupBy(F.window(F.col("event_time"), "5 minutes"), "city")
        .agg(
            F.count("*").alias("total_requests"),
            F.sum(F.when(F.col("status") == "in_progress", 1).otherwise(0)).alias("active_rides"),
            F.approx_count_distinct("driver_id").alias("available_drivers"),
        )
        .withColumn(
            "surge_multiplier",
            F.when(F.col("active_rides") / F.col("available_drivers") > 3, 2.0)
            .when(F.col("active_rides") / F.col("available_drivers") > 2, 1.5)
            .otherwise(1.0),
        )
    )
    drivers = (
        clean.withWatermark("event_time", "30 minutes")
        .filter(F.col("status") == "completed")
        .groupBy(F.window(F.col("event_time"), "15 minutes"), "driver_id")
        .agg(F.count("*").alias("completed_rides"), F.avg("fare_amount").alias("avg_fare"))
    )
    rides = [
        [ride(n, 60 * n, "sf" if n % 2 else "ny", f"d{n % 4}", "completed" if n % 3 else "in_progress", 10.0 + n) for n in range(12)],
        ["not a ride", "", ride(20, 4000, "sf", "d9", "lost"), ride(21, 4000, "sf", None, "completed", None)],
        [ride(22, 30, "ny", "d1"), *[ride(n, 4100, "sf", "d1", "in_progress") for n in range(30, 35)]],
        [ride(40, 9000, "ny", "d1")],
    ]
    for name, frame, mode in (
        ("city rides as JSON", city_rides.select(F.col("city").alias("key"), F.to_json(F.struct("*")).alias("value")), "update"),
        ("surge", surge.filter(F.col("surge_multiplier") > 1.0), "update"),
        ("drivers", drivers, "append"),
    ):
        for lines in rides if feed.count == 0 else []:
            feed.add(*lines)
        check(name, Watch(spark, frame, mode).step)
    check("drivers into parquet", lambda: available(drivers, work_dir / "lake"))
    check("drivers out of parquet", lambda: spark.read.parquet(str(work_dir / "lake" / "out")))
    exact = clean.groupBy("driver_id").agg(F.count_distinct("rider_id").alias("unique_riders"))
    check("countDistinct of a stream", lambda: Watch(spark, exact, "update").step()["rows"])
    check("countDistinct is not among the names of *", lambda: "countDistinct" in F.__all__)
    check("kafka without an event_time", lambda: spark.readStream.format("kafka").option("kafka.bootstrap.servers", "localhost:1").option("subscribe", "clicks").load().withWatermark("event_time", "10 minutes").schema.simpleString())
