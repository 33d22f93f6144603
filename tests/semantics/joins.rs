//! Joins: two streams within watermarks and time ranges, and a stream with a table. Rows, state and dropped rows are those that Spark
//! gave for the same steps.

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use std::sync::Arc;
use tidemill::frame::StreamingQuery;
use tidemill::prelude::*;
use tidemill::types::IntoSchema;

/// 2024-01-01T00:00:00Z in microseconds.
const ORIGIN: i64 = 1_704_067_200_000_000;

/// Rows of one step: seconds after the origin, and a key.
type Rows<'a> = &'a [(f64, &'a str)];

struct Streams {
    left: MemoryStream,
    right: MemoryStream,
    table: MemoryTable,
    query: StreamingQuery,
    seen: usize,
}

fn stream(columns: &str) -> MemoryStream {
    MemoryStream::new(columns.into_schema().unwrap().to_arrow_schema())
}

fn batch(stream: &MemoryStream, schema: &str, rows: Rows) {
    let times = rows.iter().map(|(seconds, _)| ORIGIN + (seconds * 1e6) as i64);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let keys: StringArray = rows.iter().map(|(_, key)| Some(*key)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times)];
    stream.add(RecordBatch::try_new(schema.into_schema().unwrap().to_arrow_schema(), columns).unwrap()).unwrap();
}

const LEFT: &str = "k1 STRING, t1 TIMESTAMP";
const RIGHT: &str = "k2 STRING, t2 TIMESTAMP";

impl Streams {
    /// Two streams with watermarks of `delay`, joined on their keys and, if `range`, on `t1 <= t2 <= t1 + 5 seconds`.
    async fn start(delay: &str, range: bool, join_type: JoinType) -> Self {
        let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
        let (left, right) = (stream(LEFT), stream(RIGHT));
        let l = left.frame(&session).unwrap().with_watermark("t1", delay).unwrap();
        let r = right.frame(&session).unwrap().with_watermark("t2", delay).unwrap();
        let mut on = col("k1").eq(col("k2"));
        if range {
            let five = datafusion::prelude::Expr::Literal(
                datafusion::common::ScalarValue::new_interval_mdn(0, 0, 5_000_000_000),
                None,
            );
            on = on.and(col("t2").gt_eq(col("t1"))).and(col("t2").lt_eq(col("t1") + Column::from(five)));
        }
        let table = MemoryTable::new(Some("joined")).unwrap();
        let joined = l.join(&r, on, join_type).unwrap();
        let query = joined.write_stream().table(&table).start().await.unwrap();
        Self { left, right, table, query, seen: 0 }
    }

    /// Adds rows and gives what comes of them: new rows as `k1@t1 k2@t2` in seconds, in order of their text; rows in state; dropped rows.
    async fn step(&mut self, left: Rows<'_>, right: Rows<'_>) -> (Vec<String>, u64, u64) {
        let before = self.query.recent_progress().len();
        if !left.is_empty() {
            batch(&self.left, LEFT, left);
        }
        if !right.is_empty() {
            batch(&self.right, RIGHT, right);
        }
        self.query.process_all_available().await.unwrap();
        let all: Vec<String> = self.table.rows().iter().flat_map(texts).collect();
        let mut new = all[self.seen..].to_vec();
        self.seen = all.len();
        new.sort();
        let progress = self.query.recent_progress();
        let dropped = progress[before..].iter().map(|p| p.state_operators[0].num_rows_dropped_by_watermark).sum();
        (new, progress.last().unwrap().state_operators[0].num_rows_total, dropped)
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let text = |row: usize, at: usize| {
        let (keys, times) = (rows.column(at).as_string::<i32>(), rows.column(at + 1));
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let key = arrow::array::Array::is_valid(keys, row).then(|| keys.value(row));
        key.map_or("-".to_string(), |key| format!("{key}@{}", (times.value(row) - ORIGIN) as f64 / 1e6))
    };
    let sides = rows.num_columns() / 2;
    (0..rows.num_rows()).map(|row| (0..sides).map(|s| text(row, s * 2)).collect::<Vec<_>>().join(" ")).collect()
}

fn rows(texts: &[&str], state: u64, dropped: u64) -> (Vec<String>, u64, u64) {
    (texts.iter().map(ToString::to_string).collect(), state, dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_row_without_a_partner_comes_out_when_the_watermark_evicts_it() {
    let mut s = Streams::start("10 seconds", true, JoinType::LeftOuter).await;
    assert_eq!(s.step(&[(10.0, "x"), (10.0, "y")], &[]).await, rows(&[], 2, 0));
    assert_eq!(s.step(&[], &[(12.0, "x"), (16.0, "y")]).await, rows(&["x@10 x@12"], 4, 0));
    assert_eq!(s.step(&[(11.0, "x")], &[]).await, rows(&["x@11 x@12"], 5, 0));
    assert_eq!(s.step(&[(40.0, "q")], &[]).await, rows(&[], 6, 0));
    assert_eq!(s.step(&[], &[(40.0, "w")]).await, rows(&["y@10 -"], 2, 0));
    assert_eq!(s.step(&[(9.0, "x")], &[]).await, rows(&[], 2, 1));
    assert_eq!(s.step(&[], &[(80.0, "e")]).await, rows(&[], 3, 0));
    assert_eq!(s.step(&[(80.0, "e")], &[]).await, rows(&["e@80 e@80", "q@40 -"], 2, 0));
    let batches: Vec<u64> = s.query.recent_progress().iter().map(|p| p.batch_id).collect();
    assert_eq!(batches, (0..=12).collect::<Vec<_>>());
    s.query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_leave_the_state_strictly_after_the_bound_and_are_late_at_the_watermark() {
    let mut s = Streams::start("10 seconds", true, JoinType::FullOuter).await;
    let left = [
        (23.0, "a23"),
        (24.0, "a24"),
        (24.5, "a24.5"),
        (25.0, "a25"),
        (25.5, "a25.5"),
        (26.0, "a26"),
        (30.0, "a30"),
        (30.5, "a30.5"),
    ];
    let right = [(28.0, "b28"), (29.0, "b29"), (29.5, "b29.5"), (30.0, "b30"), (30.5, "b30.5"), (31.0, "b31")];
    assert_eq!(s.step(&left, &right).await, rows(&[], 14, 0));
    let gone = ["- b28@28", "- b29.5@29.5", "- b29@29", "a23@23 -", "a24.5@24.5 -", "a24@24 -"];
    assert_eq!(s.step(&[(40.0, "p")], &[(40.0, "q")]).await, rows(&gone, 10, 0));
    assert_eq!(s.step(&[(30.0, "L30"), (30.001, "L30.001")], &[]).await, rows(&[], 11, 1));
    let gone = [
        "- b30.5@30.5",
        "- b30@30",
        "- b31@31",
        "- q@40",
        "L30.001@30.001 -",
        "a25.5@25.5 -",
        "a25@25 -",
        "a26@26 -",
        "a30.5@30.5 -",
        "a30@30 -",
        "p@40 -",
    ];
    assert_eq!(s.step(&[(100.0, "p")], &[(100.0, "q")]).await, rows(&gone, 2, 0));
    s.query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_range_the_state_stays_and_old_rows_still_match() {
    let mut s = Streams::start("10 seconds", false, JoinType::Inner).await;
    assert_eq!(s.step(&[(10.0, "x")], &[]).await, rows(&[], 1, 0));
    assert_eq!(s.step(&[], &[(1000.0, "y")]).await, rows(&[], 2, 0));
    assert_eq!(s.step(&[(1000.0, "z")], &[]).await, rows(&[], 3, 0));
    assert_eq!(s.step(&[], &[(1001.0, "x")]).await, rows(&["x@10 x@1001"], 4, 0));
    assert_eq!(s.step(&[], &[(5.0, "x")]).await, rows(&[], 4, 1));
    let batches: Vec<u64> = s.query.recent_progress().iter().map(|p| p.batch_id).collect();
    assert_eq!(batches, [0, 1, 2, 3, 4]);
    s.query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_semi_join_gives_a_row_once_and_forgets_it() {
    let mut s = Streams::start("10 seconds", true, JoinType::LeftSemi).await;
    assert_eq!(s.step(&[(10.0, "x"), (10.0, "y")], &[]).await, rows(&[], 2, 0));
    assert_eq!(s.step(&[], &[(12.0, "x"), (13.0, "x")]).await, rows(&["x@10"], 3, 0));
    assert_eq!(s.step(&[(11.0, "x")], &[]).await, rows(&["x@11"], 3, 0));
    s.query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_joined_with_a_table() {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let names = stream("k STRING, name STRING");
    let texts = |values: &[Option<&str>]| -> ArrayRef { Arc::new(values.iter().copied().collect::<StringArray>()) };
    let columns =
        vec![texts(&[Some("a"), Some("b"), Some("b"), None]), texts(&[Some("A"), Some("B"), Some("BB"), Some("N")])];
    let schema = "k STRING, name STRING".into_schema().unwrap().to_arrow_schema();
    let table = RecordBatch::try_new(schema.clone(), columns).unwrap();
    drop(names);
    let table = DataFrame::from_batches(&session, schema, vec![table]).unwrap();
    let expected = [
        (JoinType::Inner, true, vec!["a@1 A", "b@2 B", "b@2 BB"]),
        (JoinType::LeftOuter, true, vec!["a@1 A", "b@2 B", "b@2 BB", "c@3 -"]),
        (JoinType::LeftSemi, true, vec!["a@1", "b@2"]),
        (JoinType::LeftAnti, true, vec!["c@3"]),
        (JoinType::RightOuter, false, vec!["a@1 A", "b@2 B", "b@2 BB", "c@3 -"]),
    ];
    for (join_type, stream_on_left, expected) in expected {
        let rides = stream(LEFT);
        let frame = rides.frame(&session).unwrap();
        let on = col("k1").eq(col("k"));
        let joined = match stream_on_left {
            true => frame.join(&table, on, join_type).unwrap(),
            false => table.join(&frame, on, join_type).unwrap(),
        };
        let wanted: Vec<&str> = if expected[0].contains(' ') { vec!["k1", "t1", "name"] } else { vec!["k1", "t1"] };
        let sink = MemoryTable::new(Some("out")).unwrap();
        let query = joined.select(wanted).unwrap().write_stream().table(&sink).start().await.unwrap();
        batch(&rides, LEFT, &[(1.0, "a"), (2.0, "b"), (3.0, "c")]);
        query.process_all_available().await.unwrap();
        let found: Vec<String> = sink
            .rows()
            .iter()
            .flat_map(|rows| {
                let names = rows.columns().get(2).map(|c| c.as_string::<i32>().clone());
                let sides = rows.project(&[0, 1]).unwrap();
                let name = |row: usize| {
                    names.as_ref().map(|n| if arrow::array::Array::is_valid(n, row) { n.value(row) } else { "-" })
                };
                let with =
                    |(row, text): (usize, String)| name(row).map_or(text.clone(), |name| format!("{text} {name}"));
                self::texts(&sides).into_iter().enumerate().map(with).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(found, expected, "{join_type:?}");
        query.stop().await;
    }
    let rides = stream(LEFT).frame(&session).unwrap();
    for (left, right, join_type) in [
        (&rides, &table, JoinType::RightOuter),
        (&rides, &table, JoinType::FullOuter),
        (&table, &rides, JoinType::LeftOuter),
        (&table, &rides, JoinType::LeftSemi),
    ] {
        let joined = left.join(right, col("k1").eq(col("k")), join_type).unwrap();
        let refused = joined.write_stream().format("console").start().await.err().unwrap();
        assert_eq!(refused.code(), ErrorCode::UnsupportedOperation, "{join_type:?}");
    }
    let other = stream(RIGHT).frame(&session).unwrap();
    let unequal = rides.join(&other, col("t1").lt(col("t2")), "inner").unwrap();
    let refused = unequal.write_stream().format("console").start().await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::UnsupportedOperation);
}

/// Starts the query over two streams of [`LEFT`] and [`RIGHT`] with watermarks of ten seconds.
async fn started(plan: impl Fn(DataFrame, DataFrame) -> tidemill::Result<DataFrame>) -> Streams {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let (left, right) = (stream(LEFT), stream(RIGHT));
    let l = left.frame(&session).unwrap().with_watermark("t1", "10 seconds").unwrap();
    let r = right.frame(&session).unwrap().with_watermark("t2", "10 seconds").unwrap();
    let table = MemoryTable::new(Some("joined")).unwrap();
    let query = plan(l, r).unwrap().write_stream().table(&table).start().await.unwrap();
    Streams { left, right, table, query, seen: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_leaves_a_join_last_is_not_late_above_it() {
    let mut s = started(|l, r| {
        let on = expr("k1 = k2 AND t2 >= t1 AND t2 <= t1 + INTERVAL 5 SECONDS");
        l.join(&r, on, "left")?.group_by(["t1"])?.agg([max("k1").alias("k")])?.select(["k", "t1"])
    })
    .await;
    s.step(&[(25.0, "a")], &[(25.0, "b")]).await;
    // The watermark is 30: 25 + 5 is not before it.
    s.step(&[(40.0, "p")], &[(40.0, "q")]).await;
    let (new, ..) = s.step(&[(50.0, "x")], &[(50.0, "y")]).await;
    assert_eq!(new, ["a@25"]);
    s.query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_a_date_is_a_condition_like_any_other() {
    let mut s = started(|l, r| {
        let on = expr("k1 = k2 AND t1 <= d2 + INTERVAL 1 HOUR");
        l.join(&r.with_column("d2", col("t2").cast("date"))?, on, "inner")?.drop(&["d2"]).and_then(|f| f.select(["k1", "t1", "k2", "t2"]))
    })
    .await;
    assert_eq!(s.step(&[(10.0, "x"), (3601.0, "x")], &[(12.0, "x")]).await.0, ["x@10 x@12"]);
    s.query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_filter_above_a_table_removes_do_not_move_the_watermark() {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let left = stream(LEFT);
    let names = RecordBatch::try_from_iter([("k", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef)]).unwrap();
    let names = DataFrame::from_batches(&session, names.schema(), vec![names]).unwrap();
    let frame = left.frame(&session).unwrap().with_watermark("t1", "0 seconds").unwrap();
    let counts = frame
        .join(&names, col("k1").eq(col("k")), "inner")
        .and_then(|f| f.filter(col("k1").not_eq("y")))
        .and_then(|f| f.group_by(["k1", "t1"])?.count())
        .and_then(|f| f.select(["k1", "t1"]))
        .unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = counts.write_stream().table(&table).start().await.unwrap();
    batch(&left, LEFT, &[(10.0, "x"), (99.0, "y")]);
    query.process_all_available().await.unwrap();
    batch(&left, LEFT, &[(20.0, "x")]);
    query.process_all_available().await.unwrap();
    let rows: Vec<String> = table.rows().iter().flat_map(texts).collect();
    assert_eq!(rows, ["x@10", "x@20"]);
    query.stop().await;
}
