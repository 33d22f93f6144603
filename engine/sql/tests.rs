//! Expressions and queries as frames see them.

use super::*;
use crate::error::ErrorCode;
use crate::functions::registry::FunctionRegistry;
use crate::source::memory::MemoryStream;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Accumulator, Expr};

fn shown(text: &str) -> String {
    expression(text, &FunctionRegistry::default()).unwrap().to_string()
}

fn refused(text: &str) -> Error {
    expression(text, &FunctionRegistry::default()).unwrap_err()
}

#[test]
fn literals_have_sparks_types() {
    let cases = [
        ("1", "Int32(1)"),
        ("-1", "Int32(-1)"),
        ("2147483648", "Int64(2147483648)"),
        ("-2147483648", "Int32(-2147483648)"),
        ("123L", "Int64(123)"),
        ("-9223372036854775808L", "Int64(-9223372036854775808)"),
        ("7S", "Int16(7)"),
        ("7Y", "Int8(7)"),
        ("1.5", "Decimal128(1.5,2,1)"),
        ("0.5", "Decimal128(0.5,1,1)"),
        ("1.50BD", "Decimal128(1.50,3,2)"),
        ("1.5D", "Float64(1.5)"),
        ("1.5F", "Float32(1.5)"),
        ("1e3", "Float64(1000)"),
        ("'it''s'", "Utf8(\"it's\")"),
        ("'a\\tb'", "Utf8(\"a\tb\")"),
        ("\"text\"", "Utf8(\"text\")"),
        ("'a' 'b'", "Utf8(\"ab\")"),
        ("TRUE", "Boolean(true)"),
        ("NULL", "NULL"),
        ("X'1F'", "Binary(\"31\")"),
    ];
    for (text, expected) in cases {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn operators_bind_as_in_spark() {
    let cases = [
        ("a + b * c", "a + b * c"),
        ("a || b", "concat(a, b)"),
        ("a <=> NULL", "a IS NOT DISTINCT FROM NULL"),
        ("NOT a = b AND c", "NOT a = b AND c"),
        ("a == b", "a = b"),
        ("a BETWEEN 1 AND 2", "a >= Int32(1) AND a <= Int32(2)"),
        ("a NOT IN (1, 2)", "a NOT IN ([Int32(1), Int32(2)])"),
        ("a & 3 | b ^ 1", "a & Int32(3) | b BIT_XOR Int32(1)"),
        ("a LIKE 'x!_%' ESCAPE '!'", "a LIKE Utf8(\"x\\_%\")"),
        ("CASE a WHEN 1 THEN 'x' ELSE 'y' END", "CASE WHEN a = Int32(1) THEN Utf8(\"x\") ELSE Utf8(\"y\") END"),
        ("a IS NOT TRUE", "a IS NOT TRUE"),
        ("a.b.c", "a.b.c"),
        ("`a b`.`c.d`", "`a b`.`c.d`"),
    ];
    for (text, expected) in cases {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn intervals_in_every_form() {
    for text in
        ["INTERVAL 90 MINUTES", "INTERVAL '90' MINUTE", "INTERVAL 1 HOUR 30 MINUTES", "INTERVAL '1 hour 30 minutes'"]
    {
        let value = expression(text, &FunctionRegistry::default()).unwrap();
        assert!(
            matches!(value, Expr::Literal(ScalarValue::DurationMicrosecond(Some(5_400_000_000)), _)),
            "{text}: {value:?}"
        );
    }
    assert_eq!(refused("INTERVAL 1 DAY TO SECOND").code(), ErrorCode::ParseSyntaxError);
    assert_eq!(refused("INTERVAL '1-2' DAY TO MONTH").code(), ErrorCode::ParseSyntaxError);
    assert_eq!(refused("INTERVAL 1 MONTH 2 DAYS").code(), ErrorCode::ParseSyntaxError);
    assert_eq!(refused("INTERVAL 5").code(), ErrorCode::ParseSyntaxError);
}

#[test]
fn mistakes_are_reported_at_their_place() {
    let error = refused("city = \n  frobnicate(1)");
    assert_eq!(error.code(), ErrorCode::UnresolvedRoutine);
    assert!(error.to_string().ends_with("; line 2, column 3:\n  frobnicate(1)\n  ^"), "{error}");
    let error = refused("1 +");
    assert!(error.to_string().ends_with("; line 1, column 4:\n1 +\n   ^"), "{error}");
    let error = refused("a IN (SELECT b FROM c)");
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert_eq!(refused("sum(DISTINCT x) OVER (ORDER BY y)").code(), ErrorCode::UnsupportedOperation);
    assert_eq!(refused("DATE '2026-02-31'").code(), ErrorCode::ParseSyntaxError);
}

async fn session() -> Session {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let ddl = "city STRING, fare DOUBLE, status STRING, event_time TIMESTAMP, data STRUCT<x: INT>";
    let rides = MemoryStream::new(crate::types::StructType::from_ddl(ddl).unwrap().to_arrow_schema());
    let rides = rides.frame(&session).unwrap().with_watermark("event_time", "10 minutes").unwrap();
    rides.create_or_replace_temp_view("rides").unwrap();
    session
}

fn columns(frame: &DataFrame) -> Vec<String> {
    frame.schema().fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect()
}

#[tokio::test]
async fn a_selection_is_what_a_program_would_write() {
    let session = session().await;
    let frame = session
        .sql("SELECT r.city, fare * 2 AS twice, twice + 1 AS more, r.data.x FROM rides r WHERE r.fare > 1")
        .await
        .unwrap();
    assert_eq!(columns(&frame), ["city Utf8", "twice Float64", "more Float64", "x Int32"]);
    let frame = session.sql("SELECT * EXCEPT (data, `status`) FROM rides").await.unwrap();
    assert_eq!(columns(&frame).len(), 3);
    let frame = session
        .sql("WITH big AS (SELECT * FROM rides WHERE fare > 10) SELECT b.* FROM big AS b UNION ALL SELECT * FROM rides")
        .await
        .unwrap();
    assert_eq!(columns(&frame).len(), 5);
}

#[tokio::test]
async fn groups_by_expressions_positions_aliases_and_all() {
    let session = session().await;
    let expected = ["s Timestamp(µs, \"UTC\")", "e Timestamp(µs, \"UTC\")", "town Utf8", "n Int64", "total Float64"];
    for by in [
        "window(event_time, '5 minutes'), city",
        "window(event_time, INTERVAL 5 MINUTES), 3",
        "window(rides.event_time, '5 minutes'), town",
    ] {
        let text = format!(
            "SELECT window.start AS s, window.end AS e, city AS town, count(*) AS n, n * sum(fare) AS total FROM rides GROUP BY {by} HAVING n > 1"
        );
        let frame = session.sql(&text).await.unwrap();
        assert_eq!(columns(&frame), expected, "{by}");
    }
    let frame = session
        .sql("SELECT upper(city) AS c, count(DISTINCT status) FILTER (WHERE fare > 0) FROM rides GROUP BY ALL")
        .await
        .unwrap();
    assert_eq!(frame.schema().fields().len(), 2);
    let program = "SELECT city, count(*) AS n FROM rides GROUP BY city";
    let sql = session.sql(program).await.unwrap();
    let written = session.table("rides").await.unwrap().group_by(["city"]).unwrap();
    let written = written.agg([crate::frame::functions::count_all().alias("n")]).unwrap();
    // SQL names the table as well.
    let named = written.plan().to_string().replace("\n  EventTime", "\n  SubqueryAlias rides\n    EventTime");
    assert_eq!(sql.plan().to_string(), named.replace("\n    Source", "\n      Source"));
}

/// A product of numbers.
#[derive(Debug)]
struct Product(i64);

impl Product {
    fn times(&mut self, values: &[ArrayRef]) -> datafusion::error::Result<()> {
        self.0 *= values[0].as_primitive::<Int64Type>().iter().flatten().product::<i64>();
        Ok(())
    }
}

impl Accumulator for Product {
    fn update_batch(&mut self, values: &[ArrayRef]) -> datafusion::error::Result<()> {
        self.times(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> datafusion::error::Result<()> {
        self.times(states)
    }

    fn evaluate(&mut self) -> datafusion::error::Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.0)))
    }

    fn state(&mut self) -> datafusion::error::Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.0))])
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

#[tokio::test]
async fn functions_of_the_users_are_called_by_name() {
    use crate::frame::functions::{call_function, col, expr};
    use arrow::array::Int64Array;
    use arrow::datatypes::DataType;
    use datafusion::logical_expr::function::AccumulatorArgs;
    use datafusion::logical_expr::{ColumnarValue, create_udaf, create_udf};
    use std::sync::Arc;
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let doubled = |arguments: &[ColumnarValue]| {
        let numbers = ColumnarValue::values_to_arrays(arguments)?;
        let doubled: Int64Array = numbers[0].as_primitive::<Int64Type>().unary(|n| n * 2);
        Ok(ColumnarValue::Array(Arc::new(doubled)))
    };
    let volatility = datafusion::logical_expr::Volatility::Immutable;
    let twice = create_udf("Twice", vec![DataType::Int64], DataType::Int64, volatility, Arc::new(doubled));
    let error = session.sql("SELECT twice(id) FROM range(2)").await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::UnresolvedRoutine);
    session.udf().register(twice);
    let product = || -> datafusion::error::Result<Box<dyn Accumulator>> { Ok(Box::new(Product(1))) };
    let (number, state) = (DataType::Int64, Arc::new(vec![DataType::Int64]));
    let product = Arc::new(move |_: AccumulatorArgs<'_>| product());
    session.udf().register_udaf(create_udaf(
        "product",
        vec![number.clone()],
        Arc::new(number),
        volatility,
        product,
        state,
    ));
    let frame =
        session.sql("SELECT twice(id) AS n FROM range(3) WHERE TWICE(id) > 0 ORDER BY twice(id) DESC").await.unwrap();
    let rows = frame.show_string(20, 20).await.unwrap();
    assert_eq!(rows.lines().skip(3).take(2).collect::<Vec<_>>(), ["|  4|", "|  2|"]);
    let range = DataFrame::range(&session, 0, 3, 1).unwrap();
    let by_name = range.select([call_function("twice", [expr("twice(id)")]).alias("n")]).unwrap();
    let by_name = by_name.sort([call_function("twice", [col("n")]).desc().unwrap()]).unwrap();
    assert_eq!(by_name.show_string(20, 20).await.unwrap().lines().nth(3), Some("|  8|"));
    let counted =
        session.sql("SELECT id % 2 AS odd, product(id + 2) AS n FROM range(3) GROUP BY 1 ORDER BY 1").await.unwrap();
    let counted = counted.show_string(20, 20).await.unwrap();
    assert_eq!(counted.lines().skip(3).take(2).collect::<Vec<_>>(), ["|  0|  8|", "|  1|  3|"]);
    let stream = MemoryStream::new(crate::types::StructType::from_ddl("n BIGINT").unwrap().to_arrow_schema());
    let numbers: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![2, 3, 4]));
    stream.add(arrow::array::RecordBatch::try_from_iter([("n", numbers)]).unwrap()).unwrap();
    stream.frame(&session).unwrap().create_or_replace_temp_view("numbers").unwrap();
    let product = session.sql("SELECT product(twice(n)) AS p FROM numbers").await.unwrap();
    let writer = product.write_stream().format("memory").query_name("p").output_mode("complete");
    writer.trigger(Trigger::AvailableNow).start().await.unwrap().await_termination().await.unwrap();
    let written = session.table("p").await.unwrap().show_string(20, 20).await.unwrap();
    assert_eq!(written.lines().nth(3), Some("|192|"));
    // Functions of one session are not another's.
    let other = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let range = DataFrame::range(&other, 0, 3, 1).unwrap();
    assert_eq!(range.select([call_function("twice", ["id"])]).err().unwrap().code(), ErrorCode::UnresolvedRoutine);
}

#[tokio::test]
async fn tables_in_memory_answer_by_the_name_of_their_query() {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let stream = MemoryStream::new(crate::types::StructType::from_ddl("n INT").unwrap().to_arrow_schema());
    let numbers: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int32Array::from(vec![1, 2, 3]));
    stream.add(arrow::array::RecordBatch::try_from_iter([("n", numbers)]).unwrap()).unwrap();
    let frame = stream.frame(&session).unwrap();
    let writer = frame.write_stream().format("memory").query_name("Odd").trigger(Trigger::AvailableNow);
    writer.start().await.unwrap().await_termination().await.unwrap();
    assert_eq!(session.table("odd").await.unwrap().count().await.unwrap(), 3);
    let sum = session.sql("SELECT sum(n) AS total FROM odd WHERE n <> 2").await.unwrap();
    assert_eq!(sum.show_string(20, 20).await.unwrap().lines().nth(3), Some("|    4|"));
    let defined = "CREATE TABLE kept USING memory OPTIONS (queryName 'odd'); SELECT * FROM kept";
    assert_eq!(session.sql(defined).await.unwrap().count().await.unwrap(), 3);
    let error = session.sql("CREATE TABLE unwritten USING memory; SELECT * FROM unwritten").await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::TableNotFound);
}

#[tokio::test]
async fn unknown_names_are_pointed_at() {
    let session = session().await;
    let failed = async |text: &str| session.sql(text).await.err().unwrap();
    let error = failed("SELECT city,\n       fair FROM rides").await;
    assert_eq!(error.code(), ErrorCode::UnresolvedColumn);
    assert!(error.message().ends_with("; line 2, column 8:\n       fair FROM rides\n       ^"), "{error}");
    let error = failed("SELECT city FROM rids").await;
    assert_eq!(
        error.to_string(),
        "[TABLE_OR_VIEW_NOT_FOUND] there is no table or view named `rids`; did you mean `rides`?; line 1, column 18:\nSELECT city FROM rids\n                 ^"
    );
    let error = failed("SELECT city, fare, count(*) FROM rides GROUP BY city").await;
    assert_eq!(error.code(), ErrorCode::MissingAggregation);
    assert!(error.message().contains("line 1, column 14"), "{error}");
    let error = failed("SELECT city FROM rides WHERE sum(fare) > 1").await;
    assert_eq!(error.code(), ErrorCode::InvalidWhereCondition);
    assert!(error.message().contains("line 1, column 30"), "{error}");
}

#[tokio::test]
async fn set_answers_with_what_it_has_set() {
    let session = session().await;
    let rows = async |text: &str| {
        let frame = session.sql(text).await.unwrap();
        assert_eq!(columns(&frame), ["key Utf8", "value Utf8"], "{text}");
        let text_of = |array: &ArrayRef, row| array.as_string::<i32>().value(row).to_string();
        let batches = frame.collect().await.unwrap();
        let rows = batches.iter().flat_map(|rows| {
            (0..rows.num_rows()).map(move |row| (text_of(rows.column(0), row), text_of(rows.column(1), row)))
        });
        rows.collect::<Vec<_>>()
    };
    let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
    assert_eq!(rows("SET spark.sql.ansi.enabled = false").await, [pair("spark.sql.ansi.enabled", "false")]);
    assert_eq!(rows("SET spark.sql.ansi.enabled").await, [pair("spark.sql.ansi.enabled", "false")]);
    assert_eq!(rows("SET `a.b`;").await, [pair("a.b", "<undefined>")]);
    session.conf().set("fs.s3a.secret.key", "s3cret").unwrap();
    assert_eq!(rows("SET fs.s3a.secret.key").await, [pair("fs.s3a.secret.key", "*********(redacted)")]);
    assert!(rows("SET").await.contains(&pair("spark.sql.ansi.enabled", "false")));
    assert_eq!(session.sql("SET a b").await.unwrap_err().code(), ErrorCode::ParseSyntaxError);
    assert_eq!(session.sql("SET spark.executor.memory = 1g").await.unwrap_err().code(), ErrorCode::ConfCore);
}

#[cfg(feature = "connect")]
#[tokio::test]
async fn kept_rows_stay_until_they_may_be_others() {
    let session = session().await;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("rows").to_string_lossy().into_owned();
    let rows = DataFrame::range(&session, 0, 3, 1).unwrap();
    rows.write().parquet(&path).await.unwrap();
    session.spark_sql(&format!("CREATE TABLE t USING parquet LOCATION '{path}'")).await.unwrap();
    let count = async || session.sql("SELECT * FROM t").await.unwrap().count().await.unwrap();
    keep(&session, "T").await.unwrap();
    assert_eq!(count().await, 3);
    // Files that something else writes are not seen, and rows that are inserted by name are.
    rows.write().mode("append").parquet(&path).await.unwrap();
    assert_eq!(count().await, 3);
    session.spark_sql("INSERT INTO t SELECT id FROM range(1)").await.unwrap();
    assert_eq!(count().await, 7);
    rows.write().mode("append").parquet(&path).await.unwrap();
    keep_again(&session, "t").await.unwrap();
    assert_eq!(count().await, 10);
    session.catalog().let_go("t");
    rows.write().mode("append").parquet(&path).await.unwrap();
    assert_eq!(count().await, 13);
    keep(&session, "t").await.unwrap();
    rows.create_or_replace_temp_view("t").unwrap();
    assert_eq!(count().await, 3);
    assert_eq!(keep(&session, "nothing").await.unwrap_err().code(), ErrorCode::TableNotFound);
}

/// The name, the type and the text of what an expression gives, and whether it may be NULL.
async fn answer(expression: &str) -> (String, String, String, bool) {
    use crate::functions::interval::Fields;
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let frame = session.sql(&format!("SELECT {expression}")).await.unwrap();
    let batches = frame.collect().await.unwrap();
    let schema = frame.schema();
    let field = schema.field(0);
    let style = crate::functions::java_text::Style {
        zone: crate::decode::zone::Zone::Fixed(0),
        null: "NULL",
        hex: false,
        interval: None,
    };
    let mut text = String::new();
    crate::functions::java_text::write_value(batches[0].column(0), 0, style.of(field), &mut text).unwrap();
    let type_name = match Fields::of(field) {
        Some(fields) => format!("interval {}", fields.name()),
        None => crate::plan::names::type_name(field.data_type()),
    };
    (field.name().clone(), type_name, text, !crate::plan::nullness::is_never_null(field))
}

#[tokio::test]
async fn values_as_spark_answers_them() {
    for (expression, name, type_name, text) in [
        ("date'2024-01-31' + INTERVAL 1 MONTH", "DATE '2024-01-31' + INTERVAL '1' MONTH", "date", "2024-02-29"),
        ("date'2024-01-31' - INTERVAL 1 YEAR", "DATE '2024-01-31' - INTERVAL '1' YEAR", "date", "2023-01-31"),
        (
            "date'2024-01-31' + INTERVAL 1 DAY",
            "date_add(DATE '2024-01-31', extractansiintervaldays(INTERVAL '1' DAY))",
            "date",
            "2024-02-01",
        ),
        (
            "date'2024-01-31' + INTERVAL 24 HOURS",
            "DATE '2024-01-31' + INTERVAL '24' HOUR",
            "timestamp",
            "2024-02-01 00:00:00",
        ),
        ("INTERVAL 1 MONTH + date'2024-01-31'", "DATE '2024-01-31' + INTERVAL '1' MONTH", "date", "2024-02-29"),
        (
            "timestamp'2024-01-31 10:00:00' + INTERVAL '1-2' YEAR TO MONTH",
            "TIMESTAMP '2024-01-31 10:00:00' + INTERVAL '1-2' YEAR TO MONTH",
            "timestamp",
            "2025-03-31 10:00:00",
        ),
        (
            "date'2024-01-31' - date'2024-01-01'",
            "(DATE '2024-01-31' - DATE '2024-01-01')",
            "interval day",
            "INTERVAL '30' DAY",
        ),
        (
            "CAST(date'2024-01-31' - date'2024-01-01' AS STRING)",
            "CAST((DATE '2024-01-31' - DATE '2024-01-01') AS STRING)",
            "string",
            "INTERVAL '30' DAY",
        ),
        (
            "INTERVAL 1 DAY + INTERVAL 2 HOURS",
            "(INTERVAL '1' DAY + INTERVAL '02' HOUR)",
            "interval day to hour",
            "INTERVAL '1 02' DAY TO HOUR",
        ),
        (
            "INTERVAL 1 DAY * 2",
            "(INTERVAL '1' DAY * 2)",
            "interval day to second",
            "INTERVAL '2 00:00:00' DAY TO SECOND",
        ),
        ("-INTERVAL 1 DAY", "(- INTERVAL '1' DAY)", "interval day", "INTERVAL '-1' DAY"),
        (
            "CAST(INTERVAL 90 MINUTES AS STRING)",
            "CAST(INTERVAL '90' MINUTE AS STRING)",
            "string",
            "INTERVAL '90' MINUTE",
        ),
        ("1e20D", "1.0E20", "double", "1.0E20"),
        ("-1e5D", "-100000.0", "double", "-100000.0"),
        ("1e5F", "100000.0", "float", "100000.0"),
        ("1e2BD", "100", "decimal(3,0)", "100"),
        ("1e-2BD", "0.01", "decimal(2,2)", "0.01"),
        ("x'abc'", "X'0ABC'", "binary", "\n\u{fffd}"),
        ("CAST('abcdef' AS VARCHAR(3))", "CAST(abcdef AS STRING)", "string", "abcdef"),
        ("CAST('ab' AS CHAR(5))", "CAST(ab AS STRING)", "string", "ab"),
        ("TIMESTAMP_NTZ'2024-01-31'", "TIMESTAMP_NTZ '2024-01-31 00:00:00'", "timestamp_ntz", "2024-01-31 00:00:00"),
        (
            "timestampadd(MONTH, 1, date'2024-01-31')",
            "timestampadd(MONTH, 1, DATE '2024-01-31')",
            "timestamp",
            "2024-02-29 00:00:00",
        ),
        (
            "datediff(MONTH, date'2024-01-31', date'2024-03-30')",
            "timestampdiff(MONTH, DATE '2024-01-31', DATE '2024-03-30')",
            "bigint",
            "1",
        ),
        (
            "timediff(HOUR, timestamp'2024-01-31 10:00:00', timestamp'2024-01-31 12:00:01')",
            "timestampdiff(HOUR, TIMESTAMP '2024-01-31 10:00:00', TIMESTAMP '2024-01-31 12:00:01')",
            "bigint",
            "2",
        ),
        ("to_csv(struct(1, ' a', 'b ')) AS c", "c", "string", "1,a,b"),
        ("to_csv(struct(NULL)) AS c", "c", "string", "NULL"),
        ("timestamp_ltz'2024-01-31 10:00:00'", "TIMESTAMP '2024-01-31 10:00:00'", "timestamp", "2024-01-31 10:00:00"),
        ("CAST(to_csv(struct(1, 'a b', NULL)) AS STRING) AS c", "c", "string", "1,a b,"),
        ("if(NULL, 1, 2) AS c", "c", "int", "2"),
    ] {
        let (found, found_type, found_text, _) = answer(expression).await;
        assert_eq!((found.as_str(), found_type.as_str(), found_text.as_str()), (name, type_name, text), "{expression}");
    }
    assert_eq!(refused("CAST(1 AS INTERVAL HOUR)").code(), ErrorCode::ParseSyntaxError);
}

#[tokio::test]
async fn what_is_never_null_is_said_to_be() {
    for (expression, nullable) in [
        ("1", false),
        ("NULL", true),
        ("concat_ws(',', 'a', NULL)", false),
        ("hash(NULL)", false),
        ("coalesce(NULL, 1)", false),
        ("struct(1, NULL)", false),
        ("1 + 1", false),
        ("4 / 2", true),
        // Computed when it is analysed, and then it is a number.
        ("CAST('1' AS INT)", false),
        ("TRY_CAST('x' AS INT)", true),
        ("CAST(1 AS STRING)", false),
        ("year(date'2024-01-01')", false),
        ("CASE WHEN true THEN 1 END", true),
    ] {
        assert_eq!(answer(expression).await.3, nullable, "{expression}");
    }
}

#[tokio::test]
async fn a_case_needs_conditions_that_are_boolean() {
    let session = session().await;
    for text in ["SELECT CASE WHEN NULL THEN 1 ELSE 2 END", "SELECT CASE WHEN 1 THEN 1 ELSE 2 END"] {
        assert_eq!(session.sql(text).await.unwrap_err().code(), ErrorCode::DatatypeMismatch, "{text}");
    }
}

#[tokio::test]
async fn clones_have_tables_in_common_and_views_of_their_own() {
    let place = tempfile::tempdir().unwrap();
    let session = Session::builder()
        .config("tidemill.device", "cpu")
        .config("spark.sql.warehouse.dir", place.path().display())
        .build()
        .await
        .unwrap();
    let count = async |session: &Session, name: &str| match session.table(name).await {
        Ok(frame) => frame.count().await.map_err(|error| error.code()),
        Err(error) => Err(error.code()),
    };
    let view = |session: &Session, name: &str, rows| {
        DataFrame::range(session, 0, rows, 1).unwrap().create_or_replace_temp_view(name).unwrap();
    };
    view(&session, "v", 2);
    session.spark_sql("CREATE TABLE old (id BIGINT) USING parquet").await.unwrap();
    let clone = session.clone_session().unwrap();
    assert_eq!(count(&clone, "v").await, Ok(2));
    view(&clone, "V", 3);
    view(&clone, "w", 4);
    view(&clone, "global_temp.g", 5);
    assert_eq!([count(&session, "v").await, count(&clone, "v").await], [Ok(2), Ok(3)]);
    assert_eq!([count(&session, "w").await, count(&clone, "w").await], [Err(ErrorCode::TableNotFound), Ok(4)]);
    assert_eq!(count(&session, "global_temp.g").await, Ok(5));
    // Either makes tables, adds rows to them, keeps them in memory and drops them.
    clone.spark_sql("CREATE TABLE new (id BIGINT) USING parquet").await.unwrap();
    keep(&session, "new").await.unwrap();
    assert_eq!(count(&session, "new").await, Ok(0));
    clone.spark_sql("INSERT INTO new SELECT id FROM range(6)").await.unwrap();
    assert_eq!([count(&session, "new").await, count(&clone, "new").await], [Ok(6), Ok(6)]);
    view(&clone, "new", 1);
    assert_eq!([count(&session, "new").await, count(&clone, "new").await], [Ok(6), Ok(1)]);
    clone.spark_sql("DROP VIEW new").await.unwrap();
    assert_eq!(count(&clone, "new").await, Ok(6));
    session.spark_sql("DROP TABLE new").await.unwrap();
    clone.spark_sql("DROP TABLE old").await.unwrap();
    let gone = [count(&session, "old").await, count(&clone, "new").await];
    assert_eq!(gone, [Err(ErrorCode::TableNotFound); 2]);
}
