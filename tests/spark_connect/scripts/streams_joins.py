"""Joins of a stream with a table and with another stream, batch by batch."""

from pyspark.sql import functions as F

from stream import Feed, Watch, at, steps

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def line(time, key, value=1):
    return {"t": at(time), "k": key, "v": value}


def run(spark, check, work_dir):
    products = spark.createDataFrame([("a", "apple"), ("b", "bread"), (None, "nothing")], "k STRING, name STRING")
    for how in ("inner", "left", "left_semi", "left_anti"):
        feed = Feed(work_dir / how)
        events = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
        joined = events.join(products, events.k == products.k, how)
        steps(check, f"table, {how}", Watch(spark, joined), feed, [line(1, "a"), line(2, "z")], [line(3, None), line(4, "b")])

    # One folder, two sources over it: both sides move in the same batch, so that every run has the same batches.
    for how in ("inner", "left", "right", "full", "left_semi"):
        feed = Feed(work_dir / f"both {how}")
        both = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
        clicks = both.where("v = 1").withWatermark("t", "10 seconds").alias("c")
        buys = both.where("v = 2").withWatermark("t", "5 seconds").selectExpr("t AS t2", "k AS k2").alias("b")
        joined = clicks.join(buys, F.expr("k = k2 AND t2 >= t AND t2 <= t + INTERVAL 5 SECONDS"), how)
        files = [
            [line(10, "x"), line(11, "y"), line(12, "x", 2)],
            [line(40, "q"), line(41, "q", 2)],
            [line(9, "x"), line(30, "x", 2), line(80, "e"), line(80, "e", 2)],
            [line(200, "l"), line(200, "m", 2)],
        ]
        steps(check, f"stream, {how}", Watch(spark, joined), feed, *files)

    feed = Feed(work_dir / "by name")
    both = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
    joined = both.withWatermark("t", "10 seconds").join(both.withWatermark("t", "10 seconds").select("k", F.col("v").alias("w")), "k")
    steps(check, "by name, no range", Watch(spark, joined), feed, [line(1, "a"), line(2, "a", 2)], [line(3, "a", 3)])

    feed = Feed(work_dir / "counted")
    both = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path).withWatermark("t", "2 seconds")
    joined = both.alias("x").join(both.alias("y"), F.expr("x.k = y.k AND x.t = y.t"))
    counts = joined.groupBy(F.window("x.t", "5 seconds")).count()
    steps(check, "join, then count", Watch(spark, counts), feed, [line(1, "a"), line(2, "a")], [line(20, "a")], [line(40, "a")])

    feed = Feed(work_dir / "union")
    both = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
    union = both.where("v = 1").withWatermark("t", "5 seconds").union(both.where("v = 2").withWatermark("t", "20 seconds"))
    counts = union.groupBy(F.window("t", "5 seconds")).agg(F.count("*"), F.sum("v"))
    steps(check, "union of two watermarks", Watch(spark, counts), feed, [line(10, "a")], [line(50, "b", 2)], [line(90, "a")], [line(91, "b", 2)])
