//! Expressions end to end: worked examples F02, F07 and F11, and a table of calls with Spark's answers, through a source, the analysis
//! and a sink.

use crate::call_text;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use std::sync::Arc;
use tidemill::prelude::*;
use tidemill::source::memory::MemoryStream;

async fn session(device: &str) -> Session {
    Session::builder().config("tidemill.device", device).build().await.unwrap()
}

async fn run(frame: DataFrame, mode: OutputMode) -> RecordBatch {
    let table = MemoryTable::new(Some("out")).unwrap();
    let query =
        frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow).table(&table).start().await.unwrap();
    query.await_termination().await.unwrap();
    table.concat().unwrap()
}

fn stream(columns: Vec<(&str, ArrayRef)>) -> MemoryStream {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let stream = MemoryStream::new(batch.schema());
    stream.add(batch).unwrap();
    stream
}

/// F02: HLL++ estimates equal Spark's for longs and for two kinds of strings.
async fn approximate_counts(device: &str) {
    let expected: [(i64, i64, i64, i64); 9] = [
        (1, 1, 1, 1),
        (10, 10, 10, 10),
        (50, 52, 49, 53),
        (100, 103, 104, 99),
        (200, 195, 202, 208),
        (500, 484, 492, 516),
        (1000, 1026, 1034, 1073),
        (5000, 4671, 4632, 5177),
        (10000, 9571, 9093, 10399),
    ];
    for (n, longs, texts, prefixed) in expected {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
        let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..n).map(|i| i.to_string())));
        let driver: ArrayRef = Arc::new(StringArray::from_iter_values((0..n).map(|i| format!("d{i}"))));
        let stream = stream(vec![("id", ids), ("text", text), ("driver", driver)]);
        let session = session(device).await;
        let counts = stream
            .frame(&session)
            .unwrap()
            .agg([approx_count_distinct("id"), approx_count_distinct("text"), approx_count_distinct("driver")])
            .unwrap();
        let rows = run(counts, Update).await;
        let found: Vec<i64> = rows.columns().iter().map(|c| c.as_primitive::<Int64Type>().value(0)).collect();
        assert_eq!(found, [longs, texts, prefixed], "n = {n} on {device}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approximate_counts_equal_sparks_on_the_cpu() {
    approximate_counts("cpu").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approximate_counts_equal_sparks_on_a_software_gpu() {
    let Some(device) = crate::device::software_gpu("approximate_counts_equal_sparks_on_a_software_gpu") else { return };
    approximate_counts(&device).await;
}

/// Whether the struct is NULL, and its fields.
type Parsed = (bool, Option<String>, Option<f64>, Option<i32>, Option<i64>);

/// F07: `from_json` over good and bad texts, once as a struct and once field by field (lifted into the decoder).
#[tokio::test(flavor = "multi_thread")]
async fn from_json_gives_what_spark_gives() {
    const TEN: i64 = 1_704_103_200_000_000;
    const MIDNIGHT: i64 = 1_704_067_200_000_000;
    let row = |s: Option<&str>, fare, n, t| -> Parsed { (false, s.map(str::to_string), fare, n, t) };
    let cases: Vec<(Option<&str>, Parsed)> = vec![
        (
            Some(r#"{"ride_id":"r","fare":1.5,"n":3,"event_time":"2024-01-01T10:00:00Z"}"#),
            row(Some("r"), Some(1.5), Some(3), Some(TEN)),
        ),
        (Some(r#"{"ride_id":"r"}"#), row(Some("r"), None, None, None)),
        (Some("not json"), row(None, None, None, None)),
        (Some(""), (true, None, None, None, None)),
        (Some(r#"{"ride_id":5,"fare":"1.5","n":1.7}"#), row(Some("5"), None, None, None)),
        (Some(r#"{"n":"x","ride_id":"keep"}"#), row(Some("keep"), None, None, None)),
        (Some(r#"{"n":99999999999}"#), row(None, None, None, None)),
        (Some(r#"[{"ride_id":"x"}]"#), row(None, None, None, None)),
        (Some("null"), row(None, None, None, None)),
        (Some(r#"{"event_time":1704067200}"#), row(None, None, None, Some(MIDNIGHT))),
        (Some(r#"{"event_time":"bad","ride_id":"z"}"#), row(Some("z"), None, None, None)),
        (Some(r#"{"Ride_ID":"case"}"#), row(None, None, None, None)),
        (Some(r#"{"ride_id":"a"} trailing"#), row(Some("a"), None, None, None)),
        (Some(r#"{"ride_id":"a","ride_id":"b"}"#), row(Some("b"), None, None, None)),
        (Some(r#"{"ride_id":{"x":1}}"#), row(Some(r#"{"x":1}"#), None, None, None)),
        (Some(r#"{"fare":1}"#), row(None, Some(1.0), None, None)),
        (Some(r#"{"n":true}"#), row(None, None, None, None)),
        (None, (true, None, None, None, None)),
    ];
    let texts: ArrayRef = Arc::new(StringArray::from(cases.iter().map(|(text, _)| *text).collect::<Vec<_>>()));
    let session = session("cpu").await;
    let schema = "ride_id STRING, fare DOUBLE, n INT, event_time TIMESTAMP";
    let parsed = stream(vec![("j", texts)])
        .frame(&session)
        .unwrap()
        .select([from_json("j", schema).alias("d")])
        .unwrap()
        .select([col("d"), col("d.ride_id"), col("d.fare"), col("d.n"), col("D.Event_Time")])
        .unwrap();
    assert_eq!(
        parsed.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["d", "ride_id", "fare", "n", "Event_Time"]
    );
    let rows = run(parsed, Append).await;
    let whole = rows.column(0).as_struct();
    let fields = |columns: &[ArrayRef], r: usize| {
        let (s, f) = (columns[0].as_string::<i32>(), columns[1].as_primitive::<Float64Type>());
        let (n, t) = (columns[2].as_primitive::<Int32Type>(), columns[3].as_primitive::<TimestampMicrosecondType>());
        (
            s.is_valid(r).then(|| s.value(r).to_string()),
            f.is_valid(r).then(|| f.value(r)),
            n.is_valid(r).then(|| n.value(r)),
            t.is_valid(r).then(|| t.value(r)),
        )
    };
    for (r, (text, expected)) in cases.iter().enumerate() {
        let (s, f, n, t) = fields(whole.columns(), r);
        let of_struct: Parsed = match whole.is_null(r) {
            true => (true, None, None, None, None),
            false => (false, s, f, n, t),
        };
        assert_eq!(&of_struct, expected, "{text:?} as a struct");
        let (s, f, n, t) = fields(&rows.columns()[1..], r);
        assert_eq!((s, f, n, t), (expected.1.clone(), expected.2, expected.3, expected.4), "{text:?} by field");
    }
}

/// F11 through frames: `to_json(struct("*"))` over an aggregate, with a window and a quotient.
#[tokio::test(flavor = "multi_thread")]
async fn to_json_of_an_aggregate() {
    let times = arrow::array::TimestampMicrosecondArray::from(vec![1_704_067_201_000_000, 1_704_067_202_000_000]);
    let city: ArrayRef = Arc::new(StringArray::from(vec!["sf", "sf"]));
    let fare: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![Some(0.1), None]));
    let stream = stream(vec![("t", Arc::new(times.with_timezone("UTC"))), ("city", city), ("fare", fare)]);
    let session = session("cpu").await;
    let frame = stream
        .frame(&session)
        .unwrap()
        .group_by([window("t", "5 minutes"), col("city")])
        .unwrap()
        .agg([count_all().alias("c"), sum("fare").alias("s"), max(col("fare")).alias("none_of_it")])
        .unwrap()
        .with_column("rate", col("c") / lit(4))
        .unwrap()
        .select([col("city").alias("key"), to_json(r#struct(["*"])).alias("value")])
        .unwrap();
    let rows = run(frame, Update).await;
    assert_eq!(rows.column(0).as_string::<i32>().value(0), "sf");
    assert_eq!(
        rows.column(1).as_string::<i32>().value(0),
        concat!(
            r#"{"window":{"start":"2024-01-01T00:00:00.000Z","end":"2024-01-01T00:05:00.000Z"},"city":"sf","c":2,"#,
            r#""s":0.1,"none_of_it":0.1,"rate":0.5}"#
        )
    );
}

/// Calls and what Spark 4.3 answers in New York, cast to STRING: `call<TAB>=text`, `NULL`, or `!` and the error's code.
const ANSWERS: &str = include_str!("expressions.golden");

/// What the engine answers to several calls in one query, in the same writing.
async fn answers(session: &Session, calls: &[&str]) -> Result<Vec<String>, Error> {
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let frame = stream(vec![("one", one)]).frame(session)?;
    let mut columns = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        columns.push(Column::from(call_text::parse(call)?).cast("string").alias(format!("c{index}")));
    }
    let table = MemoryTable::new(Some("answers"))?;
    let selected = frame.select(columns)?;
    let query =
        selected.write_stream().output_mode(Append).trigger(Trigger::AvailableNow).table(&table).start().await?;
    query.await_termination().await?;
    let rows = table.concat()?;
    let text = |column: &ArrayRef| match column.is_null(0) {
        true => "NULL".to_string(),
        false => format!("={}", column.as_string::<i32>().value(0)),
    };
    Ok(rows.columns().iter().map(text).collect())
}

async fn answer(session: &Session, call: &str) -> String {
    match answers(session, &[call]).await {
        Ok(answers) => answers.concat(),
        // A query that ended has the cause, with its code in brackets, in its message.
        Err(error) if error.code() == ErrorCode::StreamFailed => {
            let is_code = |text: &&str| text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b == b'.');
            let mut codes = error.message().split('[').filter_map(|part| part.split(']').next()).filter(is_code);
            format!("!{}", codes.next().unwrap_or(error.message()))
        }
        Err(error) => format!("!{}", error.code()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_answer_as_spark_does() {
    let session = Session::builder()
        .config("tidemill.device", "cpu")
        .config("spark.sql.session.timeZone", "America/New_York")
        .build()
        .await
        .unwrap();
    let lines = ANSWERS.lines().filter(|line| !line.starts_with('#'));
    let (failing, giving): (Vec<_>, Vec<_>) =
        lines.map(|line| line.split_once('\t').unwrap()).partition(|(_, expected)| expected.starts_with('!'));
    let asked = failing.len() + giving.len();
    let mut wrong = Vec::new();
    let mut check = |call: &str, expected: &str, found: &str| {
        if found != expected {
            wrong.push(format!("{call}\n    Spark {expected}\n    found {found}"));
        }
    };
    for (call, expected) in failing {
        check(call, expected, &answer(&session, call).await);
    }
    for some in giving.chunks(100) {
        let calls: Vec<&str> = some.iter().map(|(call, _)| *call).collect();
        match answers(&session, &calls).await {
            Ok(found) => some.iter().zip(found).for_each(|((call, expected), found)| check(call, expected, &found)),
            // One of them failed: which?
            Err(_) => {
                for (call, expected) in some {
                    check(call, expected, &answer(&session, call).await);
                }
            }
        }
    }
    assert!(asked > 600, "{asked} calls");
    assert!(wrong.is_empty(), "{} of {asked} calls differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What has no place in a query that may be replayed, or is not there, is refused by name.
#[test]
fn functions_that_are_refused() {
    for (call, code) in [
        ("input_file_name()", ErrorCode::UnsupportedOperation),
        ("sentences('a b')", ErrorCode::UnsupportedOperation),
        ("kll_sketch_agg_float(1)", ErrorCode::UnsupportedOperation),
        ("uper('a')", ErrorCode::UnresolvedRoutine),
        ("upper()", ErrorCode::WrongNumArgs),
        ("nvl(1)", ErrorCode::WrongNumArgs),
        ("window(1)", ErrorCode::WrongNumArgs),
    ] {
        assert_eq!(call_text::parse(call).unwrap_err().code(), code, "{call}");
    }
}

/// The time of a batch is its logged time, wherever it stands.
#[tokio::test(flavor = "multi_thread")]
async fn the_current_time_is_the_batchs() {
    let session = session("cpu").await;
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let frame = stream(vec![("one", one)])
        .frame(&session)
        .unwrap()
        .select([current_timestamp().alias("a"), call_function("now", Vec::<Column>::new()).alias("b")])
        .unwrap();
    let rows = run(frame, Append).await;
    let time = |column: usize, row: usize| rows.column(column).as_primitive::<TimestampMicrosecondType>().value(row);
    let first = time(0, 0);
    assert_eq!([time(0, 1), time(1, 0), time(1, 1)], [first; 3]);
    // The log has milliseconds.
    assert_eq!(first % 1000, 0);
    assert!(first > 1_704_067_200_000_000);
}

/// Columns have Spark's methods.
#[tokio::test(flavor = "multi_thread")]
async fn methods_of_columns() {
    let session = session("cpu").await;
    let text: ArrayRef = Arc::new(StringArray::from(vec!["abc"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![6]));
    let frame = stream(vec![("s", text), ("n", number)]).frame(&session).unwrap();
    let pair = || r#struct(["s", "n"]);
    let cases: Vec<(Column, &str)> = vec![
        (col("s").contains("b"), "true"),
        (col("s").starts_with("b"), "false"),
        (col("s").ends_with("bc"), "true"),
        (col("s").rlike("^a.c$"), "true"),
        (col("s").ilike("A%"), "true"),
        (col("s").substr(2, 2), "bc"),
        (col("n").bitwise_and(3), "2"),
        (col("n").bitwise_or(1), "7"),
        (col("n").bitwise_xor(2), "4"),
        (-col("n"), "-6"),
        (col("n").between(1, 6), "true"),
        (col("n").eq_null_safe(lit_null()), "false"),
        (pair().get_item("s"), "abc"),
        (pair().with_field("x", 1), "{abc, 6, 1}"),
        (pair().with_field("n", "z"), "{abc, z}"),
        (pair().drop_fields(["s"]), "{6}"),
        (array(["n", "n"]).get_item(1), "6"),
        (coalesce([lit_null(), col("s")]), "abc"),
    ];
    let expected: Vec<&str> = cases.iter().map(|(_, text)| *text).collect();
    let columns = cases.into_iter().enumerate().map(|(i, (column, _))| column.cast("string").alias(format!("c{i}")));
    let rows = run(frame.select(columns.collect::<Vec<_>>()).unwrap(), Append).await;
    let found: Vec<&str> = rows.columns().iter().map(|c| c.as_string::<i32>().value(0)).collect();
    assert_eq!(found, expected);
}

/// `explode` makes the rows that Spark makes, in their order.
#[tokio::test(flavor = "multi_thread")]
async fn generators_are_lists_of_structs() {
    for (call, expected) in [
        ("explode(array(1, 2))", "array<struct<col:int>>"),
        ("explode(map('a', 1))", "array<struct<key:string,value:int>>"),
        ("posexplode_outer(array('x'))", "array<struct<pos:int,col:string>>"),
        ("stack(2, 1, 'a', 2, 'b')", "array<struct<col0:int,col1:string>>"),
        ("json_tuple('{}', 'a', 'b')", "array<struct<c0:string,c1:string>>"),
    ] {
        let session = session("cpu").await;
        assert_eq!(answer(&session, &format!("typeof({call})")).await, format!("={expected}"), "{call}");
    }
    let session = session("cpu").await;
    assert_eq!(answer(&session, "stack(2, 1, 'a', 2)").await, "=[{1, a}, {2, null}]");
    assert_eq!(answer(&session, "posexplode(array('x', 'y'))").await, "=[{0, x}, {1, y}]");
}
