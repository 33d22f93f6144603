"""Sinks of streams, and writes of tables."""

import pathlib

from pyspark.sql import functions as F

from stream import Feed, at, available, batches

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def names(folder, suffix):
    return len([path for path in pathlib.Path(folder).rglob(f"*.{suffix}") if not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)])


def run(spark, check, work_dir):
    feed = Feed(work_dir / "in").add({"t": at(1), "k": "a", "v": 1}).add({"t": at(2), "k": "b", "v": 2}, {"t": at(3), "v": 3})
    events = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
    for sink in ("parquet", "json", "csv"):
        check(f"{sink}, batches", lambda: available(events, work_dir / sink, sink=sink))
        check(f"{sink}, rows", lambda: spark.read.schema(SCHEMA).format(sink).load(str(work_dir / sink / "out")))
        check(f"{sink}, files", lambda: names(work_dir / sink / "out", sink))
        check(f"{sink}, _spark_metadata", lambda: sorted(path.name for path in (work_dir / sink / "out" / "_spark_metadata").iterdir() if not path.name.startswith(".")))
    check("text, batches", lambda: available(events.select("k"), work_dir / "text", sink="text"))
    check("text, rows", lambda: spark.read.text(str(work_dir / "text" / "out")))
    check("text of two columns", lambda: available(events, work_dir / "text2", sink="text"))
    check("text of numbers", lambda: available(events.select("v"), work_dir / "text3", sink="text"))

    def partitioned():
        writer = events.writeStream.format("parquet").partitionBy("k").option("checkpointLocation", f"{work_dir}/p/checkpoint").trigger(availableNow=True)
        writer.start(f"{work_dir}/p/out").awaitTermination(50)
        return sorted(path.name for path in (work_dir / "p" / "out").iterdir() if path.is_dir() and "=" in path.name)

    check("partitionBy", partitioned)
    check("partitionBy, rows", lambda: spark.read.parquet(str(work_dir / "p" / "out")))

    def start(frame=events, mode="append", **options):
        writer = frame.writeStream.outputMode(mode)
        path = options.pop("path", None)
        kind = options.pop("format", None)
        name = options.pop("name", None)
        writer = writer.format(kind) if kind else writer
        writer = writer.queryName(name) if name else writer
        query = writer.options(**options).start(path)
        query.stop()
        return "starts"

    check("no format and no path", start)
    check("no checkpoint", lambda: start(format="parquet", path=f"{work_dir}/x"))
    check("memory without a name", lambda: start(format="memory"))
    check("unknown sink", lambda: start(format="nothing", checkpointLocation=f"{work_dir}/x1"))
    check("a wrong mode", lambda: start(mode="sideways", format="noop"))
    check("upper-case mode", lambda: start(mode="APPEND", format="noop"))
    for mode in ("update", "complete"):
        counts = events.groupBy("k").count()
        check(f"parquet, {mode}", lambda: start(counts, mode, format="parquet", path=f"{work_dir}/u", checkpointLocation=f"{work_dir}/u1"))
    check("kafka sink", lambda: start(format="kafka", checkpointLocation=f"{work_dir}/k1"))
    check("wrong partition column", lambda: events.writeStream.format("parquet").partitionBy("zz").option("checkpointLocation", f"{work_dir}/z1").start(f"{work_dir}/z"))
    check("console", lambda: start(format="console"))

    def memory(mode):
        query = events.groupBy("k").agg(F.sum("v").alias("s")).writeStream.format("memory").queryName(f"m_{mode}").outputMode(mode).start()
        query.processAllAvailable()
        query.stop()
        return spark.table(f"m_{mode}")

    check("memory, complete", lambda: memory("complete"))
    check("memory, update", lambda: memory("update"))
    check("memory after the end", lambda: spark.sql("SELECT count(*) AS n FROM m_complete"))

    def to_table():
        query = events.writeStream.option("checkpointLocation", f"{work_dir}/t/checkpoint").trigger(availableNow=True).toTable("streamed")
        query.awaitTermination(50)
        rows = sorted(map(str, spark.table("streamed").collect()))
        spark.sql("DROP TABLE streamed")
        return rows

    check("toTable", to_table)

    def noop():
        query = events.writeStream.format("noop").trigger(availableNow=True).option("checkpointLocation", f"{work_dir}/n/checkpoint").start()
        query.awaitTermination(50)
        return [b["input"] for b in batches(query)]

    check("noop", noop)

    df = spark.createDataFrame([(1, "a", 1.5), (2, None, None), (3, "c,d", -0.5)], "id INT, s STRING, d DOUBLE")
    for kind in ("parquet", "json", "csv"):
        path = f"{work_dir}/tables/{kind}"
        check(f"write {kind}", lambda: df.write.format(kind).save(path))
        check(f"read {kind}", lambda: spark.read.schema("id INT, s STRING, d DOUBLE").format(kind).load(path))
        check(f"write {kind} again", lambda: df.write.format(kind).save(path))
        check(f"append {kind}", lambda: [df.write.mode("append").format(kind).save(path), spark.read.format(kind).load(path).count()][1])
        check(f"ignore {kind}", lambda: [df.write.mode("ignore").format(kind).save(path), spark.read.format(kind).load(path).count()][1])
        check(f"overwrite {kind}", lambda: [df.write.mode("overwrite").format(kind).save(path), spark.read.format(kind).load(path).count()][1])
        check(f"success file of {kind}", lambda: (pathlib.Path(path) / "_SUCCESS").exists())
    check("write text", lambda: [df.select(F.coalesce("s", F.lit("-"))).write.text(f"{work_dir}/tables/text"), spark.read.text(f"{work_dir}/tables/text")][1])
    check("write text of numbers", lambda: df.select("id").write.text(f"{work_dir}/tables/text2"))
    check("csv text", lambda: [df.coalesce(1).write.option("header", True).csv(f"{work_dir}/tables/csv2"), spark.read.text(f"{work_dir}/tables/csv2")][1])
    check("json text", lambda: [df.coalesce(1).write.json(f"{work_dir}/tables/json2"), spark.read.text(f"{work_dir}/tables/json2")][1])
    check("wrong mode", lambda: df.write.mode("sometimes").parquet(f"{work_dir}/tables/x"))
    check("write without a path", lambda: df.write.format("parquet").save())
    check("two columns of one name", lambda: df.select("id", "id").write.parquet(f"{work_dir}/tables/twice"))

    def table():
        df.write.mode("overwrite").saveAsTable("kept")
        df.write.insertInto("kept")
        df.write.mode("append").saveAsTable("kept")
        count = spark.table("kept").count()
        spark.sql("DROP TABLE kept")
        return [count, spark.catalog.tableExists("kept")]

    check("saveAsTable", table)
    check("writeTo", lambda: [df.writeTo("made").using("parquet").createOrReplace(), spark.table("made").count(), spark.sql("DROP TABLE made").count()])
