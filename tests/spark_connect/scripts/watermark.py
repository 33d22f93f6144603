"""Watermarks: what a wrong one answers, what lateness means to each operator, and what a restart restores."""

from pyspark.sql import functions as F

from stream import Feed, Watch, at, available, steps

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def events(spark, feed, delay="10 seconds"):
    return spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path).withWatermark("t", delay)


def lines(*times):
    return [{"t": at(time), "k": "a", "v": 1} for time in times]


def run(spark, check, work_dir):
    feed = Feed(work_dir / "wrong").add(*lines(1))
    plain = spark.readStream.schema(SCHEMA).json(feed.path)
    check("delay of -1 second", lambda: plain.withWatermark("t", "-1 second").schema.simpleString())
    check("delay that is no interval", lambda: plain.withWatermark("t", "soon").schema.simpleString())
    check("delay of a month", lambda: plain.withWatermark("t", "1 month").schema.simpleString())
    check("of a string", lambda: plain.withWatermark("k", "1 second").schema.simpleString())
    check("of an unknown column", lambda: plain.withWatermark("nothing", "1 second").schema.simpleString())
    check("of a date", lambda: plain.withColumn("d", F.to_date("t")).withWatermark("d", "1 second").schema.simpleString())
    check("metadata", lambda: plain.withWatermark("t", "90 seconds").schema["t"].metadata)
    check("metadata of a window", lambda: plain.withWatermark("t", "90 seconds").select(F.window("t", "1 minute")).schema["window"].metadata)
    check("on a table nothing happens", lambda: spark.read.schema(SCHEMA).json(feed.path).withWatermark("t", "1 second"))

    for mode in ("append", "update", "complete"):
        feed = Feed(work_dir / mode)
        counts = events(spark, feed).groupBy(F.window("t", "5 seconds")).count()
        files = [lines(10, 11, 12, 13, 14, 15), lines(25), lines(10, 25), lines(10), lines(40)]
        steps(check, f"tumbling, {mode}", Watch(spark, counts, mode), feed, *files)

    feed = Feed(work_dir / "sliding")
    counts = events(spark, feed, "3 seconds").groupBy(F.window("t", "10 seconds", "3 seconds", "1 second"), "k").agg(F.sum("v"))
    steps(check, "sliding", Watch(spark, counts, "update"), feed, lines(10, 12, 13), lines(30), lines(12, 30), lines(60))

    feed = Feed(work_dir / "sessions")
    counts = events(spark, feed).groupBy(F.session_window("t", "5 seconds"), "k").count()
    steps(check, "sessions", Watch(spark, counts), feed, lines(10, 15, 30), lines(60), lines(44, 45, 46), lines(100))

    feed = Feed(work_dir / "dedupe")
    steps(check, "dedupe", Watch(spark, events(spark, feed).dropDuplicates(["k", "t"])), feed, lines(10, 10), lines(25), lines(10, 15, 16))

    feed = Feed(work_dir / "within")
    once = events(spark, feed, "2 seconds").dropDuplicatesWithinWatermark(["k"])
    steps(check, "within the watermark", Watch(spark, once), feed, lines(17), lines(16), lines(13), lines(22), lines(30))

    feed = Feed(work_dir / "twice")
    twice = events(spark, feed, "0 seconds").groupBy(F.window("t", "5 seconds")).count().groupBy(F.window("window", "10 seconds"))
    steps(check, "aggregate of an aggregate", Watch(spark, twice.agg(F.sum("count"))), feed, lines(1, 6, 11), lines(16), lines(21), lines(40))

    feed = Feed(work_dir / "restart").add(*lines(10)).add(*lines(30))
    counts = events(spark, feed).groupBy(F.window("t", "5 seconds")).count()
    check("first run", lambda: available(counts, work_dir / "restarted"))
    check("nothing new", lambda: available(counts, work_dir / "restarted"))
    feed.add(*lines(1, 31)).add(*lines(60))
    check("second run", lambda: available(counts, work_dir / "restarted"))
    check("what was written", lambda: spark.read.parquet(str(work_dir / "restarted" / "out")))

    feed = Feed(work_dir / "switched")
    spark.conf.set("spark.sql.streaming.noDataMicroBatches.enabled", "false")
    counts = events(spark, feed).groupBy(F.window("t", "5 seconds")).count()
    steps(check, "no batches without data", Watch(spark, counts), feed, lines(10), lines(25), lines(26))
    spark.conf.unset("spark.sql.streaming.noDataMicroBatches.enabled")
