//! Operations on frames that PySpark programs use, with the answers of Spark 4.3.

use tidemill::plan::output_mode;
use tidemill::prelude::*;

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").build().await.unwrap()
}

/// The rows that Spark's answers below are about.
async fn letters(session: &Session) -> DataFrame {
    let text = "SELECT * FROM VALUES ('a', 'x', 1, 1.5D), ('a', 'y', 2, 2.5D), ('b', 'x', 3, NULL), (NULL, 'x', 4, -1.0D) AS t(k, p, n, v)";
    let frame = session.sql(text).await.unwrap();
    frame.create_or_replace_temp_view("d").unwrap();
    frame
}

/// The rows as texts, cells parted by spaces.
async fn rows(frame: &DataFrame) -> Vec<String> {
    let text = frame.show_string(100, 0).await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
    lines.map(|line| line.split('|').map(str::trim).filter(|c| !c.is_empty()).collect::<Vec<_>>().join(" ")).collect()
}

async fn sorted(frame: &DataFrame) -> Vec<String> {
    let mut rows = rows(frame).await;
    rows.sort();
    rows
}

fn names(frame: &DataFrame) -> Vec<String> {
    frame.schema().fields().iter().map(|f| f.name().clone()).collect()
}

fn types(frame: &DataFrame) -> Vec<String> {
    frame.schema().fields().iter().map(|f| f.data_type().to_string()).collect()
}

async fn sql(session: &Session, text: &str) -> Vec<String> {
    sorted(&session.sql(text).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rollup_and_cube_group_by_several_sets_of_keys() {
    let session = session().await;
    let d = letters(&session).await;
    let rolled = d.rollup(["k", "p"]).unwrap();
    let rolled = rolled.agg([sum("n"), grouping("k"), grouping_id(), expr("grouping_id(k, p)").alias("g2")]).unwrap();
    assert_eq!(names(&rolled), ["k", "p", "sum(n)", "grouping(k)", "grouping_id()", "g2"]);
    assert_eq!(types(&rolled)[2..], ["Int64", "Int8", "Int64", "Int64"]);
    assert_eq!(
        sorted(&rolled).await,
        [
            "NULL NULL 10 1 3 3",
            "NULL NULL 4 0 1 1",
            "NULL x 4 0 0 0",
            "a NULL 3 0 1 1",
            "a x 1 0 0 0",
            "a y 2 0 0 0",
            "b NULL 3 0 1 1",
            "b x 3 0 0 0",
        ]
    );
    let cubed = d.cube(["k", "p"]).unwrap().count().unwrap();
    assert_eq!(
        sorted(&cubed).await,
        [
            "NULL NULL 1",
            "NULL NULL 4",
            "NULL x 1",
            "NULL x 3",
            "NULL y 1",
            "a NULL 2",
            "a x 1",
            "a y 1",
            "b NULL 1",
            "b x 1",
        ]
    );
    let sets = d.grouping_sets([vec!["k"], vec!["p"], vec![]], ["k", "p"]).unwrap().agg([sum("n")]).unwrap();
    assert_eq!(
        sorted(&sets).await,
        ["NULL NULL 10", "NULL NULL 4", "NULL x 8", "NULL y 2", "a NULL 3", "b NULL 3"]
    );
    // An aggregate of a key sees its values, an expression of it what the group has.
    let own = d.rollup(["n"]).unwrap().agg([sum("n"), count("n"), (col("n") + 1).alias("n1")]).unwrap();
    assert_eq!(sorted(&own).await, ["1 1 1 2", "2 2 1 3", "3 3 1 4", "4 4 1 5", "NULL 10 4 NULL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_groups_by_several_sets_of_keys() {
    let session = session().await;
    letters(&session).await;
    let answers: [(&str, &[&str]); 5] = [
        (
            "SELECT k, p, sum(n), grouping(k), grouping_id() g FROM d GROUP BY k, ROLLUP(p)",
            &["NULL NULL 4 0 1", "NULL x 4 0 0", "a NULL 3 0 1", "a x 1 0 0", "a y 2 0 0", "b NULL 3 0 1", "b x 3 0 0"],
        ),
        (
            "SELECT k, count(*) c FROM d GROUP BY GROUPING SETS ((k), (k), ())",
            &["NULL 1", "NULL 1", "NULL 4", "a 2", "a 2", "b 1", "b 1"],
        ),
        (
            "SELECT k, p, count(*) c FROM d GROUP BY k, p GROUPING SETS ((k, p), k)",
            &["NULL NULL 1", "NULL x 1", "a NULL 2", "a x 1", "a y 1", "b NULL 1", "b x 1"],
        ),
        ("SELECT k, count(*) c FROM d GROUP BY k WITH ROLLUP HAVING grouping(k) = 1", &["NULL 4"]),
        ("SELECT upper(k) u, max(n) FROM d GROUP BY CUBE(upper(k)) ORDER BY grouping_id() DESC, u LIMIT 2", &["NULL 4", "NULL 4"]),
    ];
    for (text, expected) in answers {
        assert_eq!(sql(&session, text).await, expected, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_of_keys_group_streams_where_spark_lets_them() {
    let session = session().await;
    let stream = session.read_stream().format("rate").load().await.unwrap();
    let rolled = stream.rollup(["value"]).unwrap().count().unwrap();
    let windowed = stream.with_watermark("timestamp", "1 second").unwrap();
    let sets = [vec![window("timestamp", "5 seconds"), col("value")], vec![window("timestamp", "5 seconds")]];
    let windowed = windowed.grouping_sets::<_, Column>(sets, []).unwrap().count().unwrap();
    let refused = Some(ErrorCode::OutputModeUnsupported);
    for (frame, expected) in [(&rolled, [refused, None, None]), (&windowed, [None, None, None])] {
        for (mode, expected) in [Append, Update, Complete].into_iter().zip(expected) {
            assert_eq!(output_mode::check(frame.plan(), mode).err().map(|e| e.code()), expected, "{mode:?}");
        }
    }
    let memory = MemoryStream::new("k STRING, n INT");
    let frame = memory.frame(&session).unwrap().rollup(["k"]).unwrap().agg([sum("n").alias("n")]).unwrap();
    let table = MemoryTable::new(Some("sums")).unwrap();
    let query = frame.write_stream().output_mode(Complete).table(&table).start().await.unwrap();
    for batch in letters(&session).await.select(["k", "n"]).unwrap().collect().await.unwrap() {
        memory.add(batch).unwrap();
    }
    query.process_all_available().await.unwrap();
    let kept = DataFrame::from_batches(&session, frame.schema().clone(), table.rows()).unwrap();
    assert_eq!(sorted(&kept).await, ["NULL 10", "NULL 4", "a 3", "b 3"]);
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_about_sets_of_keys_needs_them() {
    let session = session().await;
    let d = letters(&session).await;
    let code = |result: Result<DataFrame, Error>| result.err().map(|error| error.code());
    assert_eq!(code(d.group_by(["k"]).unwrap().agg([grouping("k")])), Some(ErrorCode::UnsupportedGrouping));
    assert_eq!(code(d.select([grouping("k")])), Some(ErrorCode::UnsupportedGrouping));
    assert_eq!(code(d.filter(grouping("k").eq(1))), Some(ErrorCode::UnsupportedGrouping));
    assert_eq!(code(d.rollup(["k"]).unwrap().agg([grouping("p")])), Some(ErrorCode::GroupingColumnMismatch));
    let some = d.rollup(["k", "p"]).unwrap().agg([expr("grouping_id(k)")]);
    assert_eq!(code(some), Some(ErrorCode::GroupingIdColumnMismatch));
    let wide: Vec<Column> = (0..14).map(|n| (col("n") + n).alias(format!("n{n}"))).collect();
    assert_eq!(d.cube(wide).err().map(|e| e.code()), Some(ErrorCode::UnsupportedOperation));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pivot_makes_columns_of_values() {
    let session = session().await;
    let d = letters(&session).await;
    let by = |key: &str| d.group_by([key]).unwrap();
    let found = by("k").pivot_distinct("p").await.unwrap().agg([sum("n")]).unwrap();
    assert_eq!(names(&found), ["k", "x", "y"]);
    assert_eq!(sorted(&found).await, ["NULL 4 NULL", "a 1 2", "b 3 NULL"]);
    let given = by("k").pivot("p", ["x", "z"]).unwrap().agg([sum("n"), count("n").alias("c")]).unwrap();
    assert_eq!(names(&given), ["k", "x_sum(n)", "x_c", "z_sum(n)", "z_c"]);
    assert_eq!(sorted(&given).await, ["NULL 4 1 NULL NULL", "a 1 1 NULL NULL", "b 3 1 NULL NULL"]);
    let null = by("p").pivot_distinct("k").await.unwrap().count().unwrap();
    assert_eq!(names(&null), ["p", "null", "a", "b"]);
    assert_eq!(sorted(&null).await, ["x 1 1 1", "y NULL 1 NULL"]);
    let all = d.group_by::<Column>([]).unwrap().pivot_distinct("v").await.unwrap().agg([max("n")]).unwrap();
    assert_eq!(names(&all), ["null", "-1.0", "1.5", "2.5"]);
    assert_eq!(rows(&all).await, ["3 4 1 2"]);
    session.conf().set("spark.sql.pivotMaxValues", "1").unwrap();
    assert_eq!(by("k").pivot_distinct("p").await.err().unwrap().code(), ErrorCode::InvalidExpression);
    assert_eq!(by("k").pivot("n", ["x"]).err().unwrap().code(), ErrorCode::CastInvalidInput);
    let rolled = d.rollup(["k"]).unwrap().pivot("p", ["x"]).err().unwrap();
    assert_eq!(rolled.code(), ErrorCode::UnsupportedOperation);
    let stream = session.read_stream().format("rate").load().await.unwrap();
    let refused = stream.group_by(["value"]).unwrap().pivot_distinct("value").await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::UnsupportedOperation);
}

#[tokio::test(flavor = "multi_thread")]
async fn set_operations_count_rows_and_convert_types() {
    let session = session().await;
    let values = |list: &str| {
        let (session, text) = (session.clone(), format!("SELECT * FROM VALUES {list} AS t(k, n)"));
        async move { session.sql(&text).await.unwrap() }
    };
    let left = values("('a', 1), ('a', 1), ('a', 1), (NULL, NULL), (NULL, NULL), ('b', 2)").await;
    let right = values("('a', 1L), ('a', 1L), (NULL, NULL), ('c', 3L)").await;
    assert_eq!(sorted(&left.intersect(&right).unwrap()).await, ["NULL NULL", "a 1"]);
    assert_eq!(sorted(&left.intersect_all(&right).unwrap()).await, ["NULL NULL", "a 1", "a 1"]);
    assert_eq!(sorted(&left.except(&right).unwrap()).await, ["b 2"]);
    assert_eq!(sorted(&left.except_all(&right).unwrap()).await, ["NULL NULL", "a 1", "b 2"]);
    let all = left.union(&right).unwrap();
    assert_eq!((names(&all), types(&all)), (vec!["k".into(), "n".into()], vec!["Utf8".into(), "Int64".into()]));
    assert_eq!(all.count().await.unwrap(), 10);
    let code = |result: Result<DataFrame, Error>| result.err().map(|error| error.code());
    assert_eq!(code(left.union(&right.select(["k"]).unwrap())), Some(ErrorCode::NumColumnsMismatch));
    let maps = session.sql("SELECT 'a' k, map('a', 1) n").await.unwrap();
    assert_eq!(code(left.union(&maps)), Some(ErrorCode::IncompatibleColumnType));
    let stream = session.read_stream().format("rate").load().await.unwrap();
    let table = stream.schema().clone();
    let table = DataFrame::from_batches(&session, table, vec![]).unwrap();
    let refused = Some(ErrorCode::UnsupportedOperation);
    assert_eq!(code(stream.intersect(&table)), refused);
    assert_eq!(code(table.intersect(&stream)), refused);
    assert_eq!(code(table.except(&stream)), refused);
    assert_eq!(code(stream.intersect_all(&stream)), refused);
    assert_eq!(code(stream.except_all(&stream)), refused);
    let rest = stream.except(&table).unwrap();
    assert!(output_mode::check(rest.plan(), Append).is_ok());
    for text in ["INTERSECT ALL", "EXCEPT ALL", "MINUS ALL"] {
        left.create_or_replace_temp_view("l").unwrap();
        right.create_or_replace_temp_view("r").unwrap();
        let expected = if text == "INTERSECT ALL" { vec!["NULL NULL", "a 1", "a 1"] } else { vec!["NULL NULL", "a 1", "b 2"] };
        assert_eq!(sql(&session, &format!("SELECT * FROM l {text} SELECT * FROM r")).await, expected, "{text}");
    }
}
