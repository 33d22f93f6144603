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
    rows_of_relations(spark, check, df)

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
    def rows_to_rows(parts):
        for part in parts:
            yield part.assign(v=part.v * 10)[["k", "v"]]

    def one_of_each(key, part):
        return part.assign(k=key[0], v=part.v.sum())[["k", "v"]].head(1)

    def in_memory(frame, name, mode="append"):
        finish(frame.writeStream.format("memory").queryName(name).outputMode(mode), f"{name} checkpoint")
        return spark.table(name)

    pair = "k STRING, v BIGINT"
    check("mapInPandas of a stream", lambda: in_memory(events.mapInPandas(rows_to_rows, pair), "mapped"))
    check("mapInPandas, then an aggregation", lambda: in_memory(events.mapInPandas(rows_to_rows, pair).groupBy("k").sum("v"), "mapped_sums", "complete"))
    counts = events.groupBy("k").count().withColumnRenamed("count", "v")
    check("an aggregation, then mapInPandas", lambda: in_memory(counts.mapInPandas(rows_to_rows, pair), "counts_mapped", "complete"))
    check("mapInArrow of a stream", lambda: in_memory(events.select("k", "v").mapInArrow(lambda parts: parts, pair), "arrow_mapped"))
    check("applyInPandas of a stream", lambda: in_memory(events.groupBy("k").applyInPandas(one_of_each, pair), "applied"))
    check("cogroup of a stream", lambda: in_memory(events.groupBy("k").cogroup(events.groupBy("k")).applyInPandas(lambda a, b: a[["k", "v"]], pair), "cogrouped"))
    check("mapInPandas in complete mode", lambda: in_memory(events.mapInPandas(rows_to_rows, pair), "complete_map", "complete"))
    check("mapInPandas of a stream that fails", lambda: in_memory(events.mapInPandas(lambda parts: (1 // 0 for part in parts), pair), "failing"))
    check("udf of a stream", lambda: finish(events.select(F.udf(lambda v: v + 1, "BIGINT")("v")).writeStream.format("noop"), "udf checkpoint"))


def rows_of_relations(spark, check, df):
    """Functions over the rows of tables."""
    import pandas as pd
    import pyarrow as pa

    wide = spark.createDataFrame(
        [(1, "a", 1.5, [1, 2]), (2, "b", None, None), (3, "a", -0.5, []), (None, None, 2.0, [3])],
        "n INT, s STRING, d DOUBLE, l ARRAY<INT>",
    )
    types = spark.sql("SELECT DATE'2024-02-29' AS d, TIMESTAMP'2024-02-29 12:00:00' AS t, CAST(1.5 AS DECIMAL(10, 2)) AS x, struct(1 AS a, 'b' AS b) AS st, true AS b, X'01FF' AS bin")

    def same(parts):
        yield from parts

    check("mapInPandas, every type", lambda: types.mapInArrow(same, types.schema))
    check("mapInPandas, pandas types", lambda: types.drop("st").mapInPandas(same, types.drop("st").schema))
    check("mapInPandas, more columns", lambda: df.mapInPandas(lambda parts: (part.assign(twice=part.n * 2) for part in parts), "n INT, s STRING, twice INT"))
    check("mapInPandas, columns by name", lambda: df.mapInPandas(lambda parts: (part[["s", "n"]] for part in parts), "n INT, s STRING"))
    check("mapInPandas, a schema", lambda: df.mapInPandas(same, df.schema).schema.simpleString())
    check("mapInPandas of no rows", lambda: df.where("n > 99").mapInPandas(same, df.schema))
    check("mapInPandas, more rows", lambda: df.mapInPandas(lambda parts: (pd.concat([part, part]) for part in parts), df.schema).count())
    check("mapInPandas, then SQL", lambda: df.mapInPandas(same, df.schema).groupBy("s").agg(F.sum("n").alias("n")).orderBy("s"))
    check("mapInPandas twice", lambda: df.mapInPandas(same, df.schema).mapInPandas(same, df.schema).orderBy("n"))
    check("mapInPandas, a column is missing", lambda: df.mapInPandas(lambda parts: (part[["n"]] for part in parts), "n INT, s STRING").collect())
    check("mapInPandas, no rows but a number", lambda: df.mapInPandas(lambda parts: (1 for part in parts), "n INT").collect())
    check("mapInPandas, a type is another", lambda: df.mapInPandas(same, "n INT, s INT").collect())
    check("mapInPandas, no schema of columns", lambda: df.mapInPandas(same, "INT").collect())
    check("mapInPandas by plan", lambda: df.mapInPandas(same, df.schema).select("s").distinct().orderBy("s"))

    def doubled(parts):
        for part in parts:
            yield pa.RecordBatch.from_pydict({"s": part.column("s"), "n": [n.as_py() * 2 for n in part.column("n")]})

    check("mapInArrow, rows", lambda: df.mapInArrow(doubled, "s STRING, n BIGINT").orderBy("n"))

    def center(key, part):
        return part.assign(n=part.n - part.n.mean(), s=str(key[0]))

    check("applyInPandas with a key", lambda: df.groupBy("s").applyInPandas(center, "n DOUBLE, s STRING").orderBy("n"))
    check("applyInPandas, NULL is a key", lambda: wide.groupBy("s").applyInPandas(lambda part: pd.DataFrame({"rows": [len(part)], "d": [part.d.sum()]}), "rows INT, d DOUBLE").orderBy("rows", "d"))
    check("applyInPandas, an expression is the key", lambda: df.groupBy((F.col("n") % 2).alias("odd")).applyInPandas(lambda key, part: pd.DataFrame({"odd": [key[0]], "n": [part.n.max()]}), "odd INT, n INT").orderBy("odd"))
    check("applyInPandas, two keys", lambda: df.groupBy("s", "n").applyInPandas(lambda key, part: pd.DataFrame({"k": [f"{key[0]}{key[1]}"]}), "k STRING").orderBy("k"))
    check("applyInPandas, one group of all", lambda: df.groupBy().applyInPandas(lambda part: pd.DataFrame({"n": [part.n.sum()]}), "n INT"))
    check("applyInPandas, columns that it is given", lambda: df.groupBy("s").applyInPandas(lambda part: pd.DataFrame({"c": [",".join(part.columns)]}), "c STRING").distinct())
    check("applyInPandas of a window", lambda: types.withColumn("v", F.lit(1)).groupBy(F.window("t", "1 hour")).applyInPandas(lambda part: part[["v"]], "v INT"))
    check("applyInPandas that fails", lambda: df.groupBy("s").applyInPandas(lambda part: part["nothing"], "n INT").collect())
    check("applyInPandas, an unknown key", lambda: df.groupBy("nothing").applyInPandas(center, "n DOUBLE, s STRING").collect())
    check("applyInArrow", lambda: df.groupBy("s").applyInArrow(lambda table: table.slice(0, 1), "n INT, s STRING").orderBy("s"))
    check("applyInArrow with a key", lambda: df.groupBy("s").applyInArrow(lambda key, table: pa.table({"s": [key[0].as_py()], "rows": [table.num_rows]}), "s STRING, rows BIGINT").orderBy("s"))

    prices = spark.createDataFrame([("a", 10), ("c", 30)], "s STRING, price INT")

    def merged(left, right):
        return pd.DataFrame({"n": [len(left)], "price": [int(right.price.sum())]})

    def merged_by_key(key, left, right):
        return pd.DataFrame({"k": [key[0]], "n": [len(left)], "m": [len(right)]})

    both = df.groupBy("s").cogroup(prices.groupBy("s"))
    check("cogroup", lambda: both.applyInPandas(merged, "n INT, price INT").orderBy("n", "price"))
    check("cogroup with a key", lambda: both.applyInPandas(merged_by_key, "k STRING, n INT, m INT").orderBy("k"))
    check("cogroup in Arrow", lambda: both.applyInArrow(lambda left, right: pa.table({"n": [left.num_rows], "m": [right.num_rows]}), "n BIGINT, m BIGINT").orderBy("n", "m"))
    check("cogroup, merge_asof", lambda: df.groupBy("s").cogroup(df.groupBy("s")).applyInPandas(lambda a, b: pd.merge_asof(a.sort_values("n"), b.sort_values("n")[["n"]].assign(o=b.n.max()), on="n"), "n INT, s STRING, o INT").orderBy("n"))
