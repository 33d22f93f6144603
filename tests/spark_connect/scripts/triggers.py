"""Triggers: once, available now, processing time, continuous, and the wrong ones."""

from pyspark.sql import functions as F

from stream import Feed, at, batches


def lines(*times):
    return [{"t": at(time), "k": "a", "v": 1} for time in times]


def run(spark, check, work_dir):
    schema = "t TIMESTAMP, k STRING, v BIGINT"

    def counts(feed):
        events = spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).json(feed.path)
        return events.withWatermark("t", "5 seconds").groupBy(F.window("t", "10 seconds")).count()

    def go(feed, name, **trigger):
        writer = counts(feed).writeStream.format("parquet").outputMode("append").trigger(**trigger)
        query = writer.option("checkpointLocation", f"{work_dir}/{name}/checkpoint").start(f"{work_dir}/{name}/out")
        ended = query.awaitTermination(50)
        return {"ended": ended, "active": query.isActive, "batches": batches(query)}

    for name, trigger in (("available now", {"availableNow": True}), ("once", {"once": True})):
        feed = Feed(work_dir / f"{name} in").add(*lines(10)).add(*lines(25)).add(*lines(30))
        check(f"{name}, three files", lambda: go(feed, name, **trigger))
        check(f"{name}, nothing new", lambda: go(feed, name, **trigger))
        feed.add(*lines(45)).add(*lines(50))
        check(f"{name}, two more", lambda: go(feed, name, **trigger))
        check(f"{name}, output", lambda: spark.read.schema("window STRUCT<start: TIMESTAMP, end: TIMESTAMP>, count BIGINT").parquet(f"{work_dir}/{name}/out"))

    feed = Feed(work_dir / "processing time in").add(*lines(10)).add(*lines(25))

    def processing_time():
        writer = counts(feed).writeStream.format("memory").queryName("ticks").outputMode("append").trigger(processingTime="1 second")
        query = writer.start()
        query.processAllAvailable()
        rows = spark.table("ticks").collect()
        query.stop()
        return {"batches": [b["batch"] for b in batches(query)], "rows": rows}

    check("processing time", processing_time)

    def wrong(**trigger):
        query = counts(feed).writeStream.format("noop").outputMode("append").trigger(**trigger).start()
        query.stop()
        return "starts"

    check("two triggers", lambda: wrong(once=True, availableNow=True))
    check("no trigger in trigger()", lambda: wrong())
    check("processing time of -1 second", lambda: wrong(processingTime="-1 second"))
    check("processing time that is no interval", lambda: wrong(processingTime="often"))
    check("processing time of months", lambda: wrong(processingTime="1 month"))
    check("empty processing time", lambda: wrong(processingTime=""))
    check("once=False", lambda: wrong(once=False))
    check("continuous over files", lambda: wrong(continuous="1 second"))
    check("continuous that is no interval", lambda: wrong(continuous="x"))
    check("real time under five seconds", lambda: wrong(realTime="1 second"))

    def continuous():
        numbers = spark.readStream.format("rate").option("rowsPerSecond", 5).load().select("value")
        query = numbers.writeStream.format("noop").trigger(continuous="1 second").start()
        active = query.isActive
        query.stop()
        return [active, query.isActive, query.exception()]

    check("continuous over rate", continuous)
