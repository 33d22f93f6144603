"""Groups, aggregates, pivots, rollups, analytic windows of tables."""

import decimal

from pyspark.sql import functions as F
from pyspark.sql.window import Window

DATA = [
    ("a", "x", 1, 1.5, decimal.Decimal("1.10")),
    ("a", "y", 2, None, decimal.Decimal("2.20")),
    ("b", "x", None, 2.5, None),
    ("b", "x", 4, float("nan"), decimal.Decimal("4.40")),
    (None, "y", 5, -0.0, decimal.Decimal("5.50")),
    (None, None, 5, 0.0, decimal.Decimal("-5.50")),
]
ONE = "sum avg min max count mean first last any_value stddev stddev_pop variance var_pop skewness kurtosis sum_distinct count_distinct product median mode collect_list collect_set approx_count_distinct bit_and bit_or bit_xor".split()


def run(spark, check, work_dir):
    df = spark.createDataFrame(DATA, "k STRING, g STRING, n INT, d DOUBLE, m DECIMAL(10, 2)")
    for name in ONE:
        call = getattr(F, name)
        fit = F.sort_array(call("n")) if name == "collect_set" else call("n")
        check(f"{name} of integers", lambda: df.groupBy("k").agg(fit.alias("r")))
        if not name.startswith("bit"):
            value = F.sort_array(call("m")) if name == "collect_set" else call("m")
            check(f"{name} of decimals", lambda: df.agg(value.alias("r")))
        check(f"{name} of nothing", lambda: df.where("false").agg(call("n").alias("r")))
    for name in ("sum", "avg", "min", "max", "count"):
        check(f"{name} of doubles", lambda: df.groupBy("g").agg(getattr(F, name)("d").alias("r")))
    check("min and max of text", lambda: df.agg(F.min("k"), F.max("k"), F.min("g")))
    check("count forms", lambda: df.agg(F.count("*"), F.count("k"), F.count_distinct("k", "g"), F.countDistinct("n"), F.count_if(F.col("n") > 1)))
    check("bool aggregates", lambda: df.agg(F.bool_and(F.col("n") > 0), F.bool_or(F.col("n") > 4), F.every(F.col("n") > 0), F.some(F.col("n") > 4)))
    check("max_by and min_by", lambda: df.agg(F.max_by("g", "n"), F.min_by("k", "n")))
    check("percentile", lambda: df.agg(F.percentile("n", 0.5), F.percentile_approx("n", [0.25, 0.75]), F.expr("percentile_cont(0.5) WITHIN GROUP (ORDER BY n)")))
    check("corr and regression", lambda: df.where("d = d").agg(F.corr("n", "d"), F.covar_pop("n", "d"), F.covar_samp("n", "d"), F.regr_slope("n", "d"), F.regr_count("n", "d")))
    check("filtered aggregate", lambda: df.groupBy("k").agg(F.expr("sum(n) FILTER (WHERE g = 'x')").alias("r")))
    check("string_agg", lambda: df.agg(F.expr("listagg(g, ',') WITHIN GROUP (ORDER BY g)")))
    check("histogram", lambda: df.agg(F.histogram_numeric("n", F.lit(5)).alias("h")))
    check("grouped count", lambda: df.groupBy("k", "g").count())
    check("groupBy without keys", lambda: df.groupBy().agg({"n": "sum", "d": "count"}))
    check("agg by map", lambda: df.groupBy("k").agg({"n": "max", "*": "count"}))
    check("short forms", lambda: df.groupBy("k").sum("n", "m"))
    check("short forms without names", lambda: df.groupBy("k").max())
    check("avg and mean", lambda: df.groupBy("k").avg("n").union(df.groupBy("k").mean("n")))
    check("group by an expression", lambda: df.groupBy((F.col("n") % 2).alias("odd")).count())
    check("group by number", lambda: df.groupBy(1).count())
    check("having", lambda: df.groupBy("k").agg(F.sum("n").alias("s")).where("s > 3"))
    check("arithmetic of aggregates", lambda: df.groupBy("k").agg((F.sum("n") / F.count("*") + 1).alias("r")))
    check("rollup", lambda: df.rollup("k", "g").agg(F.sum("n"), F.grouping_id(), F.grouping("k")))
    check("cube", lambda: df.cube("k", "g").count())
    check("groupingSets", lambda: df.groupingSets([("k",), ("g",), ()], "k", "g").agg(F.sum("n")))
    check("pivot", lambda: df.groupBy("k").pivot("g", ["x", "y"]).sum("n"))
    check("pivot without values", lambda: df.groupBy("k").pivot("g").agg(F.sum("n"), F.max("d")))
    check("distinct", lambda: df.select("k", "g").distinct())
    check("dropDuplicates", lambda: df.select("k", "g").dropDuplicates(["k", "g"]).count())
    check("zero is one group", lambda: df.groupBy("d").count())
    check("sum overflow", lambda: spark.sql("SELECT sum(v) FROM VALUES (9223372036854775807L), (1L) AS t(v)").collect())
    check("avg of nothing by group", lambda: df.where("k = 'zzz'").groupBy("k").avg("n"))
    check("column beside an aggregate", lambda: df.groupBy("k").agg(F.col("n")).collect())
    check("aggregate of an aggregate", lambda: df.agg(F.sum(F.max("n"))).collect())
    check("sum of text", lambda: df.agg(F.sum("g")).collect())
    check("sum of booleans", lambda: df.agg(F.sum(F.col("n") > 1)).collect())
    check("golden counts", lambda: [list(spark.range(n).agg(F.approx_count_distinct("id"), F.approx_count_distinct(F.col("id").cast("string")), F.approx_count_distinct("id", 0.01)).first()) for n in (0, 1, 10, 50, 100, 1000, 10000)])

    by_key = Window.partitionBy("k").orderBy("n")
    whole = Window.partitionBy("g")
    numbered = df.withColumn("id", F.coalesce(F.col("n"), F.lit(0)))
    for name in ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist"):
        check(f"{name}", lambda: numbered.where("k IS NOT NULL").select("k", "n", getattr(F, name)().over(by_key).alias("r")))
    check("ntile", lambda: numbered.where("k IS NOT NULL").select("k", "n", F.ntile(2).over(by_key)))
    check("lag and lead", lambda: numbered.where("k IS NOT NULL").select("k", "n", F.lag("n").over(by_key), F.lead("n", 1, -1).over(by_key)))
    check("running sum", lambda: numbered.where("k IS NOT NULL").select("k", "n", F.sum("id").over(by_key), F.count("*").over(whole), F.max("n").over(whole)))
    check("rows between", lambda: numbered.where("k IS NOT NULL").select("n", F.sum("id").over(by_key.rowsBetween(-1, 0)), F.avg("id").over(by_key.rangeBetween(Window.unboundedPreceding, 1))))
    check("first and nth value", lambda: numbered.where("k IS NOT NULL").select("n", F.first_value("n").over(by_key), F.nth_value("n", 2).over(by_key), F.last("n", True).over(by_key)))
    check("tumbling windows of a table", lambda: spark.range(5).select(F.timestamp_seconds(F.col("id") * 4).alias("t")).groupBy(F.window("t", "10 seconds")).count())
    check("sliding windows of a table", lambda: spark.range(5).select(F.timestamp_seconds(F.col("id") * 4).alias("t")).groupBy(F.window("t", "10 seconds", "3 seconds", "1 second")).count())
    check("sessions of a table", lambda: spark.range(5).select(F.timestamp_seconds(F.col("id") * F.col("id")).alias("t")).groupBy(F.session_window("t", "4 seconds")).count())
    check("window_time", lambda: spark.range(2).select(F.timestamp_seconds("id").alias("t")).groupBy(F.window("t", "1 second")).count().select(F.window_time("window"), "window.start"))
    check("window that is no interval", lambda: spark.range(1).select(F.window(F.timestamp_seconds("id"), "soon")).collect())
    check("slide longer than the window", lambda: spark.range(1).select(F.window(F.timestamp_seconds("id"), "1 second", "2 seconds")).collect())
    check("window of a month", lambda: spark.range(1).select(F.window(F.timestamp_seconds("id"), "1 month")).collect())
    check("window of nothing", lambda: spark.range(1).select(F.window(F.timestamp_seconds("id"), "0 seconds")).collect())
    check("window of a number", lambda: spark.range(1).select(F.window("id", "1 second")).collect())
    check("two windows", lambda: spark.range(1).select(F.timestamp_seconds("id").alias("t")).groupBy(F.window("t", "1 second"), F.window("t", "2 seconds")).count().collect())
