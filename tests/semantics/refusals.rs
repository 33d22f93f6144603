//! Which plans may run in which output mode: Spark's table, cell by cell, as Spark 4.3 answers it.

use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use tidemill::plan::output_mode;
use tidemill::prelude::*;
use tidemill::source::provider::SourceProvider;

struct Frames {
    session: Session,
}

impl Frames {
    fn raw(&self) -> DataFrame {
        let schema = StructType::from_ddl("t TIMESTAMP, k STRING, v BIGINT").unwrap().to_arrow_schema();
        MemoryStream::new(schema).frame(&self.session).unwrap()
    }

    fn marked(&self) -> DataFrame {
        self.raw().with_watermark("t", "10 seconds").unwrap()
    }

    fn table(&self) -> DataFrame {
        let schema = StructType::from_ddl("t TIMESTAMP, k STRING, v BIGINT").unwrap().to_arrow_schema();
        DataFrame::from_table(&self.session, Arc::new(Table(schema))).unwrap()
    }

    /// Two streams joined by their keys; with a range of times, or with the times as a key, beside them.
    fn joined(&self, how: JoinType, condition: &str) -> DataFrame {
        let (left, right) = (self.marked(), self.marked());
        let on = left.col("k").eq(right.col("k"));
        let on = match condition {
            "range" => on.and(right.col("t").gt_eq(left.col("t"))).and(right.col("t").lt_eq(left.col("t"))),
            "time" => on.and(right.col("t").eq(left.col("t"))),
            _ => on,
        };
        left.join(&right, on, how).unwrap()
    }
}

/// A table that is planned and never read.
#[derive(Debug)]
struct Table(SchemaRef);

impl SourceProvider for Table {
    fn describe(&self) -> String {
        "Table".to_string()
    }

    fn create(&self) -> Result<Box<dyn tidemill::source::Source>, Error> {
        Ok(Box::new(MemoryStream::new(self.0.clone()).source()?))
    }
}

fn counted(frame: DataFrame) -> DataFrame {
    frame.group_by([window("t", "5 seconds")]).unwrap().count().unwrap()
}

fn by(names: &[&str]) -> Vec<datafusion::logical_expr::SortExpr> {
    names.iter().map(|name| datafusion::prelude::col(*name).sort(true, true)).collect()
}

const S: Option<ErrorCode> = Some(ErrorCode::OutputModeUnsupported);
const L: Option<ErrorCode> = Some(ErrorCode::UnsupportedOperation);
/// A function over a window of rows.
const W: Option<ErrorCode> = Some(ErrorCode::NonTimeWindow);
const OK: Option<ErrorCode> = None;

#[tokio::test(flavor = "multi_thread")]
async fn sparks_table() {
    let f = Frames { session: Session::builder().config("tidemill.device", "cpu").build().await.unwrap() };
    let sessions =
        |frame: DataFrame| frame.group_by([session_window("t", "5 seconds"), col("k")]).unwrap().count().unwrap();
    let by_key = |frame: DataFrame| frame.group_by(["k"]).unwrap().count().unwrap();
    // append, update, complete
    let rows = [
        ("stateless", f.marked(), [OK, OK, S]),
        ("aggregation without watermark", by_key(f.raw()), [S, OK, OK]),
        ("aggregation by a key, beside a watermark", by_key(f.marked()), [S, OK, OK]),
        ("aggregation of all rows", f.marked().agg([count_all()]).unwrap(), [S, OK, OK]),
        ("aggregation by window", counted(f.marked()), [OK, OK, OK]),
        ("aggregation by event time", f.marked().group_by(["t"]).unwrap().count().unwrap(), [OK, OK, OK]),
        ("session and key", sessions(f.marked()), [OK, S, OK]),
        ("session and key without watermark", sessions(f.raw()), [S, S, OK]),
        ("session", f.marked().group_by([session_window("t", "5 seconds")]).unwrap().count().unwrap(), [OK, S, OK]),
        ("sort", f.marked().sort(by(&["k"])).unwrap(), [L, L, S]),
        ("sort above an aggregation", counted(f.marked()).sort(by(&["count"])).unwrap(), [L, L, OK]),
        ("sort below an aggregation", counted(f.marked().sort(by(&["k"])).unwrap()), [L, L, L]),
        ("limit", f.marked().limit(3), [OK, L, S]),
        ("limit above an aggregation", counted(f.marked()).limit(3), [OK, L, OK]),
        ("limit below an aggregation", counted(f.marked().limit(3)), [OK, L, OK]),
        ("sort and limit", counted(f.marked()).sort(by(&["count"])).unwrap().limit(2), [L, L, OK]),
        ("distinct", f.marked().distinct().unwrap(), [OK, OK, S]),
        ("dedupe", f.marked().drop_duplicates(&["k"]).unwrap(), [OK, OK, S]),
        ("dedupe without watermark", f.raw().drop_duplicates(&["k"]).unwrap(), [OK, OK, S]),
        ("dedupe within watermark", f.marked().drop_duplicates_within_watermark(&["k"]).unwrap(), [OK, OK, S]),
        ("dedupe within no watermark", f.raw().drop_duplicates_within_watermark(&["k"]).unwrap(), [L, L, S]),
        ("dedupe, then aggregation", counted(f.marked().drop_duplicates(&["k", "t"]).unwrap()), [OK, OK, OK]),
        ("aggregation, then dedupe by a value", counted(f.marked()).drop_duplicates(&["count"]).unwrap(), [OK, OK, OK]),
        ("aggregation, then dedupe by window", counted(f.marked()).drop_duplicates(&["window"]).unwrap(), [OK, L, L]),
        (
            "aggregation, then dedupe within watermark",
            counted(f.marked()).drop_duplicates_within_watermark(&["count"]).unwrap(),
            [OK, L, L],
        ),
        ("dedupe twice", f.marked().drop_duplicates(&["k"]).unwrap().drop_duplicates(&["v"]).unwrap(), [OK, OK, S]),
        (
            "aggregation twice",
            counted(f.marked()).group_by([window("window", "10 seconds")]).unwrap().count().unwrap(),
            [OK, L, L],
        ),
        (
            "aggregation twice, by a value",
            counted(f.marked()).group_by(["count"]).unwrap().agg([count_all()]).unwrap(),
            [S, L, L],
        ),
        ("union", f.marked().union(&f.marked()).unwrap(), [OK, OK, S]),
        ("union with a table", f.raw().union(&f.table()).unwrap(), [L, L, S]),
        ("stream inner table", f.marked().join(&f.table(), "k", JoinType::Inner).unwrap(), [OK, OK, S]),
        ("stream left table", f.marked().join(&f.table(), "k", JoinType::LeftOuter).unwrap(), [OK, OK, S]),
        ("stream right table", f.marked().join(&f.table(), "k", JoinType::RightOuter).unwrap(), [L, L, S]),
        ("stream full table", f.marked().join(&f.table(), "k", JoinType::FullOuter).unwrap(), [L, L, S]),
        ("stream semi table", f.marked().join(&f.table(), "k", JoinType::LeftSemi).unwrap(), [OK, OK, S]),
        ("stream anti table", f.marked().join(&f.table(), "k", JoinType::LeftAnti).unwrap(), [OK, OK, S]),
        ("stream cross table", f.marked().cross_join(&f.table()).unwrap(), [OK, OK, S]),
        ("table left stream", f.table().join(&f.marked(), "k", JoinType::LeftOuter).unwrap(), [L, L, S]),
        ("table right stream", f.table().join(&f.marked(), "k", JoinType::RightOuter).unwrap(), [OK, OK, S]),
        ("table full stream", f.table().join(&f.marked(), "k", JoinType::FullOuter).unwrap(), [L, L, S]),
        ("table semi stream", f.table().join(&f.marked(), "k", JoinType::LeftSemi).unwrap(), [L, L, S]),
        ("table anti stream", f.table().join(&f.marked(), "k", JoinType::LeftAnti).unwrap(), [L, L, S]),
        ("streams inner", f.joined(JoinType::Inner, ""), [OK, OK, S]),
        ("streams inner, then aggregation", f.joined(JoinType::Inner, "range").agg([count_all()]).unwrap(), [S, OK, L]),
        ("streams left", f.joined(JoinType::LeftOuter, ""), [L, L, S]),
        ("streams full", f.joined(JoinType::FullOuter, ""), [L, L, S]),
        ("streams semi", f.joined(JoinType::LeftSemi, ""), [L, L, S]),
        ("streams left, range", f.joined(JoinType::LeftOuter, "range"), [OK, L, S]),
        ("streams right, range", f.joined(JoinType::RightOuter, "range"), [OK, L, S]),
        ("streams full, range", f.joined(JoinType::FullOuter, "range"), [OK, L, S]),
        ("streams semi, range", f.joined(JoinType::LeftSemi, "range"), [OK, OK, S]),
        ("streams left, time as key", f.joined(JoinType::LeftOuter, "time"), [OK, L, S]),
        ("streams anti, range", f.joined(JoinType::LeftAnti, "range"), [L, L, S]),
        (
            "aggregations joined",
            counted(f.marked()).join(&counted(f.marked()), "window", JoinType::Inner).unwrap(),
            [OK, L, L],
        ),
    ];
    for (name, frame, expected) in rows {
        for (mode, expected) in [Append, Update, Complete].into_iter().zip(expected) {
            let found = output_mode::check(frame.plan(), mode).err();
            assert_eq!(found.as_ref().map(Error::code), expected, "{name} in {mode:?}: {found:?}");
            // A refusal says what to do instead.
            let ways = ["use ", "call ", "write ", "put ", "sort in", "read the table"];
            let way_out = |error: &Error| ways.iter().any(|way| error.message().contains(way));
            assert!(found.as_ref().is_none_or(way_out), "{name} in {mode:?}: {found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_needs_a_time_and_a_gap() {
    let f = Frames { session: Session::builder().config("tidemill.device", "cpu").build().await.unwrap() };
    let error = f.marked().group_by([session_window("t", "soon"), col("k")]).err().unwrap();
    assert_eq!(error.code(), ErrorCode::CannotParseInterval, "{error}");
    let error = f.marked().group_by([session_window("k", "5 seconds"), col("k")]).err().unwrap();
    assert_eq!(error.code(), ErrorCode::DatatypeMismatch, "{error}");
    let error = f.marked().group_by([session_window("t", col("v")), col("k")]).err().unwrap();
    assert_eq!(error.code(), ErrorCode::DatatypeMismatch, "{error}");
}

/// A session window that was selected under a name is grouped by as one written in `group_by`.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_session_is_grouped_by() {
    let f = Frames { session: Session::builder().config("tidemill.device", "cpu").build().await.unwrap() };
    let named = f.marked().with_column("w", session_window("t", "5 seconds")).unwrap();
    let frame = named.group_by(["w", "k"]).unwrap().count().unwrap();
    let query = frame.write_stream().table(&MemoryTable::new(Some("out")).unwrap()).start().await.unwrap();
    assert!(query.explain().contains("session [cpu, state]: 1 aggregates a session"), "{}", query.explain());
    query.stop().await;
    let again = frame.group_by(["w"]).unwrap().count().unwrap();
    let error = again.write_stream().table(&MemoryTable::new(Some("out")).unwrap()).start().await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation, "{error}");
    let two =
        f.marked().group_by([session_window("t", "5 seconds"), window("t", "5 seconds")]).unwrap().count().unwrap();
    let error = two.write_stream().table(&MemoryTable::new(Some("out")).unwrap()).start().await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation, "{error}");
}

/// What Spark's programs ask of a stream that no stream can answer, in SQL: refused by the text, or by the mode that its query starts in,
/// with the name of the thing and what to do instead.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_stream_can_answer_is_refused_by_name() {
    let f = Frames { session: Session::builder().config("tidemill.device", "cpu").build().await.unwrap() };
    f.raw().create_or_replace_temp_view("rows").unwrap();
    let refused = async |text: &str, mode: OutputMode| -> Error {
        match f.session.sql(text).await {
            Err(error) => error,
            Ok(frame) => {
                let writer = frame.write_stream().output_mode(mode);
                writer.table(&MemoryTable::new(Some("out")).unwrap()).start().await.err().expect(text)
            }
        }
    };
    let sorted = "SELECT * FROM rows ORDER BY v";
    let sorted_below = "SELECT k, count(*) FROM (SELECT * FROM rows ORDER BY v) GROUP BY k";
    let counts = "SELECT k, count(*) AS n FROM rows GROUP BY k ORDER BY n";
    let unlike_each_time = ["replayed after a failure", "derive the value from a column"];
    let rows: Vec<(&str, OutputMode, Option<ErrorCode>, Vec<&str>)> = vec![
        // Functions over windows of rows.
        (
            "SELECT k, row_number() OVER (PARTITION BY k ORDER BY v) FROM rows",
            Append,
            W,
            vec!["row_number", "group by window("],
        ),
        ("SELECT k, rank() OVER (PARTITION BY k ORDER BY v) FROM rows", Update, W, vec!["rank", "group by window("]),
        ("SELECT k, sum(v) OVER (PARTITION BY k) FROM rows", Append, W, vec!["sum", "group by window("]),
        ("SELECT k, lag(v) OVER (PARTITION BY k ORDER BY t) FROM rows", Append, W, vec!["lag", "group by window("]),
        // Values that no replay would give again.
        (
            "SELECT monotonically_increasing_id() FROM rows",
            Append,
            L,
            [&["monotonically_increasing_id"], &unlike_each_time[..]].concat(),
        ),
        ("SELECT rand() FROM rows", Append, L, [&["rand"], &unlike_each_time[..]].concat()),
        ("SELECT uuid() FROM rows", Update, L, [&["uuid"], &unlike_each_time[..]].concat()),
        // Sets.
        ("SELECT k FROM rows INTERSECT SELECT k FROM rows", Append, L, vec!["intersect", "left semi"]),
        ("SELECT k FROM rows INTERSECT SELECT 'a' AS k", Append, L, vec!["intersect", "left semi"]),
        ("SELECT k FROM rows EXCEPT SELECT k FROM rows", Append, L, vec!["except", "left anti join"]),
        ("SELECT 'a' AS k EXCEPT SELECT k FROM rows", Append, L, vec!["except", "left anti join"]),
        // Order.
        (sorted, Append, L, vec!["sorting", "sort in foreach_batch"]),
        (sorted, Update, L, vec!["sorting", "sort in foreach_batch"]),
        (sorted, Complete, S, vec!["complete", "without streaming aggregations", "use append or update"]),
        (sorted_below, Append, S, vec!["append", "without watermark", "use update or complete"]),
        (sorted_below, Update, L, vec!["sorting", "sort in foreach_batch"]),
        (sorted_below, Complete, L, vec!["sorting", "sort in foreach_batch"]),
        (counts, Update, L, vec!["sorting", "sort in foreach_batch"]),
        // Limits.
        ("SELECT * FROM rows LIMIT 3", Update, L, vec!["limits", "use append"]),
        (
            "SELECT * FROM rows LIMIT 3",
            Complete,
            S,
            vec!["complete", "without streaming aggregations", "use append or update"],
        ),
        ("SELECT k, count(*) FROM rows GROUP BY k LIMIT 3", Update, L, vec!["limits", "use append"]),
    ];
    for (text, mode, code, words) in rows {
        let error = refused(text, mode).await;
        assert_eq!(Some(error.code()), code, "{text} in {mode:?}: {error}");
        let message = error.message().to_lowercase();
        for word in words {
            assert!(message.contains(word), "{text} in {mode:?}: {error} does not say {word:?}");
        }
    }
}
