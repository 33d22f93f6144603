//! Aggregations and the expressions around them, with the values that Spark gives.

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use std::sync::Arc;
use tidemill::prelude::*;
use tidemill::source::memory::MemoryStream;

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").build().await.unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}

/// A stream of these batches, each a chunk of the first micro-batch. A query takes the rows, so each needs a frame of its own.
fn frame(session: &Session, batches: &[RecordBatch]) -> DataFrame {
    let stream = MemoryStream::new(batches[0].schema());
    batches.iter().for_each(|b| {
        stream.add(b.clone()).unwrap();
    });
    stream.frame(session).unwrap()
}

/// The rows as text, NULL as nothing, in order.
async fn rows(frame: &DataFrame, mode: OutputMode) -> Result<Vec<String>, Error> {
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow).table(&table).start().await?;
    query.await_termination().await?;
    let text = arrow::util::pretty::pretty_format_batches(&[table.concat()?]).unwrap().to_string();
    let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(",");
    let mut rows: Vec<String> = text.lines().skip(3).filter(|l| l.starts_with("| ")).map(cells).collect();
    if mode != Append {
        rows.sort();
    }
    Ok(rows)
}

fn ints(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn small(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Seconds since 1970 as instants.
fn times(seconds: &[Option<i64>]) -> ArrayRef {
    let micros: TimestampMicrosecondArray = seconds.iter().map(|s| s.map(|s| s * 1_000_000)).collect();
    Arc::new(micros.with_timezone("UTC"))
}

fn failed(result: Result<Vec<String>, Error>, word: &str) {
    let error = result.expect_err(word);
    assert!(error.to_string().contains(word), "{error} does not say {word}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sliding_windows_that_do_not_divide_and_times_before_1970() {
    let (one, input) = (session().await, [batch(vec![("t", times(&[Some(10), Some(12), Some(-1), None]))])]);
    let rides = || frame(&one, &input);
    let starts = |window: Column| {
        let counts = rides().group_by([window]).unwrap().count().unwrap();
        counts.select([col("window.start").cast("bigint"), col("count")]).unwrap()
    };
    let sliding = rows(&starts(window_sliding("t", "10 seconds", "3 seconds")), Update).await.unwrap();
    // 10 is in [3,13) [6,16) [9,19); 12 in these and [12,22); -1 in [-9,1) [-6,4) [-3,7).
    assert_eq!(sliding, ["-3,1", "-6,1", "-9,1", "12,1", "3,2", "6,2", "9,2"]);
    let shifted = rows(&starts(window_from("t", "5 seconds", "5 seconds", "-2 seconds")), Update).await.unwrap();
    assert_eq!(shifted, ["-2,1", "8,2"]);
    let by_name = rides().with_column("window", window("t", "5 seconds")).unwrap();
    let by_name = by_name.group_by(["window"]).unwrap().count().unwrap();
    let by_name = by_name.select([col("count"), col("window.start").cast("bigint").alias("s")]).unwrap();
    assert_eq!(rows(&by_name, Update).await.unwrap(), ["1,-5", "2,10"]);
    let value = || rides().select([window_sliding("t", "10 seconds", "3 seconds")]).unwrap();
    // As a value it makes a row for each window that a time is in.
    let starts = value().select([col("window.start").cast("bigint")]).unwrap();
    assert_eq!(rows(&starts, Append).await.unwrap(), ["9", "6", "3", "12", "9", "6", "3", "-3", "-6", "-9"]);
    let counts = value().group_by(["window"]).unwrap().count().unwrap();
    let counts = counts.select([col("window.start").cast("bigint"), col("count")]).unwrap();
    assert_eq!(rows(&counts, Update).await.unwrap(), sliding);
    let inside = rides().select([window_sliding("t", "10 seconds", "3 seconds").get_field("start")]).unwrap();
    failed(rows(&inside, Append).await, "sliding window()");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_type_group_by_sparks_equality() {
    let minus = Decimal128Array::from(vec![Some(150), Some(150), None]).with_precision_and_scale(10, 2).unwrap();
    let keys = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(true), None])) as ArrayRef),
        ("d", Arc::new(Date32Array::from(vec![Some(-1), Some(-1), None]))),
        ("x", Arc::new(Float64Array::from(vec![Some(-0.0), Some(0.0), None]))),
        ("n", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-f64::NAN), None]))),
        ("m", Arc::new(minus)),
        ("i", Arc::new(Int32Array::from(vec![Some(-7), Some(-7), None]))),
        ("s", texts(&[Some(""), Some(""), None])),
        ("t", times(&[Some(1), Some(1), Some(1)])),
    ];
    let (one, input) = (session().await, [batch(keys)]);
    let rides = || frame(&one, &input);
    let counts = rides().group_by(["b", "d", "x", "n", "m", "i", "s"]).unwrap().count().unwrap();
    assert_eq!(rows(&counts, Update).await.unwrap(), [",,,,,,,1", "true,1969-12-31,0.0,NaN,1.50,-7,,2"]);
    // The window second among the keys, and a watermarked time beside it.
    let counts = rides().with_watermark("t", "0 seconds").unwrap();
    let counts = counts.group_by([col("i"), col("t"), window("t", "5 seconds"), col("b")]).unwrap().count().unwrap();
    let counts = counts.select([col("i"), col("window.end").cast("bigint"), col("b"), col("count")]).unwrap();
    assert_eq!(rows(&counts, Update).await.unwrap(), [",5,,1", "-7,5,true,2"]);
    let distinct = rides().agg([count_distinct("x"), count_distinct("n"), approx_count_distinct("x")]).unwrap();
    assert_eq!(rows(&distinct, Update).await.unwrap(), ["1,1,1"]);
    let equal = rides().filter(col("x").eq(0.0).and(col("n").eq(col("n")))).unwrap().select(["i"]).unwrap();
    assert_eq!(rows(&equal, Append).await.unwrap(), ["-7", "-7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn extremes_of_every_type_and_of_nothing() {
    let columns = vec![
        ("k", texts(&[Some("a"), Some("a"), Some("z")])),
        ("s", texts(&[Some("é"), Some("b"), None])),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])) as ArrayRef),
        ("d", Arc::new(Date32Array::from(vec![Some(0), Some(-1), None]))),
        ("x", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(1.5), None]))),
        ("i", ints(&[Some(i64::MIN), Some(i64::MAX), None])),
    ];
    let (one, input) = (session().await, [batch(columns)]);
    let rides = || frame(&one, &input);
    let by_key = |calls: Vec<Column>| rides().group_by(["k"]).unwrap().agg(calls).unwrap();
    let most = by_key(["s", "b", "d", "x", "i"].into_iter().map(max).collect());
    let greatest = i64::MAX;
    assert_eq!(rows(&most, Update).await.unwrap(), [format!("a,é,true,1970-01-01,NaN,{greatest}"), "z,,,,,".into()]);
    let least = by_key(["s", "b", "d", "x", "i"].into_iter().map(min).collect());
    let smallest = i64::MIN;
    assert_eq!(rows(&least, Update).await.unwrap(), [format!("a,b,false,1969-12-31,1.5,{smallest}"), "z,,,,,".into()]);
    let none = by_key(vec![count("i"), sum("x"), avg("i"), sum("i") / count_all(), count(lit_null())]);
    assert_eq!(rows(&none, Update).await.unwrap()[1], "z,0,,,,0");
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_arithmetic_overflows_under_ansi_only() {
    let (one, input) =
        (session().await, [batch(vec![("n", ints(&[Some(i64::MAX), Some(1)])), ("z", small(&[i32::MAX, 0]))])]);
    let rides = || frame(&one, &input);
    failed(rows(&rides().agg([sum("n")]).unwrap(), Update).await, "ARITHMETIC_OVERFLOW");
    failed(rows(&rides().select([col("z") + 1]).unwrap(), Append).await, "ARITHMETIC_OVERFLOW");
    failed(rows(&rides().select([col("n") % col("z")]).unwrap(), Append).await, "BY_ZERO");
    let safe = rides().filter(col("z").lt(5)).unwrap().select([col("z") + 1, col("n") - 2, col("z") * 3]).unwrap();
    assert_eq!(rows(&safe, Append).await.unwrap(), ["1,-1,0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_aggregate_over_no_rows_is_null_and_zero() {
    let (one, input) = (session().await, [batch(vec![("n", ints(&[Some(1), Some(2)]))])]);
    let rides = || frame(&one, &input);
    let ones = || sum(when(col("n").gt(1), 1).otherwise(0));
    let calls = || [sum("n"), count_all(), ones(), min("n"), count("n"), approx_count_distinct("n")];
    let none = || rides().filter(col("n").gt(100)).unwrap();
    assert_eq!(rows(&none().agg(calls()).unwrap(), Update).await.unwrap(), [",0,,,0,0"]);
    assert_eq!(rows(&none().agg(calls()).unwrap(), Complete).await.unwrap(), [",0,,,0,0"]);
    assert_eq!(rows(&rides().agg(calls()).unwrap(), Update).await.unwrap(), ["3,2,1,1,2,2"]);
    let by_key = rides().group_by(["n"]).unwrap().agg([ones()]).unwrap();
    assert_eq!(rows(&by_key, Update).await.unwrap(), ["1,0", "2,1"]);
    // FILTER tells a group without rows from one whose rows give 0.
    let filtered = |least: i64| {
        use datafusion::logical_expr::ExprFunctionExt;
        let call = datafusion::logical_expr::Expr::try_from(ones()).unwrap();
        let keep = datafusion::logical_expr::Expr::try_from(col("n").lt_eq(least)).unwrap();
        rides().agg([Column::from(call.filter(keep).build().unwrap())]).unwrap()
    };
    assert_eq!(rows(&filtered(1), Update).await.unwrap(), ["0"]);
    assert_eq!(rows(&filtered(0), Update).await.unwrap(), [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_repeat_need_quoting_or_are_expressions() {
    let columns =
        vec![("a.b", ints(&[Some(1), Some(2)])), ("K", texts(&[Some("x"), Some("x")])), ("c", small(&[3, 4]))];
    let (one, input) = (session().await, [batch(columns)]);
    let rides = || frame(&one, &input);
    // Two columns of one name keep their own values, and the others stay usable.
    let twice = || rides().select([col("c"), col("`a.b`").alias("c"), col("k")]).unwrap();
    assert_eq!(rows(&twice(), Append).await.unwrap(), ["3,1,x", "4,2,x"]);
    assert_eq!(rows(&twice().select(["k"]).unwrap(), Append).await.unwrap(), ["x", "x"]);
    let keyed = || {
        rides()
            .group_by(["k"])
            .unwrap()
            .agg([
                max("c").alias("k"),
                (sum("`a.b`") / count_all()).alias("mean"),
                sum("`a.b`"),
                sum("`a.b`"),
                (sum("c") + count("c")).alias("odd`name"),
                coalesce([col("k"), lit("none")]).alias("again"),
            ])
            .unwrap()
    };
    assert_eq!(keyed().schema().fields()[0].name(), "k");
    assert_eq!(rows(&keyed(), Update).await.unwrap(), ["x,4,1.5,3,3,9,x"]);
    assert_eq!(rows(&keyed().select(["`odd``name`", "MEAN"]).unwrap(), Update).await.unwrap(), ["9,1.5"]);
    let above = keyed().filter(col("mean").gt(2)).unwrap().select(["mean"]).unwrap();
    assert_eq!(rows(&above, Update).await.unwrap(), [""; 0]);
    assert!(rides().agg([sum(sum("c"))]).is_err());
    assert!(rides().filter(sum("c").gt(1)).is_err());
    assert!(rides().group_by(["k"]).unwrap().agg([col("c") + sum("c")]).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_an_error_is_evaluated_first() {
    let columns = vec![("s", texts(&[Some("0"), Some("x"), Some("5"), None])), ("k", small(&[1, 2, 3, 4]))];
    let (one, input) = (session().await, [batch(columns)]);
    let rides = || frame(&one, &input);
    let number = || col("s").cast("int");
    let digits = || col("s").not_eq("x");
    let divisor = || lit(10) / number();
    // 10 / 0 and cast('x') are never looked at.
    let guarded = col("s").eq("0").or(col("s").eq("x")).or(divisor().gt(1));
    let keys = rides().filter(guarded).unwrap().select(["k"]).unwrap();
    assert_eq!(rows(&keys, Append).await.unwrap(), ["1", "2", "3"]);
    let counted = || sum(when(digits().and(number().gt(1)), 1).otherwise(0));
    let total = || sum(when(digits(), number()));
    assert_eq!(rows(&rides().agg([counted(), total()]).unwrap(), Update).await.unwrap(), ["1,5"]);
    let filtered = rides().filter(digits()).unwrap().filter(number().gt(0)).unwrap().agg([sum(number())]).unwrap();
    assert_eq!(rows(&filtered, Update).await.unwrap(), ["5"]);
    failed(
        rows(&rides().filter(number().gt(0)).unwrap().agg([count_all()]).unwrap(), Update).await,
        "CAST_INVALID_INPUT",
    );
    // A text is compared with a number as that number.
    let known = rides().filter(digits()).unwrap().filter(col("s").gt(3)).unwrap().select(["k"]).unwrap();
    assert_eq!(rows(&known, Append).await.unwrap(), ["3"]);
    failed(rows(&rides().filter(col("s").gt(3)).unwrap(), Append).await, "CAST_INVALID_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_fast_spares_rows_that_a_filter_removes() {
    let columns = vec![("j", texts(&[Some("{\"n\":1}"), Some("garbage")])), ("ok", small(&[1, 0]))];
    let (one, input) = (session().await, [batch(columns)]);
    let rides = || frame(&one, &input);
    let parsed = |frame: &DataFrame| {
        let call = from_json_with("j", "n INT", &[("mode", "FAILFAST")]).alias("d");
        frame.select([call, col("ok")]).unwrap()
    };
    let kept = parsed(&rides()).filter(col("ok").eq(1)).unwrap().select(["d.n"]).unwrap();
    assert_eq!(rows(&kept, Append).await.unwrap(), ["1"]);
    let all = parsed(&rides()).filter(col("d.n").eq(1)).unwrap().select(["d.n"]).unwrap();
    failed(rows(&all, Append).await, "MALFORMED_RECORD");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_valued_predicates_in_the_kernel() {
    let first = batch(vec![("s", texts(&[Some("a"), Some("b"), None])), ("n", small(&[1, 2, 3]))]);
    let empty = batch(vec![("s", texts(&[])), ("n", small(&[]))]);
    let second = batch(vec![("s", texts(&[Some("c"), Some("b"), Some("ab")])), ("n", small(&[4, 5, 6]))]);
    let (one, input) = (session().await, [first, empty, second]);
    let rides = || frame(&one, &input);
    let is_in = || col("s").isin([lit("a"), lit("c"), lit_null()]);
    for (predicate, expected) in [
        (is_in(), "2,5"),
        (!is_in(), "0,"),
        (!col("s").isin(["a"]), "4,17"),
        (col("s").like("a%"), "2,7"),
        (col("s").is_null().or(col("n").gt(5)), "2,9"),
        (col("n").gt(99), "0,"),
    ] {
        let shown = format!("{predicate:?}");
        let totals = rides().filter(predicate).unwrap().agg([count_all(), sum("n")]).unwrap();
        assert_eq!(rows(&totals, Update).await.unwrap(), [expected], "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_event_time_groups_null_and_never_evicts_it() {
    let schema = batch(vec![("t", times(&[None]))]).schema();
    let stream = MemoryStream::new(schema);
    let add = |seconds: &[Option<i64>]| {
        stream.add(batch(vec![("t", times(seconds))])).unwrap();
    };
    add(&[None, Some(10), None, Some(10)]);
    let marked = stream.frame(&session().await).unwrap().with_watermark("t", "5 seconds").unwrap();
    let counts = marked.group_by(["t"]).unwrap().count().unwrap();
    let counts = counts.select([col("t").cast("bigint").alias("t"), col("count")]).unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = counts.write_stream().output_mode(Update).query_name("out").table(&table).start().await.unwrap();
    query.process_all_available().await.unwrap();
    let shown = || {
        let rows = table.concat().unwrap();
        let value = |c: usize, r: usize| {
            let column = rows.column(c).as_any().downcast_ref::<Int64Array>().unwrap();
            column.is_valid(r).then(|| column.value(r))
        };
        (0..rows.num_rows()).map(|r| (value(0, r), value(1, r))).collect::<Vec<_>>()
    };
    assert_eq!(shown(), [(None, Some(2)), (Some(10), Some(2))]);
    add(&[Some(100)]);
    query.process_all_available().await.unwrap();
    // 95 is the watermark: 10 is gone, and 95 is late; NULL is neither.
    add(&[None, Some(95), Some(96)]);
    query.process_all_available().await.unwrap();
    assert_eq!(shown()[2..], [(Some(100), Some(1)), (None, Some(3)), (Some(96), Some(1))]);
    let last = query.last_progress().unwrap();
    assert_eq!((last.state_operators[0].num_rows_total, last.state_operators[0].num_rows_dropped_by_watermark), (3, 1));
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_move_below_the_watermark_unless_they_look_at_the_time() {
    let columns =
        || batch(vec![("t", times(&[Some(1), Some(50), Some(90)])), ("s", texts(&[Some("1"), Some("2"), Some("3")]))]);
    let one = session().await;
    for (by_time, by_value, watermark) in [
        (None, Some(col("s").not_eq("3")), 50),
        (None, Some(col("s").cast("int").lt(3)), 50),
        (Some(col("t").cast("bigint").lt(60)), None, 90),
        (Some(col("t").cast("bigint").lt(90)), Some(col("s").eq("1")), 1),
    ] {
        let mut rides = frame(&one, &[columns()]).with_watermark("t", "0 seconds").unwrap();
        for condition in [by_time, by_value].into_iter().flatten() {
            rides = rides.filter(condition).unwrap();
        }
        let counts = rides.group_by([window("t", "5 seconds")]).unwrap().count().unwrap();
        let table = MemoryTable::new(Some("out")).unwrap();
        let writer = counts.write_stream().output_mode(Append).trigger(Trigger::AvailableNow).table(&table);
        let query = writer.start().await.unwrap();
        query.await_termination().await.unwrap();
        let shown = query.last_progress().unwrap().event_time.get("watermark").cloned();
        let expected = format!("1970-01-01T00:{:02}:{:02}.000Z", watermark / 60, watermark % 60);
        assert_eq!(shown, Some(expected.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_union_takes_columns_by_position_and_windows_of_one_cut() {
    let left = batch(vec![("a", small(&[1])), ("b", small(&[2])), ("t", times(&[Some(1)]))]);
    let right = batch(vec![("b", small(&[10])), ("a", small(&[20])), ("u", times(&[Some(7)]))]);
    let one = session().await;
    let (left, right) = (|| frame(&one, std::slice::from_ref(&left)), || frame(&one, std::slice::from_ref(&right)));
    let both = left().union(&right()).unwrap().select(["a", "b"]).unwrap();
    assert_eq!(rows(&both, Update).await.unwrap(), ["1,2", "10,20"]);
    let totals = left().union(&right().filter(col("u").is_null()).unwrap()).unwrap().agg([sum("a"), sum("b")]).unwrap();
    assert_eq!(rows(&totals, Update).await.unwrap(), ["1,2"]);
    let five = left().select([window("t", "5 seconds")]).unwrap();
    let ten = right().select([window("u", "10 seconds")]).unwrap();
    let counts = five.union(&ten).unwrap().group_by(["window"]).unwrap().count().unwrap();
    failed(rows(&counts, Update).await, "window");
}
