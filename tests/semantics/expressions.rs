//! Expressions end to end: worked examples F02, F07 and F11, through a source, the analysis and a sink.

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
