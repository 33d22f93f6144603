//! Windows, sessions and observations of tables, and the rows that are in no window; the values are Spark's, recorded from runs of it.

use arrow::util::pretty::pretty_format_batches;
use serde_json::json;
use tidemill::prelude::*;

/// `v`, `k` and the second of `t`: (1, a, 1), (2, a, NULL), (3, b, 7), (4, a, 6), (5, b, 30).
async fn rows() -> DataFrame {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let text = "SELECT v, k, CAST(ts AS TIMESTAMP) AS t FROM VALUES (1, 'a', '2024-01-01 00:00:01'), (2, 'a', NULL), \
                (3, 'b', '2024-01-01 00:00:07'), (4, 'a', '2024-01-01 00:00:06'), (5, 'b', '2024-01-01 00:00:30') AS d(v, k, ts)";
    session.sql(text).await.unwrap()
}

/// A stream of the same columns.
async fn stream() -> (MemoryStream, DataFrame) {
    let stream = MemoryStream::new(rows().await.schema().clone());
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let frame = stream.frame(&session).unwrap();
    (stream, frame)
}

fn lines(batches: &[arrow::array::RecordBatch]) -> Vec<String> {
    let shown = pretty_format_batches(batches).unwrap().to_string();
    let rows = shown.lines().skip(3).filter(|line| line.starts_with("| "));
    let mut rows: Vec<String> =
        rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ")).collect();
    rows.sort();
    rows
}

async fn collected(frame: Result<DataFrame, Error>) -> Vec<String> {
    lines(&frame.unwrap().collect().await.unwrap())
}

/// What a query over a stream of the same rows gives.
async fn streamed(frame: impl FnOnce(&DataFrame) -> Result<DataFrame, Error>, mode: OutputMode) -> Vec<String> {
    let (stream, input) = stream().await;
    for batch in rows().await.collect().await.unwrap() {
        stream.add(batch).unwrap();
    }
    let table = MemoryTable::new(Some("out")).unwrap();
    let writer = frame(&input).unwrap().write_stream().output_mode(mode).trigger(Trigger::AvailableNow);
    writer.table(&table).start().await.unwrap().await_termination().await.unwrap();
    lines(&table.rows())
}

fn bounds(window: &str) -> Column {
    expr(&format!("concat(second({window}.start), '-', second({window}.end)) AS bounds"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_time_is_in_no_window() {
    let selected = |frame: &DataFrame| -> Vec<Result<DataFrame, Error>> {
        let five = || window("t", "5 seconds");
        vec![
            frame.select([col("v"), five()]).and_then(|f| f.select([col("v"), bounds("window")])),
            frame.with_column("w", five()).and_then(|f| f.select([col("v"), bounds("w")])),
            frame
                .select([col("v"), five().get_field("start").alias("s")])
                .and_then(|f| f.select_expr(["v", "second(s)"])),
            frame
                .select([col("v"), r#struct([five().alias("x")]).alias("s")])
                .and_then(|f| f.select([col("v"), bounds("s.x")])),
            frame.filter(five().get_field("start").is_null().or(lit(true))).and_then(|f| f.select(["v"])),
        ]
    };
    let whole = vec!["1 0-5", "3 5-10", "4 5-10", "5 30-35"];
    let expected = [whole.clone(), whole.clone(), vec!["1 0", "3 5", "4 5", "5 30"], whole, vec!["1", "3", "4", "5"]];
    let table = rows().await;
    for (index, (frame, expected)) in selected(&table).into_iter().zip(&expected).enumerate() {
        assert_eq!(collected(frame).await, *expected, "table, {index}");
    }
    for (index, expected) in expected.iter().enumerate() {
        assert_eq!(streamed(|frame| selected(frame).remove(index), Append).await, *expected, "stream, {index}");
    }
    let sliding = table.select([col("v"), window_sliding("t", "10 seconds", "5 seconds")]);
    let sliding = sliding.and_then(|f| f.select([col("v"), bounds("window")]));
    let windows = ["1 0-10", "1 55-5", "3 0-10", "3 5-15", "4 0-10", "4 5-15", "5 25-35", "5 30-40"];
    assert_eq!(collected(sliding).await, windows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_time_is_in_no_group_of_windows() {
    let grouped = |frame: &DataFrame| -> Vec<Result<DataFrame, Error>> {
        let five = || window("t", "5 seconds");
        vec![
            frame.group_by([five()]).and_then(|g| g.count()).and_then(|f| f.select([bounds("window"), col("count")])),
            frame
                .with_column("w", five())
                .and_then(|f| f.group_by(["w"]))
                .and_then(|g| g.count())
                .and_then(|f| f.select([bounds("w"), col("count")])),
            frame
                .group_by([five().get_field("start").alias("s")])
                .and_then(|g| g.count())
                .and_then(|f| f.select_expr(["second(s)", "count"])),
            frame
                .group_by(["k"])
                .and_then(|g| g.agg([max(five().get_field("end")).alias("e"), count_all().alias("n")]))
                .and_then(|f| f.select_expr(["k", "second(e)", "n"])),
        ]
    };
    let windows = vec!["0-5 1", "30-35 1", "5-10 2"];
    let expected = [windows.clone(), windows, vec!["0 1", "30 1", "5 2"], vec!["a 10 2", "b 35 2"]];
    for (index, (frame, expected)) in grouped(&rows().await).into_iter().zip(&expected).enumerate() {
        assert_eq!(collected(frame).await, *expected, "table, {index}");
    }
    for (index, expected) in expected.iter().enumerate() {
        assert_eq!(streamed(|frame| grouped(frame).remove(index), Complete).await, *expected, "stream, {index}");
    }
}

/// The filter that drops rows without a time costs nothing where the rows are grouped by that window: kernels do.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_was_selected_is_grouped_by_as_one_that_was_not() {
    let (_stream, frame) = stream().await;
    let plan = async |frame: Result<DataFrame, Error>| {
        let writer = frame.unwrap().write_stream().output_mode(Complete);
        let query = writer.table(&MemoryTable::new(Some("out")).unwrap()).start().await.unwrap();
        let text = query.explain();
        query.stop().await;
        let stages = text.split("== Stages ==").nth(1).unwrap().split("to aggregate").next().unwrap();
        stages.to_string()
    };
    let direct = frame.group_by([window("t", "5 seconds")]).and_then(|g| g.count());
    let named =
        frame.with_column("w", window("t", "5 seconds")).and_then(|f| f.group_by(["w"])).and_then(|g| g.count());
    assert_eq!(plan(direct).await, plan(named).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_table() {
    let rows = rows().await;
    let sessions = |key: Column| rows.group_by([key.alias("w"), col("k")]);
    let whole = sessions(session_window("t", "5 seconds"))
        .and_then(|g| g.agg([count_all().alias("n"), sum("v").alias("total"), collect_list("v").alias("all")]))
        .and_then(|f| f.select([bounds("w"), col("k"), col("n"), col("total"), col("all")]));
    assert_eq!(collected(whole).await, ["1-11 a 2 5 [1, 4]", "30-35 b 1 5 [5]", "7-12 b 1 3 [3]"]);
    let keyless = rows.group_by([session_window("t", "5 seconds")]).and_then(|g| g.agg([sum("v").alias("total")]));
    let keyless = keyless.and_then(|f| f.select([bounds("session_window"), col("total")]));
    assert_eq!(collected(keyless).await, ["1-12 8", "30-35 5"]);
    // A gap of each row's own; of those without one there is no session.
    let gap = when(col("k").eq(lit("a")), "6 seconds").otherwise("0 seconds");
    let own = sessions(session_window("t", gap)).and_then(|g| g.count());
    assert_eq!(collected(own.and_then(|f| f.select([bounds("w"), col("count")]))).await, ["1-12 2"]);
    let none = sessions(session_window("t", "-1 seconds")).and_then(|g| g.count());
    assert!(collected(none).await.is_empty());
    let distinct = sessions(session_window("t", "5 seconds")).and_then(|g| g.agg([count_distinct("v").alias("n")]));
    assert_eq!(
        collected(distinct.and_then(|f| f.select([bounds("w"), col("n")]))).await,
        ["1-11 2", "30-35 1", "7-12 1"]
    );
    // Sessions of all keys that touch are merged again.
    let again = rows.group_by([session_window("t", "10 seconds"), col("k")]).and_then(|g| g.count());
    let again = again.and_then(|f| f.group_by(["session_window"])).and_then(|g| g.agg([sum("count").alias("n")]));
    assert_eq!(
        collected(again.and_then(|f| f.select([bounds("session_window"), col("n")]))).await,
        ["1-17 3", "30-40 1"]
    );
    let two = rows.group_by([session_window("t", "5 seconds"), window("t", "5 seconds")]).and_then(|g| g.count());
    assert_eq!(two.unwrap().collect().await.unwrap_err().code(), ErrorCode::UnsupportedOperation);
}

/// Outside a grouping a session is the one that the row makes alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_row() {
    let own = |frame: &DataFrame| {
        let gap = when(col("k").eq(lit("a")), "5 seconds");
        frame.select([col("v"), session_window("t", gap).alias("w")]).and_then(|f| f.select([col("v"), bounds("w")]))
    };
    assert_eq!(collected(own(&rows().await)).await, ["1 1-6", "4 6-11"]);
    assert_eq!(streamed(own, Append).await, ["1 1-6", "4 6-11"]);
    // Named first and grouped by later, it is that of all rows.
    let named = |frame: &DataFrame| {
        let frame = frame.with_column("w", session_window("t", "5 seconds"))?;
        frame.group_by(["w", "k"])?.count()?.select([bounds("w"), col("k"), col("count")])
    };
    let merged = ["1-11 a 2", "30-35 b 1", "7-12 b 1"];
    assert_eq!(collected(named(&rows().await)).await, merged);
    assert_eq!(streamed(named, Complete).await, merged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_tells_what_it_observed() {
    let rows = rows().await;
    let seen = Observation::new("seen");
    let metrics =
        [count_all().alias("rows"), max("v").alias("most"), max("t").alias("last"), avg("v").alias("mean"), max("k")];
    let observed = rows.observe(&seen, metrics).unwrap();
    assert!(seen.observed().is_none());
    let few = observed.filter(col("v").gt(3)).unwrap();
    assert_eq!(few.count().await.unwrap(), 2);
    let expected = json!({"rows": 5, "most": 5, "last": "2024-01-01 00:00:30", "mean": 3.0, "max(k)": "b"});
    assert_eq!(serde_json::Value::from(seen.get().await.unwrap()), expected);
    let row = seen.observed().unwrap().row;
    assert_eq!(row.schema().field(2).data_type(), rows.schema().field(2).data_type());
    // The first action counts.
    assert_eq!(few.limit(0).collect().await.unwrap().len(), 0);
    assert_eq!(serde_json::Value::from(seen.get().await.unwrap()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_counts_each_row_once() {
    let rows = rows().await;
    let twice = Observation::new("twice");
    let observed = rows.observe(&twice, [count_all().alias("rows")]).unwrap();
    assert_eq!(observed.union(&observed).unwrap().count().await.unwrap(), 10);
    assert_eq!(twice.get().await.unwrap()["rows"], 5);
    let nothing = Observation::default();
    let none = rows.limit(0).observe(&nothing, [count_all().alias("rows"), max("v").alias("most")]).unwrap();
    none.collect().await.unwrap();
    assert_eq!(serde_json::Value::from(nothing.get().await.unwrap()), json!({"rows": 0, "most": null}));
    // Under a name alone, the computation gives the metrics.
    let (low, high) = (rows.filter(col("v").lt(3)).unwrap(), rows.filter(col("v").gt(3)).unwrap());
    let (low, high) = (low.observe("low", [count_all().alias("n")]), high.observe("high", [sum("v").alias("n")]));
    let both = low.unwrap().union(&high.unwrap()).unwrap();
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let observed = tidemill::table::run(&session, both.plan()).await.unwrap().observed;
    let metrics: Vec<_> = observed.iter().map(|o| (o.name.as_str(), o.to_json().unwrap()["n"].clone())).collect();
    assert_eq!(metrics, [("high", json!(9)), ("low", json!(2))]);
    let written = Observation::new("written");
    rows.observe(&written, [count_all().alias("rows")]).unwrap().write().format("noop").save().await.unwrap();
    assert_eq!(written.get().await.unwrap()["rows"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_is_for_one_table() {
    let (rows, (_stream, frame)) = (rows().await, stream().await);
    let seen = Observation::new("seen");
    let error = frame.observe(&seen, [count_all().alias("n")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert!(error.message().contains("observedMetrics"), "{error}");
    rows.observe(&seen, [count_all().alias("n")]).unwrap();
    let error = rows.observe(&seen, [count_all().alias("n")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DuplicatedMetricsName);
    let one = rows.observe("m", [count_all().alias("n")]).unwrap();
    let other = rows.filter(col("v").gt(1)).unwrap().observe("m", [count_all().alias("n")]).unwrap();
    let error = one.union(&other).unwrap().collect().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DuplicatedMetricsName);
}
