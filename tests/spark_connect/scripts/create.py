"""createDataFrame of every type, and the ways to look at a table."""

import datetime
import decimal

from pyspark.sql import Row, functions as F
from pyspark.sql import types as T

UTC = datetime.timezone.utc
NOON = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)

VALUES = [
    ("boolean", T.BooleanType(), [True, False, None]),
    ("byte", T.ByteType(), [-128, 127, None]),
    ("short", T.ShortType(), [-32768, 32767, None]),
    ("int", T.IntegerType(), [-(2**31), 2**31 - 1, None]),
    ("long", T.LongType(), [-(2**63), 2**63 - 1, None]),
    ("float", T.FloatType(), [0.5, -1e20, float("inf"), float("nan"), None]),
    ("double", T.DoubleType(), [0.1, -0.0, 1e308, float("-inf"), float("nan"), None]),
    ("decimal", T.DecimalType(20, 3), [decimal.Decimal("12345678901234567.891"), decimal.Decimal("-0.001"), None]),
    ("wide decimal", T.DecimalType(38, 0), [decimal.Decimal(10**37), None]),
    ("string", T.StringType(), ["", "a", "καλημέρα", "line\nbreak", None]),
    ("binary", T.BinaryType(), [b"", b"\x00\xff", None]),
    ("date", T.DateType(), [datetime.date(1, 1, 1), datetime.date(1969, 12, 31), datetime.date(9999, 12, 31), None]),
    ("timestamp", T.TimestampType(), [NOON, datetime.datetime(1960, 1, 1), None]),
    ("timestamp_ntz", T.TimestampNTZType(), [NOON, datetime.datetime(1960, 1, 1), None]),
    ("day-time interval", T.DayTimeIntervalType(), [datetime.timedelta(days=-1, microseconds=1), datetime.timedelta(0), None]),
    ("array", T.ArrayType(T.IntegerType()), [[], [1, None], None]),
    ("nested array", T.ArrayType(T.ArrayType(T.StringType())), [[["a"], None], None]),
    ("map", T.MapType(T.StringType(), T.LongType()), [{}, {"a": 1, "b": None}, None]),
    ("map of structs", T.MapType(T.IntegerType(), T.StructType([T.StructField("x", T.DoubleType())])), [{1: (0.5,)}, None]),
    ("struct", T.StructType([T.StructField("x", T.IntegerType()), T.StructField("y", T.StringType(), True)]), [(1, None), None]),
    ("array of structs", T.ArrayType(T.StructType([T.StructField("x", T.LongType())])), [[(1,), None], None]),
]


def run(spark, check, work_dir):
    for name, kind, values in VALUES:
        frame = spark.createDataFrame([(i, v) for i, v in enumerate(values)], T.StructType([T.StructField("i", T.IntegerType(), False), T.StructField("v", kind)]))
        check(f"{name}, collect", frame)
        check.printed(f"{name}, show", lambda: frame.orderBy("i").show(truncate=False))
        check(f"{name}, as text", lambda: [row.text for row in frame.orderBy("i").selectExpr("CAST(v AS STRING) AS text").collect()])

    every = [(1, "a", 0.5, True, NOON, NOON.date(), b"x", [1], {"k": 1}, Row(z=1), decimal.Decimal("1.5"))]
    check("types are inferred", lambda: spark.createDataFrame(every))
    check("a type that cannot be inferred", lambda: spark.createDataFrame([(1, None)]))
    check("names of columns", lambda: spark.createDataFrame([(1, "a")], ["n", "s"]))
    check("names of Rows", lambda: spark.createDataFrame([Row(b=1, a="x"), Row(b=2, a=None)]))
    check("dictionaries", lambda: spark.createDataFrame([{"b": 1, "a": "x"}, {"a": "y", "b": 2}]))
    check("one type", lambda: spark.createDataFrame([1, 2, 3], "int"))
    check("a DDL schema", lambda: spark.createDataFrame([(1, "a")], "n INT NOT NULL, s STRING COMMENT 'what'"))
    check("no rows", lambda: spark.createDataFrame([], "n INT, s STRING"))
    check("no rows and no schema", lambda: spark.createDataFrame([]))
    check("a wrong type", lambda: spark.createDataFrame([("a",)], "n INT"))
    check("too long a row", lambda: spark.createDataFrame([(1, 2)], "n INT"))
    check("null where none may be", lambda: spark.createDataFrame([(None,)], T.StructType([T.StructField("n", T.IntegerType(), False)])))
    check("a decimal that does not fit", lambda: spark.createDataFrame([(decimal.Decimal("123.45"),)], "d DECIMAL(3, 1)"))
    check("a thousand rows", lambda: spark.createDataFrame([(i, str(i)) for i in range(1000)], "n INT, s STRING").agg(F.sum("n"), F.max("s")))

    def pandas():
        import pandas as pd

        frame = pd.DataFrame({"n": [1, 2], "s": ["a", None], "f": [0.5, None], "t": pd.to_datetime(["2024-01-01", None])})
        return spark.createDataFrame(frame)

    check("from pandas", pandas)
    people = spark.createDataFrame([(1, "Ada", 36.5), (2, "Grace", None), (3, None, 85.0)], "id INT, name STRING, age DOUBLE")
    check("toPandas", people.toPandas)
    check("toPandas of nothing", lambda: people.where("id > 9").toPandas())
    check("toArrow", lambda: people.toArrow().to_pylist())
    check("arrow schema", lambda: str(people.toArrow().schema))
    check("count", people.count)
    check("first", people.orderBy("id").first)
    check("head", lambda: people.orderBy("id").head(2))
    check("take", lambda: people.orderBy("id").take(5))
    check("tail", lambda: people.orderBy("id").tail(2))
    check("isEmpty", lambda: [people.isEmpty(), people.where("id > 9").isEmpty()])
    check("columns", lambda: people.columns)
    check("dtypes", lambda: people.dtypes)
    check("schema", lambda: people.schema)
    check("isStreaming", lambda: people.isStreaming)
    check("isLocal", lambda: people.isLocal())
    check("toLocalIterator", lambda: list(people.orderBy("id").toLocalIterator()))
    check("toJSON", lambda: [row for row in people.orderBy("id").toJSON().collect()])
    check.printed("show", lambda: people.orderBy("id").show())
    check.printed("show two", lambda: people.orderBy("id").show(2))
    check.printed("show cut", lambda: people.orderBy("id").show(truncate=3))
    check.printed("show vertical", lambda: people.orderBy("id").show(vertical=True))
    check.printed("show nothing", lambda: people.where("id > 9").show())
    check.printed("printSchema", people.printSchema)
    nested = spark.createDataFrame([(1, [(1, {"a": 1})])], "id INT NOT NULL, items ARRAY<STRUCT<x: INT, m: MAP<STRING, INT>>>")
    check.printed("printSchema of nested types", nested.printSchema)
    check.printed("printSchema to level 1", lambda: nested.printSchema(1))
    check.printed("show of nested types", lambda: nested.show(truncate=False))
    check("range", lambda: spark.range(1, 10, 3))
    check("range backwards", lambda: [row.id for row in spark.range(5, 0, -2).collect()])
    check("range of nothing", lambda: spark.range(0).count())
    check("version", lambda: spark.version.split(".")[0])
    check("sameSemantics", lambda: [people.select("id").sameSemantics(people.select("id")), people.select("id").sameSemantics(people.select("name"))])
    check("semanticHash", lambda: people.select("id").semanticHash() == people.select("id").semanticHash())
    check("inputFiles", lambda: people.inputFiles())
    check("storageLevel", lambda: str(people.storageLevel))
    check("cache", lambda: people.cache().count())
    check("unpersist", lambda: people.unpersist().count())
    check("checkpoint", lambda: people.localCheckpoint().count())
