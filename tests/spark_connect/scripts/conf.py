"""Configuration, catalog, views and SQL text."""


def run(spark, check, work_dir):
    conf = spark.conf
    check("get of nothing", lambda: conf.get("spark.sql.no.such.key"))
    check("get of nothing with a default", lambda: conf.get("spark.sql.no.such.key", "x"))
    check("get of nothing with no default", lambda: conf.get("spark.sql.no.such.key", None))
    for key in (
        "spark.sql.ansi.enabled",
        "spark.sql.session.timeZone",
        "spark.sql.shuffle.partitions",
        "spark.sql.streaming.noDataMicroBatches.enabled",
        "spark.sql.streaming.multipleWatermarkPolicy",
        "spark.sql.streaming.numRecentProgressUpdates",
        "spark.sql.streaming.minBatchesToRetain",
        "spark.sql.streaming.stopActiveRunOnRestart",
        "spark.sql.streaming.schemaInference",
        "spark.sql.caseSensitive",
        "spark.sql.timestampType",
        "spark.sql.sources.default",
        "spark.sql.execution.arrow.pyspark.enabled",
    ):
        check(f"default of {key}", lambda: conf.get(key))
        check(f"is {key} modifiable", lambda: conf.isModifiable(key))
    check("set and get", lambda: [conf.set("spark.sql.ansi.enabled", "false"), conf.get("spark.sql.ansi.enabled"), conf.unset("spark.sql.ansi.enabled"), conf.get("spark.sql.ansi.enabled")])
    check("set of a boolean", lambda: [conf.set("spark.sql.ansi.enabled", True), conf.get("spark.sql.ansi.enabled")])
    check("set of a number", lambda: [conf.set("spark.sql.shuffle.partitions", 3), conf.get("spark.sql.shuffle.partitions")])
    check("keys of one's own", lambda: [conf.set("my.key", "v"), conf.get("my.key"), conf.unset("my.key"), conf.get("my.key", None)])
    check("the document's keys", lambda: [conf.set("spark.streaming.kafka.maxRatePerPartition", "10000"), conf.set("spark.sql.streaming.stateStore.rocksDB.format", "true"), conf.set("spark.sql.streaming.stateStore.providerClass", "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider")])
    check("a value of the wrong type", lambda: conf.set("spark.sql.shuffle.partitions", "many"))
    check("a wrong policy", lambda: conf.set("spark.sql.streaming.multipleWatermarkPolicy", "median"))
    check("a wrong time zone", lambda: conf.set("spark.sql.session.timeZone", "Nowhere/City"))
    check("a static key", lambda: conf.set("spark.sql.warehouse.dir", "/x"))
    check("a key of the core", lambda: conf.set("spark.executor.memory", "1g"))
    check("getAll", lambda: [key for key in ("spark.sql.shuffle.partitions", "my.other") if key in conf.getAll])
    spark.conf.set("spark.sql.shuffle.partitions", "1")

    check("time zone of timestamps", lambda: [conf.set("spark.sql.session.timeZone", "America/New_York"), spark.sql("SELECT CAST(timestamp'2024-07-01 00:00:00 UTC' AS STRING) AS t, hour(timestamp'2024-07-01 00:00:00 UTC') AS h, to_date(timestamp'2024-07-01 00:00:00 UTC') AS d").first(), conf.set("spark.sql.session.timeZone", "UTC")])
    check("ansi off", lambda: [conf.set("spark.sql.ansi.enabled", "false"), spark.sql("SELECT 1 / 0, CAST('x' AS INT), 2147483647 + 1").first(), conf.set("spark.sql.ansi.enabled", "true")])
    check("case sensitive", lambda: [conf.set("spark.sql.caseSensitive", "true"), error(lambda: spark.range(1).select("ID").collect()), conf.set("spark.sql.caseSensitive", "false")])
    another = spark.newSession()
    check("sessions have their own settings", lambda: [conf.set("my.session", "1"), another.conf.get("my.session", None)])

    df = spark.createDataFrame([(1, "a"), (2, "b"), (3, None)], "n INT, s STRING")
    df.createOrReplaceTempView("letters")
    check("table", lambda: spark.table("letters"))
    check("read.table", lambda: spark.read.table("letters"))
    check("sql over a view", lambda: spark.sql("SELECT n * 2 AS twice, upper(s) AS s FROM letters WHERE n < 3"))
    check("createTempView twice", lambda: df.createTempView("letters"))
    check("unknown table", lambda: spark.table("no_such_table").collect())
    check("views of sessions", lambda: another.table("letters").collect())
    check("global view", lambda: [df.createGlobalTempView("everyone"), spark.table("global_temp.everyone").count(), another.table("global_temp.everyone").count(), spark.catalog.dropGlobalTempView("everyone")])
    catalog = spark.catalog
    check("currentDatabase", lambda: catalog.currentDatabase())
    check("currentCatalog", lambda: catalog.currentCatalog())
    check("databaseExists", lambda: [catalog.databaseExists("default"), catalog.databaseExists("nope")])
    check("tableExists", lambda: [catalog.tableExists("letters"), catalog.tableExists("nope")])
    check("listTables", lambda: [[t.name, t.isTemporary, t.tableType] for t in catalog.listTables() if t.name == "letters"])
    check("listColumns", lambda: [[c.name, c.dataType, c.nullable] for c in catalog.listColumns("letters")])
    check("listDatabases", lambda: [d.name for d in catalog.listDatabases()])
    check("functionExists", lambda: [catalog.functionExists("upper"), catalog.functionExists("no_such_function")])
    check("isCached", lambda: [catalog.isCached("letters"), catalog.cacheTable("letters"), catalog.isCached("letters"), catalog.uncacheTable("letters"), catalog.clearCache()])
    check("refreshTable", lambda: catalog.refreshTable("letters"))
    check("dropTempView", lambda: [catalog.dropTempView("letters"), catalog.dropTempView("letters")])

    df.createOrReplaceTempView("t")
    check("sql parameters by name", lambda: spark.sql("SELECT * FROM t WHERE n > :low", args={"low": 1}))
    check("sql parameters by place", lambda: spark.sql("SELECT * FROM t WHERE n > ? AND s = ?", args=[1, "b"]))
    check("sql with frames", lambda: spark.sql("SELECT * FROM {x} WHERE n = {y}", x=df, y=2))
    for name, text in (
        ("values", "SELECT * FROM VALUES (1, 'a'), (2, NULL) AS v(n, s)"),
        ("group by", "SELECT s, count(*) AS c, sum(n) FROM t GROUP BY s HAVING count(*) > 0"),
        ("group by all", "SELECT s, count(*) FROM t GROUP BY ALL"),
        ("join", "SELECT a.n, b.s FROM t a LEFT JOIN t b ON a.n = b.n + 1"),
        ("subquery", "SELECT * FROM t WHERE n = (SELECT max(n) FROM t)"),
        ("exists", "SELECT * FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE b.n = a.n + 1)"),
        ("in", "SELECT * FROM t WHERE n IN (SELECT n - 1 FROM t)"),
        ("with", "WITH w AS (SELECT n FROM t WHERE n > 1) SELECT count(*) AS c FROM w"),
        ("union", "SELECT n FROM t UNION SELECT 1 UNION ALL SELECT 1"),
        ("case", "SELECT CASE WHEN n > 1 THEN 'big' ELSE 'small' END AS size FROM t"),
        ("analytic", "SELECT n, row_number() OVER (ORDER BY n DESC) AS r FROM t"),
        ("lateral view", "SELECT n, x FROM t LATERAL VIEW explode(array(n, n + 1)) e AS x"),
        ("window", "SELECT window.start, count(*) FROM VALUES (timestamp'2024-01-01 00:00:01') v(t) GROUP BY window(t, '5 seconds')"),
        ("order and limit", "SELECT n FROM t ORDER BY n DESC LIMIT 2"),
        ("interval", "SELECT timestamp'2024-01-31 00:00:00' + INTERVAL 1 MONTH AS t, date'2024-01-31' + 1 AS d"),
        ("literals", "SELECT 1, 1L, 1S, 1Y, 1.5, 1.5D, 1.5F, 1.5BD, 'a', X'0F', true, null, date'2024-01-01', 1e3"),
        ("pivot", "SELECT * FROM (SELECT n, s FROM t) PIVOT (sum(n) FOR s IN ('a', 'b'))"),
        ("qualify-free ranking", "SELECT * FROM (SELECT n, rank() OVER (ORDER BY s) AS r FROM t) WHERE r = 1"),
        ("string functions", "SELECT s || '!' AS x, length(s), s LIKE 'a%' FROM t"),
        ("create view", "CREATE OR REPLACE TEMPORARY VIEW small AS SELECT n FROM t WHERE n < 3"),
        ("select of the view", "SELECT * FROM small"),
        ("set", "SET spark.sql.ansi.enabled = true"),
        ("show tables", "SELECT 1 AS one"),
        ("drop view", "DROP VIEW small"),
        ("syntax error", "SELEC 1"),
        ("unknown column", "SELECT nothing FROM t"),
        ("unknown table", "SELECT * FROM nothing"),
        ("unknown function", "SELECT nothing(1)"),
        ("not grouped", "SELECT n, count(*) FROM t GROUP BY s"),
        ("types that do not fit", "SELECT n + array(1) FROM t"),
        ("division by zero", "SELECT n / 0 FROM t"),
        ("remainder by zero", "SELECT n % 0 FROM t"),
        ("bad cast", "SELECT CAST('x' AS INT)"),
        ("overflow", "SELECT 2147483647 + n FROM t"),
        ("array index", "SELECT array(1, 2)[5]"),
        ("element_at", "SELECT element_at(array(1, 2), 5)"),
        ("map key", "SELECT element_at(map('a', 1), 'b')"),
        ("bad timestamp", "SELECT to_timestamp('no time')"),
        ("raise_error", "SELECT raise_error('no')"),
        ("assert_true", "SELECT assert_true(1 = 2)"),
        ("scalar subquery of two rows", "SELECT (SELECT n FROM t)"),
        ("duplicate map key", "SELECT map('a', 1, 'a', 2)"),
        ("decimal overflow", "SELECT CAST(12345 AS DECIMAL(3, 0))"),
        ("cast out of range", "SELECT CAST(300 AS TINYINT)"),
        ("date out of range", "SELECT make_date(2023, 2, 29)"),
    ):
        check(f"sql: {name}", lambda: spark.sql(text))
    check("sql twice runs once", lambda: [spark.sql("SELECT 1 AS x").count(), spark.sql("SELECT 1 AS x").first()])
    check("sql over a streaming view", lambda: streaming_view(spark))


def error(action):
    try:
        return action()
    except Exception as problem:
        return [type(problem).__name__, problem.getCondition()]


def streaming_view(spark):
    spark.readStream.format("rate").load().createOrReplaceTempView("ticks")
    frame = spark.sql("SELECT window(timestamp, '1 second') AS w, count(*) AS c FROM ticks GROUP BY window(timestamp, '1 second')")
    return [frame.isStreaming, frame.schema.simpleString(), spark.table("ticks").isStreaming]
