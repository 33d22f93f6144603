//! Joins over many batches: two streams within watermarks and time ranges, however they are cut, and a stream with a table. What each
//! kind gives step by step is in `cases/E*` and `cases/S*`.

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use tidemill::frame::StreamingQuery;
use tidemill::prelude::*;
use tidemill::types::IntoSchema;

/// 2024-01-01T00:00:00Z in microseconds.
const ORIGIN: i64 = 1_704_067_200_000_000;

fn stream(columns: &str) -> MemoryStream {
    MemoryStream::new(columns.into_schema().unwrap().to_arrow_schema())
}

/// Adds rows of a key and of seconds after the origin.
fn batch(stream: &MemoryStream, schema: &str, rows: &[(i64, &str)]) {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| ORIGIN + row.0 * 1_000_000));
    let keys = StringArray::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times.with_timezone("UTC"))];
    stream.add(RecordBatch::try_new(schema.into_schema().unwrap().to_arrow_schema(), columns).unwrap()).unwrap();
}

const LEFT: &str = "k1 STRING, t1 TIMESTAMP";
const RIGHT: &str = "k2 STRING, t2 TIMESTAMP";

/// What a query makes of two streams, the left one of `k1, t1`, the right one of `k2, t2`.
type Build = fn(&DataFrame, &DataFrame) -> Result<DataFrame, Error>;

const RANGE: &str = "k1 = k2 AND t2 >= t1 AND t2 <= t1 + INTERVAL 5 SECONDS";

fn ranged(left: &DataFrame, right: &DataFrame, join_type: &str) -> Result<DataFrame, Error> {
    left.join(right, expr(RANGE), join_type)
}

struct Streams {
    left: MemoryStream,
    right: MemoryStream,
    table: MemoryTable,
    query: StreamingQuery,
}

impl Streams {
    /// Two streams with watermarks of ten seconds, and a query over them.
    async fn start(build: Build) -> Self {
        let session = Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 2).build();
        let session = session.await.unwrap();
        let (left, right) = (stream(LEFT), stream(RIGHT));
        let l = left.frame(&session).unwrap().with_watermark("t1", "10 seconds").unwrap();
        let r = right.frame(&session).unwrap().with_watermark("t2", "10 seconds").unwrap();
        let table = MemoryTable::new(Some("joined")).unwrap();
        let query = build(&l, &r).unwrap().write_stream().table(&table).start().await.unwrap();
        Self { left, right, table, query }
    }
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let text = |row: usize, at: usize| {
        let (keys, times) = (rows.column(at).as_string::<i32>(), rows.column(at + 1));
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let key = arrow::array::Array::is_valid(keys, row).then(|| keys.value(row));
        key.map_or("-".to_string(), |key| format!("{key}@{}", (times.value(row) - ORIGIN) / 1_000_000))
    };
    let sides = rows.num_columns() / 2;
    (0..rows.num_rows()).map(|row| (0..sides).map(|s| text(row, s * 2)).collect::<Vec<_>>().join(" ")).collect()
}

/// A join's rows, found the plain way: every left row with every right row, then those without a partner.
fn pairs(left: &[(i64, &str)], right: &[(i64, &str)], join_type: &str) -> Vec<String> {
    let together = |l: &(i64, &str), r: &(i64, &str)| l.1 == r.1 && r.0 >= l.0 && r.0 <= l.0 + 5;
    let text = |row: &(i64, &str)| format!("{}@{}", row.1, row.0);
    let mut rows = Vec::new();
    for l in left {
        let partners: Vec<_> = right.iter().filter(|r| together(l, r)).collect();
        match join_type {
            "left_semi" if !partners.is_empty() => rows.push(text(l)),
            "left_semi" => {}
            _ => rows.extend(partners.iter().map(|r| format!("{} {}", text(l), text(r)))),
        }
        if partners.is_empty() && ["left_outer", "full_outer"].contains(&join_type) {
            rows.push(format!("{} -", text(l)));
        }
    }
    if ["right_outer", "full_outer"].contains(&join_type) {
        let alone = right.iter().filter(|r| !left.iter().any(|l| together(l, r)));
        rows.extend(alone.map(|r| format!("- {}", text(r))));
    }
    rows.sort();
    rows
}

/// Times that rise, with keys that repeat and rows that repeat.
fn rising(random: &mut StdRng, rows: usize) -> Vec<(i64, &'static str)> {
    let mut now = 0;
    let mut row = || {
        now += random.random_range(0..3);
        (now, ["a", "b", "c", "d"][random.random_range(0..4)])
    };
    (0..rows).map(|_| row()).collect()
}

/// However two streams without late rows are cut, and whichever is ahead of the other, the join is that of the whole.
#[tokio::test(flavor = "multi_thread")]
async fn any_split_gives_the_same_pairs() {
    let mut random = StdRng::seed_from_u64(17);
    let (mut left, mut right) = (rising(&mut random, 300), rising(&mut random, 250));
    let kinds: [(&str, Build); 5] = [
        ("inner", |l, r| ranged(l, r, "inner")),
        ("left_outer", |l, r| ranged(l, r, "left_outer")),
        ("right_outer", |l, r| ranged(l, r, "right_outer")),
        ("full_outer", |l, r| ranged(l, r, "full_outer")),
        ("left_semi", |l, r| ranged(l, r, "left_semi")),
    ];
    let expected = kinds.map(|(name, _)| pairs(&left, &right, name));
    assert!(expected.iter().all(|rows| rows.len() > 100), "too few pairs to prove anything");
    // Far away and without partners, these let every other row go and stay themselves.
    left.push((100_000, "left"));
    right.push((100_000, "right"));
    for ((name, build), expected) in kinds.into_iter().zip(expected) {
        for parts in [(1, 1), (5, 3), (1, 40), (40, 1), (37, 41)] {
            let s = Streams::start(build).await;
            let mut lefts = left.chunks(left.len().div_ceil(parts.0));
            let mut rights = right.chunks(right.len().div_ceil(parts.1));
            loop {
                let (l, r) = (lefts.next(), rights.next());
                if l.is_none() && r.is_none() {
                    break;
                }
                l.into_iter().for_each(|rows| batch(&s.left, LEFT, rows));
                // Sometimes in one batch with the left rows, sometimes after them.
                if random.random_bool(0.5) {
                    s.query.process_all_available().await.unwrap();
                }
                r.into_iter().for_each(|rows| batch(&s.right, RIGHT, rows));
                s.query.process_all_available().await.unwrap();
            }
            s.query.stop().await;
            let mut found: Vec<String> = s.table.rows().iter().flat_map(texts).collect();
            found.sort();
            assert_eq!(found, expected, "{name} in {parts:?} parts");
        }
    }
}

/// 200 windows of five seconds, one batch each: a join with bounds keeps as many rows and bytes at the end as at the beginning.
async fn soak(name: &str, build: Build) {
    let s = Streams::start(build).await;
    let mut seen = Vec::new();
    for window in 0..200 {
        // Some with partners and some without, on both sides.
        let at = 100_000 + window * 5;
        batch(&s.left, LEFT, &[(at, "a"), (at + 1, "b"), (at + 2, "left")]);
        batch(&s.right, RIGHT, &[(at + 1, "a"), (at + 4, "b"), (at + 3, "right")]);
        s.query.process_all_available().await.unwrap();
        let last = s.query.last_progress().unwrap();
        seen.push(last.state_operators.iter().map(|o| (o.num_rows_total, o.memory_used_bytes)).collect::<Vec<_>>());
    }
    s.query.stop().await;
    assert!(seen[20].iter().any(|(rows, _)| *rows > 0), "{name}: {seen:?}");
    assert!(seen[20..].iter().all(|state| *state == seen[20]), "{name}: {seen:?}");
    assert!(!s.table.rows().is_empty(), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_joins_keep_what_their_bounds_allow() {
    tokio::join!(
        soak("inner", |l, r| ranged(l, r, "inner")),
        soak("left outer", |l, r| ranged(l, r, "left_outer")),
        soak("right outer", |l, r| ranged(l, r, "right_outer")),
        soak("full outer", |l, r| ranged(l, r, "full_outer")),
        soak("left semi", |l, r| ranged(l, r, "left_semi")),
        soak("by event time", |l, r| l.join(r, expr("k1 = k2 AND t1 = t2"), "full_outer")),
        soak("join, then windows", |l, r| {
            ranged(l, r, "inner")?.group_by([window("t1", "5 seconds"), col("k1")])?.count()
        }),
    );
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
        batch(&rides, LEFT, &[(1, "a"), (2, "b"), (3, "c")]);
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

/// Adds rows, and gives all rows of the result so far.
async fn step(s: &Streams, left: &[(i64, &str)], right: &[(i64, &str)]) -> Vec<String> {
    batch(&s.left, LEFT, left);
    batch(&s.right, RIGHT, right);
    s.query.process_all_available().await.unwrap();
    s.table.rows().iter().flat_map(texts).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_a_date_is_a_condition_like_any_other() {
    let s = Streams::start(|l, r| {
        let on = expr("k1 = k2 AND t1 <= d2 + INTERVAL 1 HOUR");
        l.join(&r.with_column("d2", col("t2").cast("date"))?, on, "inner")?
            .drop(&["d2"])
            .and_then(|f| f.select(["k1", "t1", "k2", "t2"]))
    })
    .await;
    assert_eq!(step(&s, &[(10, "x"), (3601, "x")], &[(12, "x")]).await, ["x@10 x@12"]);
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
    batch(&left, LEFT, &[(10, "x"), (99, "y")]);
    query.process_all_available().await.unwrap();
    batch(&left, LEFT, &[(20, "x")]);
    query.process_all_available().await.unwrap();
    let rows: Vec<String> = table.rows().iter().flat_map(texts).collect();
    assert_eq!(rows, ["x@10", "x@20"]);
    query.stop().await;
}

/// What comes into a table's directory while the query runs is not seen: the table is read once.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_as_it_was_when_the_query_started() {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("1.json"), "{\"k\":\"a\",\"name\":\"A\"}\n").unwrap();
    let reader = session.read().format("json").schema("k STRING, name STRING");
    let names = reader.load_path(&directory.path().to_string_lossy()).await.unwrap();
    let rides = stream(LEFT);
    let joined = rides.frame(&session).unwrap().join(&names, expr("k1 = k"), JoinType::Inner).unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = joined.select(["k1", "t1"]).unwrap().write_stream().table(&table).start().await.unwrap();
    std::fs::write(directory.path().join("2.json"), "{\"k\":\"b\",\"name\":\"B\"}\n").unwrap();
    batch(&rides, LEFT, &[(1, "a"), (2, "b")]);
    query.process_all_available().await.unwrap();
    query.stop().await;
    let found: Vec<String> = table.rows().iter().flat_map(texts).collect();
    assert_eq!(found, ["a@1"]);
}

/// As in Spark, a stream that stands several times in a union is one source, whose rows are read, and counted, once for each place; joined with
/// itself it is two.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_source_in_a_union_and_two_in_a_join() {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let stream = MemoryStream::new("n BIGINT");
    let frame = stream.frame(&session).unwrap();
    let both = frame.union(&frame.filter(col("n").gt(1)).unwrap().select([col("n") * 10]).unwrap()).unwrap();
    let other = MemoryStream::new("n BIGINT");
    let pairs = frame.alias("a").join(&frame.alias("b"), col("a.n").eq(col("b.n")), "inner").unwrap();
    let all = both.union(&other.frame(&session).unwrap()).unwrap();
    let cases = [(both, vec![6]), (all, vec![6, 0]), (pairs, vec![3, 3])];
    let start = async |frame: &DataFrame| {
        let table = MemoryTable::new(Some("out")).unwrap();
        (frame.write_stream().table(&table).start().await.unwrap(), table)
    };
    let mut queries = Vec::new();
    for (frame, counts) in &cases {
        queries.push((start(frame).await, counts));
    }
    stream.add(crate::embedding::numbers(&[1, 2, 3])).unwrap();
    let expected = [vec![1, 2, 3, 20, 30], vec![1, 2, 3, 20, 30], vec![1, 2, 3]];
    for (((query, table), counts), expected) in queries.iter().zip(expected) {
        query.process_all_available().await.unwrap();
        let progress = query.last_progress().unwrap();
        let read: Vec<u64> = progress.sources.iter().map(|source| source.num_input_rows).collect();
        assert_eq!(read, **counts);
        query.stop().await;
        let rows = table.concat().unwrap();
        let mut found: Vec<i64> = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}
