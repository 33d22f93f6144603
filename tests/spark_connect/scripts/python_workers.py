"""What needs Python on the server's side: user functions, foreachBatch, foreach, mapInPandas."""

from pyspark.sql import functions as F

from stream import Feed, batches

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def run(spark, check, work_dir):
    df = spark.createDataFrame([(1, "a"), (2, "b"), (3, "a")], "n INT, s STRING")
    twice = F.udf(lambda n: n * 2, "INT")
    check("udf", lambda: df.select(twice("n").alias("r")))
    check("udf in where", lambda: df.where(twice("n") > 3))
    check("udf that fails", lambda: df.select(F.udf(lambda n: 1 // 0, "INT")("n")).collect())
    check("registered udf", lambda: [spark.udf.register("thrice", lambda n: n * 3, "INT"), spark.sql("SELECT thrice(2) AS r").collect()][1])

    def pandas_udf():
        @F.pandas_udf("long")
        def plus_one(n):
            return n + 1

        return df.select(plus_one("n").alias("r"))

    check("pandas_udf", pandas_udf)
    check("mapInPandas", lambda: df.mapInPandas(lambda parts: (part[part.n > 1] for part in parts), "n INT, s STRING"))
    check("mapInArrow", lambda: df.mapInArrow(lambda parts: parts, "n INT, s STRING"))
    check("applyInPandas", lambda: df.groupBy("s").applyInPandas(lambda part: part.assign(n=part.n.sum()).head(1), "n INT, s STRING"))

    feed = Feed(work_dir / "in").add({"k": "a", "v": 1}).add({"k": "b", "v": 2}, {"k": "c", "v": 3})
    events = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)

    def finish(writer, name):
        query = writer.trigger(availableNow=True).option("checkpointLocation", f"{work_dir}/{name}").start()
        query.awaitTermination(50)
        if query.exception():
            raise query.exception()
        return [b["input"] for b in batches(query)]

    out = f"{work_dir}/each"

    def write_batch(frame, number):
        frame.withColumn("batch", F.lit(number)).write.mode("append").parquet(out)

    check("foreachBatch", lambda: finish(events.writeStream.foreachBatch(write_batch), "each checkpoint"))
    check("foreachBatch, rows", lambda: spark.read.parquet(out).select("k", "v", "batch"))

    def count_batch(frame, number):
        frame.sparkSession.range(1).count()
        frame.persist()
        assert frame.count() > 0
        frame.unpersist()

    check("foreachBatch with two actions", lambda: finish(events.groupBy("k").count().writeStream.outputMode("update").foreachBatch(count_batch), "count checkpoint"))

    def fail_batch(_frame, number):
        raise ValueError(f"no batch {number}")

    check("foreachBatch that fails", lambda: finish(events.writeStream.foreachBatch(fail_batch), "fail checkpoint"))

    seen = f"{work_dir}/seen"

    def note(row):
        with open(seen, "a") as lines:
            lines.write(f"{row.k} {row.v}\n")

    check("foreach", lambda: finish(events.writeStream.foreach(note), "note checkpoint"))
    check("foreach, rows", lambda: sorted(open(seen).read().split("\n")))
    check("udf of a stream", lambda: finish(events.select(F.udf(lambda v: v + 1, "BIGINT")("v")).writeStream.format("noop"), "udf checkpoint"))
