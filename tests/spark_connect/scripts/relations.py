"""Frames in other places than most: as values of expressions, beside each row of another, from several paths, into tables by name; metadata of columns."""

import pathlib

from pyspark.sql import functions as F


def run(spark, check, work_dir):
    people = spark.createDataFrame([(1, "ann", 10), (2, "bob", 20), (3, "cid", None), (4, "dan", 10)], "id INT, name STRING, dept INT")
    depts = spark.createDataFrame([(10, "ops", 5.0), (20, "dev", 7.5), (30, "hr", None)], "dept INT, title STRING, pay DOUBLE")
    values(spark, check, people, depts)
    lateral(spark, check, people, depts)
    metadata(spark, check, people)
    places(spark, check, pathlib.Path(work_dir))
    tables(spark, check, people)


def values(spark, check, people, depts):
    top = depts.select(F.max("pay"))
    check("scalar in where", lambda: depts.where(depts.pay == top.scalar()))
    check("scalar in select", lambda: people.select("id", top.scalar().alias("top")).orderBy("id"))
    check("scalar without a name", lambda: people.select(top.scalar()).columns)
    check("scalar in an expression", lambda: people.withColumn("twice", top.scalar() * 2).orderBy("id"))
    check("scalar of no rows", lambda: people.select("id", depts.where("dept > 99").select("pay").scalar().alias("none")).orderBy("id"))
    check("scalar of several rows", lambda: people.select(depts.select("pay").scalar()).collect())
    check("scalar of several columns", lambda: people.select(depts.scalar()).collect())
    check("two scalars", lambda: people.where((F.col("dept") >= depts.select(F.min("dept")).scalar()) & (F.col("dept") < depts.select(F.max("dept")).scalar())).orderBy("id"))
    check("exists", lambda: people.where(depts.where("pay > 7").exists()).orderBy("id"))
    check("exists of no rows", lambda: people.where(depts.where("pay > 99").exists()))
    check("not exists", lambda: people.where(~depts.where("pay > 99").exists()).count())
    check("isin", lambda: people.where(F.col("dept").isin(depts.select("dept"))).orderBy("id"))
    check("not isin", lambda: people.where(~F.col("dept").isin(depts.where("dept > 15").select("dept"))).orderBy("id"))
    check("not isin with NULL", lambda: people.where(~F.col("dept").isin(depts.select(F.nullif("dept", F.lit(20))))))
    check("isin of no rows", lambda: people.where(~F.col("dept").isin(depts.where("dept > 99").select("dept"))).orderBy("id"))
    check("isin of two columns", lambda: people.where(F.struct("dept", "name").isin(depts.select("dept", F.lit("ann")))))
    p, d = people.alias("p"), depts.alias("d")
    of_person = F.col("p.dept").outer() == F.col("d.dept")
    check("correlated exists", lambda: p.where(d.where(of_person).exists()).orderBy("id"))
    check("correlated not exists", lambda: p.where(~d.where(of_person).exists()).orderBy("id"))
    check("correlated scalar", lambda: p.select("id", d.where(of_person).select(F.max("pay")).scalar().alias("pay")).orderBy("id"))
    check("correlated count", lambda: p.select("id", d.where(of_person).select(F.count("*")).scalar().alias("n")).orderBy("id"))
    check("correlated by less than", lambda: d.where(p.where(F.col("p.dept") < F.col("d.dept").outer()).exists()).orderBy("dept"))
    check("correlated, one row each", lambda: p.withColumn("title", d.where(of_person).select("title").scalar()).orderBy("id"))
    check("correlated, a sum compared", lambda: d.where(F.col("pay") > p.where(F.col("p.dept") == F.col("d.dept").outer()).select(F.sum("id")).scalar()).orderBy("dept"))


def lateral(spark, check, people, depts):
    p, d = people.alias("p"), depts.alias("d")
    of_dept = p.where(F.col("p.dept") == F.col("d.dept").outer())
    check("lateral join", lambda: d.lateralJoin(of_dept.select("name")).orderBy("dept", "name"))
    check("lateral join, left", lambda: d.lateralJoin(of_dept.select("name"), how="left").orderBy("dept", "name"))
    check("lateral join of an aggregate", lambda: d.lateralJoin(of_dept.select(F.count("*").alias("n"), F.max("id").alias("last"))).orderBy("dept"))
    check("lateral join, the first of each", lambda: d.lateralJoin(of_dept.select("id", "name").orderBy(F.col("id").desc()).limit(1)).orderBy("dept"))
    check("lateral join, grouped", lambda: d.lateralJoin(of_dept.groupBy("name").agg(F.count("*").alias("n"))).orderBy("dept", "name"))
    check("lateral join, with a condition", lambda: d.lateralJoin(of_dept.select("id"), F.col("id") > 1).orderBy("dept", "id"))
    check("lateral join without what is around", lambda: d.lateralJoin(p.select("id").where("id < 3")).orderBy("dept", "id"))
    lists = spark.createDataFrame([(1, [1, 2]), (2, []), (3, None)], "id INT, l ARRAY<INT>")
    check("lateral explode", lambda: lists.lateralJoin(spark.tvf.explode(F.col("l").outer())).orderBy("id", "col"))
    check("lateral explode, left", lambda: lists.lateralJoin(spark.tvf.explode(F.col("l").outer()), how="left").orderBy("id", "col"))
    check("tvf explode", lambda: spark.tvf.explode(F.array(F.lit(1), F.lit(2))))
    check("tvf range", lambda: spark.tvf.range(1, 4))
    check("tvf stack", lambda: spark.tvf.stack(F.lit(2), F.lit(1), F.lit("a"), F.lit(2), F.lit("b")))


def metadata(spark, check, people):
    unit = {"unit": "km", "of": [1, 2], "in": {"a": None, "b": True}}
    named = people.select(F.col("id").alias("distance", metadata=unit), "name")

    def of(frame):
        return [field.metadata for field in frame.schema.fields]

    check("alias with metadata", lambda: of(named))
    check("alias with metadata, rows", lambda: named.orderBy("distance"))
    check("withMetadata", lambda: of(people.withMetadata("dept", {"a": 1})))
    check("metadata above", lambda: of(named.where("distance > 1").orderBy("distance").limit(2)))
    check("metadata of another name", lambda: of(named.select(F.col("distance").alias("d"), (F.col("distance") + 1).alias("e"))))
    check("metadata of a key", lambda: of(named.groupBy("distance").agg(F.max("name").alias("m", metadata={"b": 2}))))
    check("metadata in a join", lambda: of(named.join(people, named.distance == people.id)))
    check("metadata that is replaced", lambda: of(named.withMetadata("distance", {"c": 3})))


def places(spark, check, folder):
    one, two = folder / "one", folder / "two"
    for place, number in [(one, 1), (two, 2)]:
        place.mkdir(parents=True)
        (place / "part.json").write_text(f'{{"n": {number}}}\n')
        (place / "part.txt").write_text(f"line {number}\n")
    check("json of two paths", lambda: spark.read.schema("n INT").json([str(one / "part.json"), str(two / "part.json")]).orderBy("n"))
    check("load of two paths", lambda: spark.read.format("json").load([str(one / "part.json"), str(two / "part.json")]).orderBy("n"))
    check("text of two paths", lambda: spark.read.text([str(one / "part.txt"), str(two / "part.txt")]).orderBy("value"))

    def files(frame):
        return sorted(file.replace(f"file://{folder}", "") for file in frame.inputFiles())

    tables = [spark.read.schema("n INT").json(str(place / "part.json")) for place in (one, two)]
    check("inputFiles", lambda: files(tables[0]))
    check("inputFiles of a union", lambda: files(tables[0].union(tables[1]).where("n > 1")))
    check("inputFiles of rows", lambda: files(spark.range(1)))
    texts = spark.createDataFrame([('{"a": 1, "b": "x"}',), ('{"a": 2.5, "c": [1]}',)], "value STRING")
    check("json of texts", lambda: spark.read.json(texts))
    lines = spark.createDataFrame([("n,s",), ("1,x",), ("2,y",)], "value STRING")
    check("csv of texts", lambda: spark.read.csv(lines))
    check("csv of texts with a header", lambda: spark.read.csv(lines, header=True, inferSchema=True))


def tables(spark, check, people):
    for name in ["v2_people", "v2_parted"]:
        spark.sql(f"DROP TABLE IF EXISTS {name}")
    check("writeTo, create", lambda: people.writeTo("v2_people").using("parquet").create())
    check("writeTo, rows", lambda: spark.table("v2_people").orderBy("id"))
    check("writeTo, create again", lambda: people.writeTo("v2_people").using("parquet").create())
    check("writeTo, append to no table", lambda: people.writeTo("v2_nothing").append())
    check("writeTo, partitioned", lambda: people.writeTo("v2_parted").using("parquet").partitionedBy("dept").create())
    check("writeTo, partitioned rows", lambda: spark.table("v2_parted").orderBy("id"))
    check("merge into", lambda: people.mergeInto("v2_people", F.expr("v2_people.id = id")).whenNotMatched().insertAll().merge())
    for name in ["v2_people", "v2_parted"]:
        spark.sql(f"DROP TABLE IF EXISTS {name}")
