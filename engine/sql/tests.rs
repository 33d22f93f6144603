//! Expressions and queries as frames see them.

use super::*;
use crate::error::ErrorCode;
use crate::source::memory::MemoryStream;

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
        assert_eq!(
            shown(text),
            "IntervalMonthDayNano(\"IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 5400000000000 }\")",
            "{text}"
        );
    }
    assert_eq!(refused("INTERVAL 5").code(), ErrorCode::ParseSyntaxError);
}

#[test]
fn mistakes_are_reported_at_their_place() {
    let error = refused("city = \n  frobnicate(1)");
    assert_eq!(
        error.to_string(),
        "[INVALID_EXPRESSION] there is no function named frobnicate; line 2, column 3:\n  frobnicate(1)\n  ^"
    );
    let error = refused("1 +");
    assert!(error.to_string().ends_with("; line 1, column 4:\n1 +\n   ^"), "{error}");
    let error = refused("a IN (SELECT b FROM c)");
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert_eq!(refused("sum(x) OVER (ORDER BY y)").code(), ErrorCode::UnsupportedOperation);
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
    assert_eq!(sql.plan().to_string(), written.plan().to_string());
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
    assert_eq!(error.code(), ErrorCode::InvalidExpression);
    assert!(error.message().contains("line 1, column 14"), "{error}");
    let error = failed("SELECT city FROM rides WHERE sum(fare) > 1").await;
    assert!(error.message().contains("line 1, column 30"), "{error}");
}
