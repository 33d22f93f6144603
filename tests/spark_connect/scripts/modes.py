"""Which queries start in which output mode, and the error of those that do not."""

import contextlib

from pyspark.sql import functions as F
from pyspark.sql.window import Window

from stream import Feed, at

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def plans(spark, path, static_path):
    events = spark.readStream.schema(SCHEMA).json(path)
    marked = events.withWatermark("t", "10 seconds")
    other = marked.selectExpr("t AS t2", "k AS k2", "v AS v2")
    static = spark.read.schema(SCHEMA).json(static_path).selectExpr("t AS t2", "k AS k2", "v AS v2")
    by_window = F.window("t", "5 seconds")
    near = F.expr("k = k2 AND t2 >= t AND t2 <= t + INTERVAL 5 SECONDS")
    keys = F.expr("k = k2")
    counted = marked.groupBy(by_window).count()
    yield "filter", events.where("v > 1").select("k")
    yield "aggregate without watermark", events.groupBy("k").count()
    yield "aggregate by a key beside the watermark", marked.groupBy("k").count()
    yield "aggregate by window", counted
    yield "aggregate by window without watermark", events.groupBy(by_window).count()
    yield "aggregate by event time", marked.groupBy("t").count()
    yield "global aggregate", events.groupBy().count()
    yield "session window", marked.groupBy(F.session_window("t", "5 seconds"), "k").count()
    yield "session window without watermark", events.groupBy(F.session_window("t", "5 seconds"), "k").count()
    yield "session window alone", marked.groupBy(F.session_window("t", "5 seconds")).count()
    yield "sort", events.orderBy("v")
    yield "sort above an aggregate", counted.orderBy("count")
    yield "limit", events.limit(3)
    yield "limit above an aggregate", counted.limit(3)
    yield "distinct", events.distinct()
    yield "dropDuplicates", marked.dropDuplicates(["k", "t"])
    yield "dropDuplicatesWithinWatermark", marked.dropDuplicatesWithinWatermark(["k"])
    yield "dropDuplicatesWithinWatermark without watermark", events.dropDuplicatesWithinWatermark(["k"])
    yield "aggregate of an aggregate", counted.groupBy(F.window("window", "10 seconds")).count()
    yield "aggregate of an aggregate without watermark", events.groupBy("k").count().groupBy("count").count()
    for how in ("inner", "left", "right", "full", "left_semi", "left_anti"):
        yield f"stream {how} static", events.join(static, keys, how)
        yield f"static {how} stream", static.join(events, keys, how)
        yield f"stream {how} stream, range", marked.join(other, near, how)
        yield f"stream {how} stream, keys only", marked.join(other, keys, how)
        yield f"stream {how} stream, no watermark", events.join(events.selectExpr("t AS t2", "k AS k2"), keys, how)
    yield "cross join of streams", marked.crossJoin(other)
    yield "union of streams", events.union(events)
    yield "union of stream and table", events.union(spark.read.schema(SCHEMA).json(static_path))
    yield "intersect", events.intersect(spark.read.schema(SCHEMA).json(static_path))
    yield "except", events.exceptAll(spark.read.schema(SCHEMA).json(static_path))
    yield "sample", events.sample(0.5, seed=1)
    yield "row_number", events.withColumn("n", F.row_number().over(Window.partitionBy("k").orderBy("t")))
    yield "monotonically_increasing_id", events.withColumn("n", F.monotonically_increasing_id())
    yield "rollup", marked.rollup("k").count()
    yield "cube", marked.cube("k").count()
    yield "pivot", marked.groupBy("k").pivot("v", [1, 2]).count()
    yield "grouping by window and watermark, filter above", counted.where("count > 1")
    yield "count_distinct", marked.groupBy(by_window).agg(F.count_distinct("v"))
    yield "approx_count_distinct", marked.groupBy(by_window).agg(F.approx_count_distinct("v"))
    yield "collect_set", marked.groupBy(by_window).agg(F.collect_set("v"))
    yield "first and last", marked.groupBy(by_window).agg(F.first("v"), F.last("v"))
    yield "explode", events.select(F.explode(F.array("v", "v")))
    yield "window alias", marked.withColumn("w", F.window("t", "5 seconds")).groupBy("w").count()
    yield "fillna and dropna", events.fillna(0).dropna()
    yield "repartition and coalesce", events.repartition(2).coalesce(1)


def run(spark, check, work_dir):
    feed = Feed(work_dir / "in").add({"t": at(1), "k": "a", "v": 1})
    static = Feed(work_dir / "static").add({"t": at(1), "k": "a", "v": 1})
    for name, frame in plans(spark, feed.path, static.path):
        for mode in ("append", "update", "complete"):

            def start():
                query = frame.writeStream.format("noop").outputMode(mode).option("checkpointLocation", f"{work_dir}/{name}/{mode}").start()
                try:
                    return "starts"
                finally:
                    with contextlib.suppress(Exception):
                        query.stop()

            check(f"{name}, {mode}", start)
