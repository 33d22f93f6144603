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
    assert_eq!(sorted(&sets).await, ["NULL NULL 10", "NULL NULL 4", "NULL x 8", "NULL y 2", "a NULL 3", "b NULL 3"]);
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
        (
            "SELECT upper(k) u, max(n) FROM d GROUP BY CUBE(upper(k)) ORDER BY grouping_id() DESC, u LIMIT 2",
            &["NULL 4", "NULL 4"],
        ),
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
        let expected =
            if text == "INTERSECT ALL" { vec!["NULL NULL", "a 1", "a 1"] } else { vec!["NULL NULL", "a 1", "b 2"] };
        assert_eq!(sql(&session, &format!("SELECT * FROM l {text} SELECT * FROM r")).await, expected, "{text}");
    }
}

/// Rows whose cells have missing values.
async fn gaps(session: &Session) -> DataFrame {
    let text = "SELECT * FROM VALUES (1, NULL, 'a', double('NaN')), (NULL, 2.0D, NULL, 1.0D), (3, 4.5D, 'b', NULL) AS t(i, v, c, w)";
    session.sql(text).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_values_are_filled_dropped_and_replaced() {
    let session = session().await;
    let n = gaps(&session).await;
    let code = |result: Result<DataFrame, Error>| result.err().map(|error| error.code());
    assert_eq!(rows(&n.na_fill(0, &[]).unwrap()).await, ["1 0.0 a 0.0", "0 2.0 NULL 1.0", "3 4.5 b 0.0"]);
    assert_eq!(rows(&n.na_fill(1.7, &[]).unwrap()).await, ["1 1.7 a 1.7", "1 2.0 NULL 1.0", "3 4.5 b 1.7"]);
    assert_eq!(rows(&n.na_fill("z", &["c", "i"]).unwrap()).await, ["1 NULL a NaN", "NULL 2.0 z 1.0", "3 4.5 b NULL"]);
    let each = n.na_fill_each([("i", lit("9")), ("c", lit("q"))]).unwrap();
    assert_eq!(rows(&each).await, ["1 NULL a NaN", "9 2.0 q 1.0", "3 4.5 b NULL"]);
    assert_eq!(names(&each), ["i", "v", "c", "w"]);
    assert_eq!(code(n.na_fill(0, &["nope"])), Some(ErrorCode::UnresolvedColumn));
    assert_eq!(n.na_drop(None, &[]).unwrap().count().await.unwrap(), 0);
    assert_eq!(n.na_drop(Some(1), &[]).unwrap().count().await.unwrap(), 3);
    assert_eq!(rows(&n.na_drop(Some(3), &[]).unwrap()).await, ["3 4.5 b NULL"]);
    assert_eq!(rows(&n.na_drop(None, &["i"]).unwrap()).await, ["1 NULL a NaN", "3 4.5 b NULL"]);
    let numbers = n.na_replace([(1, 10), (3, 30)], &[]).unwrap();
    assert_eq!(rows(&numbers).await, ["10 NULL a NaN", "NULL 2.0 NULL 10.0", "30 4.5 b NULL"]);
    assert_eq!(types(&numbers), types(&n));
    assert_eq!(rows(&n.na_replace([(f64::NAN, 0.0)], &[]).unwrap().limit(1)).await, ["1 NULL a 0.0"]);
    let texts = n.na_replace([(lit("a"), lit_null())], &[]).unwrap();
    assert_eq!(rows(&texts.limit(1)).await, ["1 NULL NULL NaN"]);
    let some = n.na_replace([(1.0, 7.0), (2.0, 8.0)], &["v"]).unwrap();
    assert_eq!(rows(&some).await, ["1 NULL a NaN", "NULL 8.0 NULL 1.0", "3 4.5 b NULL"]);
    assert_eq!(code(n.na_replace([(lit(1), lit("a"))], &[])), Some(ErrorCode::InvalidExpression));
    let stream = session.read_stream().format("rate").load().await.unwrap();
    assert!(output_mode::check(stream.na_fill(0, &[]).unwrap().plan(), Append).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_described() {
    let session = session().await;
    let n = gaps(&session).await;
    let described = n.describe(&[]).unwrap();
    assert_eq!(names(&described), ["summary", "i", "v", "c", "w"]);
    assert!(types(&described).iter().all(|t| t == "Utf8"));
    let expected = [
        "count 2 2 2 2",
        "mean 2.0 3.25 NULL NaN",
        "stddev 1.4142135623730951 1.7677669529663689 NULL NaN",
        "min 1 2.0 a 1.0",
        // Spark's order of NaN in percentiles is not that of its other functions; here it is the greatest value there too.
        "25% 1 2.0 NULL 1.0",
        "50% 1 2.0 NULL 1.0",
        "75% 3 4.5 NULL NaN",
        "max 3 4.5 b NaN",
    ];
    assert_eq!(rows(&n.summary(&[]).unwrap()).await, expected);
    let plain: Vec<&str> = expected.into_iter().filter(|row| !row.contains('%')).collect();
    assert_eq!(rows(&described).await, plain);
    let some = n.summary(&["count", "count_distinct", "approx_count_distinct", "33%"]).unwrap();
    let counts = ["count 2 2 2 2", "count_distinct 2 2 2 2", "approx_count_distinct 2 2 2 2", "33% 1 2.0 NULL 1.0"];
    assert_eq!(rows(&some).await, counts);
    let texts = session.sql("SELECT * FROM VALUES ('1'), ('x') AS t(c)").await.unwrap().describe(&["c"]).unwrap();
    assert_eq!(rows(&texts).await, ["count 2", "mean 1.0", "stddev NULL", "min 1", "max x"]);
    assert_eq!(n.summary(&["nope"]).err().unwrap().code(), ErrorCode::InvalidParameterValue);
    let stream = session.read_stream().format("rate").load().await.unwrap();
    let described = stream.describe(&[]).unwrap();
    assert_eq!(described.collect().await.err().unwrap().code(), ErrorCode::UnsupportedOperation);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_become_rows_and_rows_columns() {
    let session = session().await;
    let d = letters(&session).await;
    let code = |result: Result<DataFrame, Error>| result.err().map(|error| error.code());
    let expected = ["a n 1.0", "a v 1.5", "a n 2.0", "a v 2.5", "b n 3.0", "b v NULL", "NULL n 4.0", "NULL v -1.0"];
    let long = d.unpivot(["k"], Some(["n", "v"]), "var", "val").unwrap();
    assert_eq!(
        (names(&long), rows(&long).await),
        (vec!["k".into(), "var".into(), "val".into()], expected.map(String::from).to_vec())
    );
    let all = d.select(["k", "n", "v"]).unwrap().unpivot(["k"], None::<[&str; 0]>, "var", "val").unwrap();
    assert_eq!(rows(&all).await, expected);
    let mixed = session.sql("SELECT 1 i, array(1) a").await.unwrap();
    assert_eq!(code(mixed.unpivot::<&str, _>([], Some(["i", "a"]), "var", "val")), Some(ErrorCode::DatatypeMismatch));
    let wide = d.select(["k", "n", "v"]).unwrap().transpose(None).await.unwrap();
    assert_eq!(names(&wide), ["key", "a", "a", "b"]);
    assert_eq!(rows(&wide).await, ["n 1.0 2.0 3.0", "v 1.5 2.5 NULL"]);
    let by_number = d.select(["p", "n"]).unwrap().transpose(Some("n")).await.unwrap();
    assert_eq!(
        (names(&by_number)[1..].to_vec(), rows(&by_number).await),
        (vec!["1".into(), "2".into(), "3".into(), "4".into()], vec!["p x y x x".to_string()])
    );
    let schema = "V STRING, n BIGINT, zz INT";
    assert_eq!(rows(&d.to_schema(schema).unwrap()).await, ["1.5 1 NULL", "2.5 2 NULL", "NULL 3 NULL", "-1.0 4 NULL"]);
    assert_eq!(code(d.to_schema("k INT")), Some(ErrorCode::DatatypeMismatch));
    assert_eq!(code(d.to_schema("zz INT NOT NULL")), Some(ErrorCode::UnresolvedColumn));
    assert_eq!(names(&d.with_columns_renamed(&[("k", "a"), ("a", "b"), ("N", "m")]).unwrap()), ["b", "p", "m", "v"]);
    assert_eq!(names(&d.drop_columns([col("k"), lit(1), col("V"), d.col("n")]).unwrap()), ["p"]);
    assert_eq!(names(&d.to_df(&["a", "b", "c", "d"]).unwrap()), ["a", "b", "c", "d"]);
    assert_eq!(code(d.to_df(&["a"])), Some(ErrorCode::NumColumnsMismatch));
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_columns() {
    let session = session().await;
    let (d, n) = (letters(&session).await, gaps(&session).await);
    let code = |result: Result<DataFrame, Error>| result.err().map(|error| error.code());
    let squares = session.sql("SELECT id a, id * id b, 1 c FROM range(1, 5)").await.unwrap();
    assert_eq!(rows(&squares.cov("a", "b").unwrap()).await, ["8.333333333333334"]);
    assert_eq!(rows(&squares.corr("a", "b").unwrap()).await, ["0.9843740386976972"]);
    assert_eq!(rows(&squares.corr("a", "c").unwrap()).await, ["NaN"]);
    assert_eq!(rows(&squares.limit(0).cov("a", "b").unwrap()).await, ["0.0"]);
    assert_eq!(code(d.cov("k", "n")), Some(ErrorCode::DatatypeMismatch));
    let tenths = session.sql("SELECT id FROM range(1, 11)").await.unwrap();
    let quantiles = tenths.approx_quantile(&["id"], &[0.0, 0.25, 0.5, 0.75, 1.0], 0.0).unwrap();
    assert_eq!(rows(&quantiles).await, ["[[1.0, 3.0, 5.0, 8.0, 10.0]]"]);
    let several = n.approx_quantile(&["i", "v", "w"], &[0.5, 1.0], 0.0).unwrap();
    assert_eq!(rows(&several).await, ["[[1.0, 3.0], [2.0, 4.5], [1.0, 1.0]]"]);
    assert_eq!(rows(&n.limit(0).approx_quantile(&["i"], &[0.5], 0.1).unwrap()).await, ["[[]]"]);
    assert_eq!(code(n.approx_quantile(&["i"], &[1.5], 0.1)), Some(ErrorCode::InvalidParameterValue));
    let frequent = d.freq_items(&["k", "n"], 0.4).unwrap();
    assert_eq!(
        (names(&frequent), rows(&frequent).await),
        (vec!["k_freqItems".into(), "n_freqItems".into()], vec!["[a] [4]".to_string()])
    );
    let often = session.sql("SELECT CASE WHEN id % 3 = 0 THEN 1 ELSE id END a FROM range(100)").await.unwrap();
    assert_eq!(rows(&often.freq_items(&["a"], 0.3).unwrap()).await, ["[1, 97, 98]"]);
    assert_eq!(code(often.freq_items(&["a"], 0.0)), Some(ErrorCode::InvalidParameterValue));
    let table = d.crosstab("k", "p").await.unwrap();
    assert_eq!(
        (names(&table), sorted(&table).await),
        (vec!["k_p".into(), "x".into(), "y".into()], vec!["a 1 1".to_string(), "b 1 0".into(), "null 1 0".into()])
    );
    let stream = session.read_stream().format("rate").load().await.unwrap();
    assert_eq!(code(stream.crosstab("value", "timestamp").await), Some(ErrorCode::UnsupportedOperation));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_numbers_and_samples_are_sparks() {
    let session = session().await;
    let rows_of = |n| DataFrame::range(&session, 0, n, 1).unwrap();
    let numbers = rows_of(3).select([rand(1), randn(2), monotonically_increasing_id(), spark_partition_id()]).unwrap();
    assert_eq!(names(&numbers)[..3], ["rand(1)", "randn(2)", "monotonically_increasing_id()"]);
    assert_eq!(
        rows(&numbers).await,
        [
            "0.6363787615254752 0.2637682686300013 0 0",
            "0.5993846534021868 -1.8126256284429794 1 0",
            "0.134842710012538 -0.3843556241621501 2 0",
        ]
    );
    let others = rows_of(2).select([rand(-7), randn(123_456_789_012)]).unwrap();
    assert_eq!(
        rows(&others).await,
        ["0.14773215621571878 1.1273432601572015", "0.0914602266360357 -1.2103303811819677"]
    );
    let texts = rows_of(3).select([expr("randstr(5, 0) AS t"), expr("uniform(0, 10, 0)")]).unwrap();
    assert_eq!(
        (names(&texts), rows(&texts).await),
        (vec!["t".into(), "uniform(0, 10, 0)".into()], vec!["ceV0P 7".to_string(), "XaR2I 5".into(), "lBhHi 0".into()])
    );
    let between = "uniform(0.5D, 10, 0), uniform(1.5, 2.25, 0), uniform(10, 0, 0), typeof(uniform(1.5, 2, 0))";
    let between = session.sql(&format!("SELECT {between}, typeof(uniform(0L, 10, 0)) FROM range(3)")).await.unwrap();
    let expected = ["7.724706070371619 2.07 2", "5.472484544041293 1.89 4", "1.4057991851034888 1.57 9"];
    assert_eq!(rows(&between).await, expected.map(|row| format!("{row} decimal(2,1) bigint")));
    let orders =
        "shuffle(array(1, 2, 3, 4, 5, 6, 7), 5), shuffle(array('a', 'b', 'c'), 42), shuffle(array(1, NULL, 3), 7L)";
    let orders = session.sql(&format!("SELECT {orders} FROM range(1)")).await.unwrap();
    assert_eq!(names(&orders)[0], "shuffle(array(1, 2, 3, 4, 5, 6, 7))");
    assert_eq!(rows(&orders).await, ["[6, 1, 4, 2, 3, 5, 7] [a, c, b] [1, NULL, 3]"]);
    let shuffled = session.sql("SELECT array_sort(shuffle(array(id, 9, 7))) FROM range(2)").await.unwrap();
    assert_eq!(rows(&shuffled).await, ["[0, 7, 9]", "[1, 7, 9]"]);
    for wrong in ["uniform(0, id, 0)", "uniform('a', 1, 0)", "randstr(-1, 0)", "shuffle(array(id), id)"] {
        let error = session.sql(&format!("SELECT {wrong} FROM range(2)")).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::DatatypeMismatch, "{wrong}: {error}");
    }
    let ids = |frame: DataFrame| async move { rows(&frame.agg([collect_list("id")]).unwrap()).await.remove(0) };
    assert_eq!(ids(rows_of(30).sample(0.0, 0.3, false, 7).unwrap()).await, "[0, 6, 8, 11, 13, 20, 25, 26, 27]");
    let strata = rows_of(30).sample_by(col("id") % 3, [(0, 0.5), (1, 0.2)], 3).unwrap();
    assert_eq!(ids(strata).await, "[0, 4, 15, 27, 28]");
    let split = rows_of(30).sample(0.0, 1.0 / 3.0, false, 5).unwrap().count().await.unwrap();
    let rest = rows_of(30).sample(1.0 / 3.0, 1.0, false, 5).unwrap().count().await.unwrap();
    assert_eq!(split + rest, 30);
    let drawn = rows_of(1000).sample(0.0, 2.0, true, 5).unwrap();
    let (drawn, again) = (drawn.count().await.unwrap(), drawn.count().await.unwrap());
    assert!(drawn == again && (1800..2200).contains(&drawn), "{drawn} and {again} of 2000");
    let ids = rows_of(50).select([expr("uuid(3)").alias("u")]).unwrap();
    assert_eq!(ids.distinct().unwrap().count().await.unwrap(), 50);
    assert_eq!(rows_of(9).sample(0.5, 1.5, false, 1).err().unwrap().code(), ErrorCode::InvalidParameterValue);
    assert_eq!(rows_of(9).group_by([rand(1)]).err().unwrap().code(), ErrorCode::UnsupportedOperation);
    let stream = session.read_stream().format("rate").load().await.unwrap();
    assert_eq!(stream.sample(0.0, 0.5, false, 1).err().unwrap().code(), ErrorCode::UnsupportedOperation);
    for call in [rand(1), monotonically_increasing_id(), expr("uuid()"), expr("randstr(3)"), expr("shuffle(array(1))")]
    {
        let frame = stream.select([call]).unwrap();
        assert_eq!(output_mode::check(frame.plan(), Append).err().unwrap().code(), ErrorCode::UnsupportedOperation);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bitmaps_are_sparks() {
    let session = session().await;
    for (query, expected) in [
        (
            "substring(hex(bitmap_construct_agg(c)), 1, 8), length(bitmap_construct_agg(c)) FROM VALUES (0L), (1L), (9L) AS t(c)",
            "03020000 4096",
        ),
        ("bitmap_count(bitmap_construct_agg(c)) FROM VALUES (CAST(NULL AS BIGINT)) AS t(c)", "0"),
        ("bitmap_count(bitmap_construct_agg(c)) FROM VALUES (1) AS t(c) WHERE false", "0"),
        ("substring(hex(bitmap_or_agg(c)), 1, 8) FROM VALUES (X'10'), (X'20'), (X'0101') AS t(c)", "31010000"),
        (
            "substring(hex(bitmap_and_agg(c)), 1, 8) FROM VALUES (X'F0'), (X'70'), (CAST(NULL AS BINARY)) AS t(c)",
            "70000000",
        ),
        ("substring(hex(bitmap_and_agg(c)), 1, 8) FROM VALUES (X'F0') AS t(c) WHERE false", "FFFFFFFF"),
    ] {
        assert_eq!(rows(&session.sql(&format!("SELECT {query}")).await.unwrap()).await, [expected], "{query}");
    }
    let wrong = session.sql("SELECT bitmap_or_agg('a')").await.err().unwrap();
    assert_eq!(wrong.code(), ErrorCode::DatatypeMismatch);
}

/// The rows that Spark's answers about windows are about.
async fn fares(session: &Session) -> DataFrame {
    let text = "SELECT * FROM VALUES ('a', 1, 10.0D), ('a', 2, 20.0D), ('a', 2, 30.0D), ('a', 4, NULL), ('b', 1, 5.0D), (NULL, 7, 1.0D) AS t(k, n, v)";
    let frame = session.sql(text).await.unwrap();
    frame.create_or_replace_temp_view("e").unwrap();
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_see_windows_of_rows() {
    let session = session().await;
    let e = fares(&session).await;
    let w = WindowSpec::partition_by(["k"]).order_by([col("n").asc()]);
    let whole = WindowSpec::partition_by(["k"]);
    let ranks = e
        .select([
            col("k"),
            col("n"),
            col("v"),
            rank().over(&w).alias("r"),
            dense_rank().over(&w).alias("d"),
            percent_rank().over(&w).alias("p"),
            cume_dist().over(&w).alias("c"),
            ntile(2).over(&w).alias("t"),
            lead("n", 1).over(&w).alias("l"),
            nth_value("v", 2).over(&w).alias("nv"),
            first("v").over(&w).alias("f"),
            expr("last(v, true)").over(&w).alias("la"),
        ])
        .unwrap();
    assert_eq!(types(&ranks)[3..8], ["Int32", "Int32", "Float64", "Float64", "Int32"]);
    assert_eq!(
        sorted(&ranks).await,
        [
            "NULL 7 1.0 1 1 0.0 1.0 1 NULL NULL 1.0 1.0",
            "a 1 10.0 1 1 0.0 0.25 1 2 NULL 10.0 10.0",
            "a 2 20.0 2 2 0.3333333333333333 0.75 1 2 20.0 10.0 30.0",
            "a 2 30.0 2 2 0.3333333333333333 0.75 2 4 20.0 10.0 30.0",
            "a 4 NULL 4 3 1.0 1.0 2 NULL 20.0 10.0 30.0",
            "b 1 5.0 1 1 0.0 1.0 1 NULL NULL 5.0 5.0",
        ]
    );
    let frames = e
        .select([
            col("k"),
            col("n"),
            row_number().over(&w),
            sum("v").over(&w),
            count_all().over(&whole),
            lag_or("v", 1, 0.0).over(&w),
            avg("n").over(&w.rows_between(-1, 1)),
            sum("n").over(&w.range_between(-1, 1)),
            collect_list("n").over(&w.rows_between(-1, 0)),
            stddev("n").over(&w.rows_between(0, 1)),
            max("v").over(
                &WindowSpec::partition_by(["k"])
                    .order_by([col("n").desc()])
                    .range_between(WindowSpec::UNBOUNDED_PRECEDING, -1),
            ),
        ])
        .unwrap();
    assert_eq!(
        names(&frames)[2..5],
        [
            "row_number() OVER (PARTITION BY k ORDER BY n ASC NULLS FIRST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
            "sum(v) OVER (PARTITION BY k ORDER BY n ASC NULLS FIRST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
            "count(1) OVER (PARTITION BY k ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
        ]
    );
    assert_eq!(
        sorted(&frames).await,
        [
            "NULL 7 1 1.0 1 0.0 7.0 7 [7] NULL NULL",
            "a 1 1 10.0 4 0.0 1.5 5 [1] 0.7071067811865476 30.0",
            "a 2 2 60.0 4 10.0 1.6666666666666667 5 [1, 2] 0.0 NULL",
            "a 2 3 60.0 4 20.0 2.6666666666666665 5 [2, 2] 1.4142135623730951 NULL",
            "a 4 4 60.0 4 30.0 3.0 4 [2, 4] NULL NULL",
            "b 1 1 5.0 1 0.0 1.0 1 [1] NULL NULL",
        ]
    );
    let code = |result: Result<DataFrame, Error>| result.err().map(|error| error.code());
    assert_eq!(code(e.select([row_number().over(&whole)])), Some(ErrorCode::InvalidExpression));
    assert_eq!(code(e.select([row_number()])), Some(ErrorCode::InvalidExpression));
    assert_eq!(code(e.filter(row_number().over(&w).eq(1))), Some(ErrorCode::InvalidWhereCondition));
    assert_eq!(code(e.select([count_distinct(["n"]).over(&w)])), Some(ErrorCode::UnsupportedOperation));
    assert_eq!(code(e.select([upper("k").over(&w)])), Some(ErrorCode::InvalidExpression));
    let stream = session.read_stream().format("rate").load().await.unwrap();
    let placed =
        stream.select([row_number().over(&WindowSpec::partition_by(["value"]).order_by([col("timestamp").asc()]))]);
    let refused = output_mode::check(placed.unwrap().plan(), Append).err().unwrap();
    assert_eq!(refused.code(), ErrorCode::NonTimeWindow);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_calls_functions_over_windows_of_rows() {
    let session = session().await;
    fares(&session).await;
    let answers: [(&str, &[&str]); 5] = [
        (
            "SELECT k, count(*) c, rank() OVER (ORDER BY count(*) DESC) r, sum(sum(v)) OVER (ORDER BY k) s FROM e GROUP BY k",
            &["NULL 1 2 1.0", "a 4 1 61.0", "b 1 2 66.0"],
        ),
        (
            "SELECT n, sum(n) OVER w a, first_value(v) IGNORE NULLS OVER w f FROM e WINDOW w AS (PARTITION BY k ORDER BY n DESC)",
            &["1 1 5.0", "1 9 20.0", "2 8 20.0", "2 8 20.0", "4 4 NULL", "7 7 1.0"],
        ),
        (
            "SELECT k, n FROM e QUALIFY row_number() OVER (PARTITION BY k ORDER BY n DESC) = 1",
            &["NULL 7", "a 4", "b 1"],
        ),
        (
            "SELECT n, v, lag(n, -1) OVER (ORDER BY n, v) a, lead(v, 2, -1D) OVER (ORDER BY n, v) b, lag(v) IGNORE NULLS OVER (ORDER BY n, v) c FROM e",
            &[
                "1 10.0 2 30.0 5.0",
                "1 5.0 1 20.0 NULL",
                "2 20.0 2 NULL 10.0",
                "2 30.0 4 1.0 20.0",
                "4 NULL 7 -1.0 30.0",
                "7 1.0 NULL -1.0 30.0",
            ],
        ),
        (
            "SELECT n, sum(n) OVER (ORDER BY n RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) s FROM e WHERE v IS NOT NULL",
            &["1 2", "1 2", "2 6", "2 6", "7 7"],
        ),
    ];
    for (text, expected) in answers {
        assert_eq!(sql(&session, text).await, expected, "{text}");
    }
    let code = |error: Option<Error>| error.map(|error| error.code());
    let unknown = session.sql("SELECT sum(n) OVER w FROM e").await.err();
    assert_eq!(code(unknown), Some(ErrorCode::InvalidExpression));
    let unordered = session.sql("SELECT rank() OVER (PARTITION BY k) FROM e").await.err();
    assert_eq!(code(unordered), Some(ErrorCode::InvalidExpression));
}

#[tokio::test(flavor = "multi_thread")]
async fn lambdas_look_at_elements() {
    let session = session().await;
    let h = session.sql("SELECT array(1, 2, NULL, 4) a, map('x', 1, 'y', 2) m, 10 z").await.unwrap();
    h.create_or_replace_temp_view("h").unwrap();
    let answers = [
        ("transform(a, x -> x + z)", "[11, 12, NULL, 14]"),
        ("transform(a, (x, i) -> x * i)", "[0, 2, NULL, 12]"),
        ("filter(a, x -> x > 1)", "[2, 4]"),
        ("filter(a, (x, i) -> i > 1)", "[NULL, 4]"),
        ("exists(a, x -> x > 3)", "true"),
        ("exists(a, x -> x > 9)", "NULL"),
        ("forall(a, x -> x > 0)", "NULL"),
        ("forall(a, x -> x > 1)", "false"),
        ("aggregate(a, 0, (s, x) -> s + coalesce(x, 0))", "7"),
        ("aggregate(a, 0, (s, x) -> s + coalesce(x, 0), s -> s * 10)", "70"),
        ("reduce(a, 0, (s, x) -> s + x)", "NULL"),
        ("zip_with(a, array(10, 20), (x, y) -> x + y)", "[11, 22, NULL, NULL]"),
        ("map_filter(m, (k, v) -> v > 1)", "{y -> 2}"),
        ("transform_keys(m, (k, v) -> upper(k))", "{X -> 1, Y -> 2}"),
        ("transform_values(m, (k, v) -> v + z)", "{x -> 11, y -> 12}"),
        (
            "map_zip_with(m, map('y', 5, 'w', 6), (k, a, b) -> coalesce(a, 0) + coalesce(b, 0))",
            "{x -> 1, y -> 7, w -> 6}",
        ),
        ("array_sort(array('bb', 'a', 'ccc'), (l, r) -> length(l) - length(r))", "[a, bb, ccc]"),
        ("transform(array(array(1, 2), array(3)), x -> transform(x, y -> y + size(x) + z))", "[[13, 14], [14]]"),
        ("transform(CAST(NULL AS ARRAY<INT>), x -> x)", "NULL"),
        ("transform(array(struct(1 AS p, 2 AS q)), s -> s.p + s.q)", "[3]"),
        ("transform(a, z -> z)", "[1, 2, NULL, 4]"),
    ];
    for (text, expected) in answers {
        assert_eq!(sql(&session, &format!("SELECT {text} AS r FROM h")).await, [expected], "{text}");
    }
    let named = h.select([transform("a", |x| x), transform("a", |x| aggregate(array([x]), lit(0), |s, y| s + y))]);
    let named = named.unwrap();
    assert_eq!(names(&named)[0], "transform(a, lambdafunction(namedlambdavariable(), namedlambdavariable()))");
    assert_eq!(rows(&named).await, ["[1, 2, NULL, 4] [1, 2, NULL, 4]"]);
    let plain = call_function("filter", [col("a"), lambda(["e"], col("e").gt(col("z") - 7))]).alias("f");
    assert_eq!(rows(&h.select([plain]).unwrap()).await, ["[4]"]);
    let refusals = [
        ("aggregate(a, 0, (s, x) -> s + 1.5D)", ErrorCode::DatatypeMismatch),
        ("filter(a, x -> x)", ErrorCode::DatatypeMismatch),
        ("transform(z, x -> x)", ErrorCode::DatatypeMismatch),
        ("transform(a, (x, i, j) -> x)", ErrorCode::WrongNumArgs),
        ("transform(a, x -> nope)", ErrorCode::UnresolvedColumn),
    ];
    for (text, code) in refusals {
        let error = session.sql(&format!("SELECT {text} FROM h")).await.err().unwrap();
        assert_eq!(error.code(), code, "{text}: {error}");
    }
    let twice = session.sql("SELECT transform_keys(m, (k, v) -> 'q') FROM h").await.unwrap().collect().await;
    assert_eq!(twice.err().unwrap().code(), ErrorCode::DuplicatedMapKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn lambdas_work_on_streams() {
    let session = session().await;
    let memory = MemoryStream::new("a ARRAY<INT>, z INT");
    let frame = memory.frame(&session).unwrap();
    let frame = frame.filter(exists("a", |x| x.gt(col("z")))).unwrap();
    let frame = frame.select([transform("a", |x| x + col("z")).alias("t")]).unwrap();
    let table = MemoryTable::new(Some("transformed")).unwrap();
    let query = frame.write_stream().table(&table).start().await.unwrap();
    let rows_in = session.sql("SELECT * FROM VALUES (array(1, 2), 1), (array(1), 5) AS t(a, z)").await.unwrap();
    for batch in rows_in.collect().await.unwrap() {
        memory.add(batch).unwrap();
    }
    query.process_all_available().await.unwrap();
    let kept = DataFrame::from_batches(&session, frame.schema().clone(), table.rows()).unwrap();
    assert_eq!(rows(&kept).await, ["[2, 3]"]);
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_values_in_sql() {
    let session = session().await;
    letters(&session).await;
    fares(&session).await;
    let answers: [(&str, &[&str]); 17] = [
        ("SELECT n, (SELECT max(n) FROM d) m FROM d", &["1 4", "2 4", "3 4", "4 4"]),
        ("SELECT n FROM d WHERE n > (SELECT avg(n) FROM d)", &["3", "4"]),
        ("SELECT n FROM d WHERE k IN (SELECT k FROM e)", &["1", "2", "3"]),
        ("SELECT n FROM d WHERE k NOT IN (SELECT k FROM e)", &[]),
        ("SELECT n FROM d WHERE k NOT IN (SELECT k FROM e WHERE k IS NOT NULL)", &[]),
        ("SELECT n FROM d WHERE k NOT IN (SELECT k FROM e WHERE k = 'b')", &["1", "2"]),
        ("SELECT n FROM d WHERE n NOT IN (SELECT n FROM e WHERE n > 100)", &["1", "2", "3", "4"]),
        ("SELECT n FROM d WHERE EXISTS (SELECT 1 FROM e WHERE e.k = d.k AND e.n > 1)", &["1", "2"]),
        ("SELECT n FROM d WHERE NOT EXISTS (SELECT 1 FROM e WHERE e.k = d.k)", &["4"]),
        ("SELECT n FROM d WHERE EXISTS (SELECT 1 FROM e WHERE n > 100)", &[]),
        (
            "SELECT n, (SELECT sum(e.v) FROM e WHERE e.k = d.k) s, (SELECT count(*) FROM e WHERE e.k = d.k) c FROM d",
            &["1 60.0 4", "2 60.0 4", "3 5.0 1", "4 NULL 0"],
        ),
        ("SELECT n, k IN (SELECT k FROM e) i FROM d", &["1 true", "2 true", "3 true", "4 false"]),
        ("SELECT n FROM d WHERE n > 3 OR k IN (SELECT k FROM e WHERE k = 'b')", &["3", "4"]),
        ("SELECT k, sum(n) s FROM d GROUP BY k HAVING sum(n) > (SELECT min(n) FROM d)", &["NULL 4", "a 3", "b 3"]),
        ("SELECT n FROM d WHERE (k, n) IN (SELECT k, n FROM e)", &["1", "2"]),
        ("SELECT n, (SELECT n FROM d WHERE n > 100) z FROM d", &["1 NULL", "2 NULL", "3 NULL", "4 NULL"]),
        (
            "SELECT *, EXISTS (SELECT 1 FROM e WHERE e.n = d.n) x FROM d WHERE n < 3",
            &["a x 1 1.5 true", "a y 2 2.5 true"],
        ),
    ];
    for (text, expected) in answers {
        assert_eq!(sql(&session, text).await, expected, "{text}");
    }
    let shown = session.sql("SELECT (SELECT max(n) FROM d) FROM d").await.unwrap();
    assert_eq!(names(&shown), ["scalarsubquery()"]);
    let several = session.sql("SELECT n FROM d WHERE n = (SELECT n FROM d)").await.unwrap().collect().await;
    assert_eq!(several.err().unwrap().code(), ErrorCode::ScalarSubqueryTooManyRows);
    let refusals = [
        ("SELECT (SELECT k, n FROM d) FROM d", ErrorCode::InvalidExpression),
        ("SELECT n FROM d WHERE EXISTS (SELECT 1 FROM e WHERE e.n > d.n)", ErrorCode::UnsupportedOperation),
        ("SELECT (SELECT v FROM e WHERE e.k = d.k) FROM d", ErrorCode::UnsupportedOperation),
        ("SELECT n FROM d WHERE n NOT IN (SELECT n FROM e WHERE e.k = d.k)", ErrorCode::UnsupportedOperation),
        ("SELECT n FROM d WHERE n IN (SELECT k, n FROM e)", ErrorCode::DatatypeMismatch),
    ];
    for (text, code) in refusals {
        let error = session.sql(text).await.err().unwrap();
        assert_eq!(error.code(), code, "{text}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_rows_are_computed_once() {
    let session = session().await;
    let random = || call_function::<Column>("rand", []);
    let numbers = DataFrame::range(&session, 0, 5, 1).unwrap().with_column("id2", col("id") * 2).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("part.json");
    std::fs::write(&path, "{\"n\":1}\n").unwrap();
    let reader = || session.read().format("json").schema("n INT");
    let files = reader().load_path(directory.path().to_str().unwrap()).await.unwrap();
    let (lazy, eager) = (files.cached().unwrap(), files.checkpointed().await.unwrap());
    assert_eq!(lazy.count().await.unwrap(), 1);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(eager.count().await.unwrap(), 1);
    assert_eq!(lazy.filter(lazy.col("n").gt(0)).unwrap().count().await.unwrap(), 1);
    assert_eq!(lazy.join(&eager, "n", "inner").unwrap().count().await.unwrap(), 1);
    let kept = numbers.select([numbers.col("id"), random().alias("r")]).unwrap().cached().unwrap();
    assert_eq!(kept.collect().await.unwrap(), kept.collect().await.unwrap());
    let stream = session.read_stream().format("rate").load().await.unwrap();
    assert_eq!(stream.cached().err().unwrap().code(), ErrorCode::UnsupportedOperation);
    assert_eq!(stream.checkpointed().await.err().unwrap().code(), ErrorCode::UnsupportedOperation);
}
