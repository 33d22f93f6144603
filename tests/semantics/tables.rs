//! Tables: what is computed at once over bounded sources, and what a stream refuses of it.

use arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::SortExpr;
use std::sync::Arc;
use tidemill::prelude::*;
use tidemill::types::IntoSchema;

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").build().await.unwrap()
}

/// A table of JSON lines in a file of its own.
async fn table(session: &Session, directory: &std::path::Path, name: &str, schema: &str, lines: &str) -> DataFrame {
    let path = directory.join(name);
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("part.json"), lines).unwrap();
    session.read().format("json").schema(schema).load_path(path.to_str().unwrap()).await.unwrap()
}

/// As Spark orders: NULL first when ascending, last when descending.
fn order(name: &str, ascending: bool) -> SortExpr {
    SortExpr::new(col(name).try_into().unwrap(), ascending, ascending)
}

async fn shown(frame: &DataFrame) -> String {
    pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_is_selected_above_a_sort_by_its_struct() {
    let (session, directory) = (session().await, tempfile::tempdir().unwrap());
    let lines = r#"{"w":{"start":1,"end":2},"n":5}
{"w":{"start":3,"end":4},"n":6}
"#;
    let rows = table(&session, directory.path(), "rows", "w STRUCT<start: INT, end: INT>, n INT", lines).await;
    let newest = rows.sort([order("w", false)]).unwrap().limit(1).select(["w.start", "n"]).unwrap();
    assert_eq!(shown(&newest).await, "+-------+---+\n| start | n |\n+-------+---+\n| 3     | 6 |\n+-------+---+");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_filtered_grouped_sorted_and_cut() {
    let (session, directory) = (session().await, tempfile::tempdir().unwrap());
    let lines = r#"{"city":"sf","fare":10.5,"n":1}
{"city":"ny","fare":0.1,"n":2}
{"city":"sf","fare":0.2,"n":3}
{"city":"la","fare":-1.0,"n":4}
{"city":null,"fare":7.0,"n":5}
"#;
    let rides = table(&session, directory.path(), "rides", "city STRING, fare DOUBLE, n INT", lines).await;
    assert!(!rides.is_streaming());
    assert_eq!(rides.count().await.unwrap(), 5);
    let cities = rides
        .filter(col("fare").gt(0.0))
        .unwrap()
        .group_by(["city"])
        .unwrap()
        .agg([count("*").alias("rides"), sum("fare").alias("fares"), max("n").alias("last")])
        .unwrap()
        .with_column("twice", col("rides") * 2)
        .unwrap();
    let sorted = cities.sort([order("last", false)]).unwrap().limit(2);
    assert_eq!(
        shown(&sorted).await,
        "+------+-------+-------+------+-------+\n\
         | city | rides | fares | last | twice |\n\
         +------+-------+-------+------+-------+\n\
         |      | 1     | 7.0   | 5    | 2     |\n\
         | sf   | 2     | 10.7  | 3    | 4     |\n\
         +------+-------+-------+------+-------+"
    );
    assert_eq!(
        rides.select(["n", "city"]).unwrap().offset(3).show_string(20, 20).await.unwrap(),
        "+---+----+\n|  n|city|\n+---+----+\n|  4|  la|\n|  5|NULL|\n+---+----+\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_join_by_columns_and_by_conditions() {
    let (session, directory) = (session().await, tempfile::tempdir().unwrap());
    let at = directory.path();
    let left = "{\"id\":1,\"v\":\"a\"}\n{\"id\":2,\"v\":\"b\"}\n{\"id\":null,\"v\":\"c\"}\n";
    let right = "{\"id\":2,\"v\":\"x\"}\n{\"id\":3,\"v\":\"y\"}\n{\"id\":null,\"v\":\"z\"}\n";
    let left = table(&session, at, "left", "id INT, v STRING", left).await;
    let right = table(&session, at, "right", "id INT, v STRING", right).await;
    let rows = |frame: DataFrame| async move { frame.show_string(20, 20).await.unwrap() };
    assert_eq!(
        rows(left.join(&right, "id", "inner").unwrap()).await,
        "+---+---+---+\n| id|  v|  v|\n+---+---+---+\n|  2|  b|  x|\n+---+---+---+\n"
    );
    let full = left.join(&right, "id", "full").unwrap().select([
        col("id"),
        left.col("v").alias("l"),
        right.col("v").alias("r"),
    ]);
    let full = full.unwrap().sort([order("l", true), order("r", true)]).unwrap();
    assert_eq!(
        rows(full).await,
        "+----+----+----+\n|  id|   l|   r|\n+----+----+----+\n|   3|NULL|   y|\n|NULL|NULL|   z|\n|   1|   a|NULL|\n|   2|   b|   x|\n|NULL|   c|NULL|\n+----+----+----+\n"
    );
    let smaller = left.join(&right, left.col("id").lt(right.col("id")), "left_semi").unwrap();
    assert_eq!(rows(smaller).await, "+---+---+\n| id|  v|\n+---+---+\n|  1|  a|\n|  2|  b|\n+---+---+\n");
    let named = left.alias("l").join(&right.alias("r"), col("l.id").eq(col("r.id")), "left_anti").unwrap();
    assert_eq!(rows(named).await, "+----+---+\n|  id|  v|\n+----+---+\n|   1|  a|\n|NULL|  c|\n+----+---+\n");
    assert_eq!(left.cross_join(&right).unwrap().count().await.unwrap(), 9);
    // A column of either side by its name alone could mean both.
    let joined = left.join(&right, left.col("id").eq(right.col("id")), "inner").unwrap();
    assert_eq!(joined.select(["v"]).unwrap_err().code(), ErrorCode::AmbiguousReference);
    assert_eq!(joined.select([right.col("v")]).unwrap().schema().field(0).name(), "v");
    let selfish = left.join(&left, left.col("id").eq(left.col("v")), "inner").err().unwrap();
    assert_eq!(selfish.code(), ErrorCode::AmbiguousReference);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_tables_refuse_what_belongs_to_the_other() {
    let session = session().await;
    let stream = MemoryStream::new(Arc::new(arrow::datatypes::Schema::new("n INT".into_schema().unwrap().to_arrow())));
    let stream = stream.frame(&session).unwrap();
    assert!(stream.is_streaming());
    assert_eq!(stream.collect().await.unwrap_err().code(), ErrorCode::UnsupportedOperation);
    let table = DataFrame::range(&session, 0, 3, 1).unwrap();
    let refused = table.write_stream().format("console").start().await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::WriteStreamNotAllowed);
    let both = stream.select([col("n").cast("bigint").alias("id")]).unwrap().union(&table).unwrap();
    assert!(both.is_streaming());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_may_fail_sees_only_what_the_filters_before_it_pass() {
    let session = session().await;
    let numbers = DataFrame::range(&session, 0, 20, 1).unwrap();
    let groups = numbers.group_by([(col("id") % 4).alias("k")]).unwrap().agg([sum("id").alias("n")]).unwrap();
    let guarded = groups.filter(col("k").not_eq(0)).unwrap().filter((lit(6) / col("k")).gt_eq(3)).unwrap();
    assert_eq!(
        guarded.sort([order("k", true)]).unwrap().show_string(9, 9).await.unwrap(),
        "+---+---+\n|  k|  n|\n+---+---+\n|  1| 45|\n|  2| 50|\n+---+---+\n"
    );
    let (l, r) = (groups.alias("l"), groups.alias("r"));
    let on = expr("l.n = r.n AND r.k <> 0 AND 6 / r.k >= 3");
    assert_eq!(l.join(&r, on, "left").unwrap().filter(col("r.k").is_null()).unwrap().count().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_union_of_cut_tables_keeps_the_order_of_its_inputs() {
    let session = session().await;
    let numbers = |from| DataFrame::range(&session, from, from + 9, 1).unwrap().limit(2);
    let all = numbers(0).union(&numbers(100)).unwrap().union(&numbers(50)).unwrap();
    let ids = all.agg([collect_list("id")]).unwrap().show_string(1, 0).await.unwrap();
    assert!(ids.contains("[0, 1, 100, 101, 50, 51]"), "{ids}");
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_go_before_a_filter_above_them() {
    let session = session().await;
    let numbers = DataFrame::range(&session, 0, 9, 1).unwrap().with_column("k", col("id") % 3).unwrap();
    let first = numbers.drop_duplicates(&["k"]).unwrap();
    assert_eq!(first.filter(col("id").gt_eq(3)).unwrap().count().await.unwrap(), 0);
    let zeros =
        numbers.select([(col("id").cast("double") * when(col("k").eq(0), -1).otherwise(1) * 0.0).alias("z")]).unwrap();
    assert_eq!(zeros.distinct().unwrap().count().await.unwrap(), 1);
    assert_eq!(zeros.join(&zeros.limit(1), "z", "inner").unwrap().count().await.unwrap(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_windows_of_a_table_are_refused() {
    let session = session().await;
    let times = DataFrame::range(&session, 0, 9, 1).unwrap().select([col("id").cast("timestamp").alias("t")]).unwrap();
    let both =
        times.group_by([window("t", "5 seconds"), window("t", "7 seconds").alias("w")]).unwrap().count().unwrap();
    assert_eq!(both.collect().await.unwrap_err().code(), ErrorCode::UnsupportedOperation);
}

/// Numbers are made as they are read: nobody waits for those that nobody wants.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_as_long_as_one_likes() {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let numbers = async |frame: DataFrame| {
        let rows = frame.collect().await.unwrap();
        let ids = rows.iter().flat_map(|rows| {
            arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(rows.column(0)).values().to_vec()
        });
        ids.collect::<Vec<i64>>()
    };
    let range = |start, end, step| DataFrame::range(&session, start, end, step).unwrap();
    assert_eq!(numbers(range(0, i64::MAX, 1).limit(3)).await, [0, 1, 2]);
    assert_eq!(numbers(range(i64::MAX, i64::MIN, i64::MIN)).await, [i64::MAX, -1]);
    assert_eq!(numbers(range(10, 0, -3)).await, [10, 7, 4, 1]);
    assert_eq!(numbers(range(0, 10, -1)).await, [0i64; 0]);
    assert_eq!(range(0, 1_000_000, 3).count().await.unwrap(), 333_334);
    let error = DataFrame::range(&session, i64::MIN, i64::MAX, 1).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidOption);
}
