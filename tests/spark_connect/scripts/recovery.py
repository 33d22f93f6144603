"""Restarts: what a checkpoint holds, what a changed query answers, what a lost commit gives."""

from pyspark.sql import functions as F

from stream import Feed, at, available

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def run(spark, check, work_dir):
    def events(feed):
        return spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)

    feed = Feed(work_dir / "lost in").add({"k": "a", "v": 1}).add({"k": "b", "v": 2})
    folder = work_dir / "lost"
    check("lost commit: first run", lambda: available(events(feed), folder))
    check("lost commit: what the checkpoint holds", lambda: {name: sorted(int(p.name) for p in (folder / "checkpoint" / name).iterdir() if p.name.isdigit()) for name in ("offsets", "commits")})

    def lose():
        for path in (folder / "checkpoint" / "commits").iterdir():
            if path.name.isdigit() and int(path.name) == 1 or path.name == ".1.crc":
                path.unlink()
        feed.add({"k": "c", "v": 3})
        return available(events(feed), folder)

    check("lost commit: second run", lose)
    check("lost commit: rows", lambda: spark.read.parquet(str(folder / "out")))

    changes = {
        "a filter": lambda f: f.where("v > 0").groupBy("k").agg(F.sum("v").alias("s")),
        "another name": lambda f: f.groupBy("k").agg(F.sum("v").alias("total")),
        "another aggregate of the same type": lambda f: f.groupBy("k").agg(F.max("v").alias("s")),
        "an aggregate more": lambda f: f.groupBy("k").agg(F.sum("v").alias("s"), F.count("*").alias("n")),
        "an average": lambda f: f.groupBy("k").agg(F.avg("v").alias("s")),
        "another key": lambda f: f.groupBy("v").agg(F.sum("v").alias("s")),
        "a key more": lambda f: f.groupBy("k", "v").agg(F.sum("v").alias("s")),
        "deduplication": lambda f: f.dropDuplicates(["k"]),
        "no state": lambda f: f,
        "the same": lambda f: f.groupBy("k").agg(F.sum("v").alias("s")),
    }
    for name, change in changes.items():
        feed = Feed(work_dir / f"{name} in").add({"k": "a", "v": 5})

        def go(frame):
            writer = frame.writeStream.format("noop").outputMode("update").trigger(availableNow=True)
            query = writer.option("checkpointLocation", f"{work_dir}/{name}").start()
            ended = query.awaitTermination(50)
            return [ended, query.lastProgress.batchId, [o.numRowsTotal for o in query.lastProgress.stateOperators]]

        check(f"change to {name}: before", lambda: go(changes["the same"](events(feed))))
        feed.add({"k": "a", "v": 7})
        check(f"change to {name}: after", lambda: go(change(events(feed))))

    feed = Feed(work_dir / "sources in").add({"k": "a", "v": 5})
    check("one source", lambda: available(events(feed), work_dir / "sources"))
    feed.add({"k": "b"})
    check("two sources", lambda: available(events(feed).union(events(feed)), work_dir / "sources"))

    feed = Feed(work_dir / "complete in").add({"k": "a", "v": 5})

    def complete():
        counts = events(feed).groupBy("k").agg(F.sum("v").alias("s"))
        query = counts.writeStream.format("memory").queryName("kept").outputMode("complete").option("checkpointLocation", f"{work_dir}/complete").start()
        query.processAllAvailable()
        query.stop()
        return [query.lastProgress.batchId if query.lastProgress else None, spark.table("kept").collect()]

    check("memory in complete mode: first", complete)
    feed.add({"k": "a", "v": 6})
    check("memory in complete mode: again", complete)

    def memory():
        query = events(feed).writeStream.format("memory").queryName("kept2").option("checkpointLocation", f"{work_dir}/memory").start()
        query.processAllAvailable()
        query.stop()
        return spark.table("kept2").count()

    check("memory in append mode: first", memory)
    check("memory in append mode: again", memory)
