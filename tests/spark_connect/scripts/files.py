"""Files as sources of streams and tables: csv, json, text, parquet; their options; what is not read."""

import os

from pyspark.sql import functions as F

from stream import START, Feed, Watch, at, available, steps

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def write(folder, name, text, seconds=0):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (START + seconds, START + seconds))


def run(spark, check, work_dir):
    csv = work_dir / "csv"
    write(csv, "a.csv", 'n,name,price,when,ok\n1,plain,1.5,2024-01-01 10:00:00,true\n2,"a ""quoted"", one",,2024-01-01T10:00:00Z,FALSE\nx,bad,y,z,w\n3,short\n4,long,1,2024-01-01,true,more\n,,,,\n')
    schema = "n INT, name STRING, price DOUBLE, when TIMESTAMP, ok BOOLEAN"
    read = spark.read.schema(schema).option("header", "true")
    check("csv", lambda: read.csv(str(csv)))
    for mode in ("PERMISSIVE", "DROPMALFORMED", "FAILFAST"):
        check(f"csv, {mode}", lambda: read.option("mode", mode).csv(str(csv)))
    check("csv, corrupt records", lambda: spark.read.schema(schema + ", _corrupt_record STRING").option("header", "true").csv(str(csv)))
    check("csv, no header", lambda: spark.read.schema("a STRING, b STRING").csv(str(csv)))
    check("csv, inferred", lambda: spark.read.option("header", "true").option("inferSchema", "true").csv(str(csv)))
    check("csv, not inferred", lambda: spark.read.csv(str(csv), header=True))
    write(work_dir / "csv2", "a.csv", "a;b\n'x;y';NA\n# no\nz ; 2\n")
    check("csv, separators", lambda: spark.read.options(header=True, sep=";", quote="'", nullValue="NA", comment="#", ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True).csv(str(work_dir / "csv2")))
    write(work_dir / "csv3", "a.csv", 'd,s\n31/12/2023,"two\nlines"\n')
    check("csv, dateFormat and multiLine", lambda: spark.read.schema("d DATE, s STRING").options(header=True, dateFormat="dd/MM/yyyy", multiLine=True).csv(str(work_dir / "csv3")))

    json = work_dir / "json"
    write(json, "a.json", '{"n": 1, "s": "x", "a": [1, 2], "o": {"p": 1.5}, "t": "2024-01-01T00:00:00Z"}\n{"n": "1", "s": 5, "a": null}\nnot json\n\n{"n": 99999999999, "s": {"z": 1}, "extra": true}\n[{"n": 7}]\n')
    schema = "n INT, s STRING, a ARRAY<INT>, o STRUCT<p: DOUBLE>, t TIMESTAMP"
    check("json", lambda: spark.read.schema(schema).json(str(json)))
    for mode in ("DROPMALFORMED", "FAILFAST"):
        check(f"json, {mode}", lambda: spark.read.schema(schema).option("mode", mode).json(str(json)))
    check("json, corrupt records", lambda: spark.read.schema(schema + ", _corrupt_record STRING").json(str(json)))
    write(work_dir / "json2", "a.json", '{"n": 1, "s": "x", "f": 1.5, "b": true, "l": [1], "o": {"p": null}}\n{"n": 2.5, "s": 1}\n')
    check("json, inferred", lambda: spark.read.json(str(work_dir / "json2")))
    write(work_dir / "json3", "a.json", '[{"n": 1},\n {"n": 2}]')
    check("json, multiLine", lambda: spark.read.schema("n INT").option("multiLine", "true").json(str(work_dir / "json3")))

    write(work_dir / "text", "a.txt", "one\n\ntwo\r\nthree")
    check("text", lambda: spark.read.text(str(work_dir / "text")))
    check("text, whole", lambda: spark.read.text(str(work_dir / "text"), wholetext=True))
    check("format and load", lambda: spark.read.format("text").load(str(work_dir / "text")).count())

    parts = work_dir / "parts"
    spark.range(6).selectExpr("id", "id % 2 AS p", "CAST(id AS STRING) AS s").write.partitionBy("p").parquet(str(parts))
    check("parquet with partitions", lambda: spark.read.parquet(str(parts)))
    check("parquet, one partition", lambda: spark.read.parquet(str(parts)).where("p = 1").select("s"))
    check("parquet, other schema", lambda: spark.read.schema("id BIGINT, missing STRING").parquet(str(parts)))
    check("several paths", lambda: spark.read.text([str(work_dir / "text"), str(work_dir / "csv2")]).count())
    check("glob", lambda: spark.read.text(str(work_dir / "json*")).count())
    check("input_file_name", lambda: spark.read.text(str(work_dir / "text")).select(F.substring_index(F.input_file_name(), "/", -1)).distinct())
    check("_metadata", lambda: spark.read.text(str(work_dir / "text")).select("_metadata.file_name", "_metadata.file_size").distinct())
    check("no such path", lambda: spark.read.text(str(work_dir / "nowhere")))
    check("no such format", lambda: spark.read.format("nothing").load(str(work_dir)))
    check("no path", lambda: spark.read.format("json").load())
    check("an empty folder", lambda: [(work_dir / "empty").mkdir(), spark.read.parquet(str(work_dir / "empty"))][1])

    stream = spark.readStream
    check("stream: no schema", lambda: stream.json(str(json)).schema.simpleString())
    check("stream: no such path", lambda: stream.schema("n INT").json(str(work_dir / "nowhere")).schema.simpleString())
    check("stream: no such format", lambda: spark.readStream.format("nothing").load().schema.simpleString())
    check("stream: text has a schema", lambda: spark.readStream.text(str(work_dir / "text")).schema.simpleString())
    check("stream: isStreaming", lambda: spark.readStream.text(str(work_dir / "text")).isStreaming)
    check("stream: rate", lambda: spark.readStream.format("rate").option("rowsPerSecond", 1).load().schema.simpleString())
    check("stream: rate of -1", lambda: spark.readStream.format("rate").option("rowsPerSecond", -1).load().schema.simpleString())
    check("stream: socket without host", lambda: spark.readStream.format("socket").load().schema.simpleString())
    check("stream: collect", lambda: spark.readStream.text(str(work_dir / "text")).collect())
    check("stream: count", lambda: spark.readStream.text(str(work_dir / "text")).count())
    check("stream: show", lambda: spark.readStream.text(str(work_dir / "text")).show())
    check("stream: write", lambda: spark.readStream.text(str(work_dir / "text")).write.parquet(str(work_dir / "no")))
    check("table: writeStream", lambda: spark.range(1).writeStream.format("noop").start())

    feed = Feed(work_dir / "hidden")
    write(work_dir / "hidden", ".dot.json", '{"k": "no"}\n')
    write(work_dir / "hidden", "_under.json", '{"k": "no"}\n')
    write(work_dir / "hidden", "sub/x.json", '{"k": "no"}\n')
    frame = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
    steps(check, "hidden files", Watch(spark, frame), feed, [{"k": "a", "v": 1}], [], [{"k": "b"}, {"v": 2}])

    write(work_dir / "deep", "a/b/x.json", '{"k": "deep"}\n')
    check("recursiveFileLookup", lambda: deep(spark, work_dir))

    feed = Feed(work_dir / "all").add({"k": "a"}).add({"k": "b"}).add({"k": "c"})
    check("no limit is one batch", lambda: available(spark.readStream.schema(SCHEMA).json(feed.path), work_dir / "all out"))
    latest = spark.readStream.schema(SCHEMA).option("latestFirst", "true").option("maxFilesPerTrigger", 1).json(feed.path)
    check("latestFirst", lambda: Watch(spark, latest).step()["batches"])
    limited = spark.readStream.schema(SCHEMA).option("maxBytesPerTrigger", "1").json(feed.path)
    check("maxBytesPerTrigger", lambda: len(available(limited, work_dir / "bytes out")))
    check("maxFilesPerTrigger of 0", lambda: available(spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 0).json(feed.path), work_dir / "zero out"))
    check("maxFilesPerTrigger of words", lambda: available(spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", "few").json(feed.path), work_dir / "few out"))

    feed = Feed(work_dir / "csv in", "csv")
    frame = spark.readStream.schema("b INT, a STRING").option("header", "true").option("maxFilesPerTrigger", 1).csv(feed.path)
    steps(check, "stream of csv", Watch(spark, frame), feed, ["a,b", "1,x", "y,2"], ["a,b"], ["b,a", "3,z"])

    feed = Feed(work_dir / "partitioned in/day=2024-01-02").add({"k": "a", "v": 1})
    frame = spark.readStream.schema(SCHEMA + ", day DATE").json(str(work_dir / "partitioned in"))
    check("stream of partitions", lambda: Watch(spark, frame).step()["rows"])

    spark.conf.set("spark.sql.streaming.schemaInference", "true")
    check("stream: inferred schema", lambda: spark.readStream.json(str(work_dir / "json2")).schema.simpleString())
    spark.conf.unset("spark.sql.streaming.schemaInference")

    feed = Feed(work_dir / "failfast in").add("nothing")
    frame = spark.readStream.schema(SCHEMA).option("mode", "FAILFAST").json(feed.path)
    check("stream: FAILFAST", lambda: available(frame, work_dir / "failfast out"))
    feed = Feed(work_dir / "dates").add({"t": at(5), "k": "a", "v": 1}, {"t": "2024-01-01 00:00:06", "v": "7"}, {"t": 7, "v": 1.5})
    check("times in json", lambda: Watch(spark, spark.readStream.schema(SCHEMA).json(feed.path)).step()["rows"])


def deep(spark, work_dir):
    frame = spark.readStream.schema(SCHEMA).option("recursiveFileLookup", "true").json(str(work_dir / "deep"))
    return Watch(spark, frame).step()["rows"]
