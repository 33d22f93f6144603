//! Every aggregate function over a table of mixed values, with the results of Spark 4.3: in one batch, in many, across restarts, on every
//! device; in windows; and what is refused.

use crate::device::software_gpu;
use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use std::path::Path;
use tidemill::plan::spark_aggregate;
use tidemill::prelude::*;

/// The rows that Spark was given, one a line: binary is base64.
const ROWS: [&str; 12] = [
    r#"{"k":"a","i":1,"l":10,"x":1.5,"y":2.0,"d":1.25,"b":true,"s":"x","dt":"2024-01-01","bin":"AQ==","t":"2024-01-01T00:00:01Z"}"#,
    r#"{"k":"a","i":null,"l":20,"x":"NaN","y":1.0,"d":2.50,"b":false,"s":"y","dt":"2024-01-03","bin":"AgA=","t":"2024-01-01T00:00:07Z"}"#,
    r#"{"k":"a","i":3,"x":-0.0,"y":4.0,"t":"2024-01-01T00:00:02Z"}"#,
    r#"{"k":"a","i":3,"l":30,"x":0.0,"d":-7.10,"b":true,"s":"x","dt":"2023-01-01","bin":"Ag==","t":"2024-01-01T00:00:03Z"}"#,
    r#"{"k":"b","i":5,"l":7,"x":2.0,"y":1.0,"d":100.01,"b":true,"s":"q","dt":"2020-02-02","bin":"/w==","t":"2024-01-01T00:00:04Z"}"#,
    r#"{"k":"b","i":7,"l":8,"x":4.0,"y":3.0,"d":200.02,"b":true,"s":"p","dt":"2020-02-03","bin":"AA==","t":"2024-01-01T00:00:05Z"}"#,
    r#"{"k":"b","i":6,"l":9,"x":9.0,"y":8.5,"d":300.04,"b":true,"s":"q","dt":"2020-02-01","bin":"YQ==","t":"2024-01-01T00:00:06Z"}"#,
    r#"{"k":"b","i":6,"l":9,"x":1.25,"y":8.0,"d":0.01,"s":"r","dt":"2020-02-01","bin":"","t":"2024-01-01T00:00:01Z"}"#,
    r#"{"t":"2024-01-01T00:00:02Z"}"#,
    r#"{"k":"c","i":42,"l":-1,"x":3.5,"y":2.5,"d":9.99,"b":false,"s":"z","dt":"1969-12-31","bin":"eg==","t":"2024-01-01T00:00:08Z"}"#,
    r#"{"k":"e","i":2,"l":2,"x":2.0,"y":2.0,"d":2.00,"b":false,"s":"z","dt":"1969-12-31","bin":"eg==","t":"2024-01-01T00:00:09Z"}"#,
    r#"{"k":"e","i":2,"l":2,"x":2.0,"y":3.0,"d":2.00,"b":false,"s":"z","dt":"1969-12-31","bin":"eg==","t":"2024-01-01T00:00:09Z"}"#,
];

const SCHEMA: &str = "k STRING, i INT, l BIGINT, x DOUBLE, y DOUBLE, d DECIMAL(10,2), b BOOLEAN, s STRING, dt DATE, bin BINARY, t TIMESTAMP";

/// A call by its SQL name.
fn named(name: &str, args: Vec<Column>, distinct: bool) -> Column {
    let args = args.into_iter().map(|c| Expr::try_from(c).unwrap()).collect();
    Column::from(spark_aggregate::call(name, args, distinct).unwrap().unwrap())
}

/// A call, its type, and its results in the groups a, b, c, e and NULL.
type Expected = (Column, &'static str, [&'static str; 5]);

fn counts_and_sums() -> Vec<Expected> {
    vec![
        (count_all(), "Int64", ["4", "4", "1", "2", "1"]),
        (count("x"), "Int64", ["4", "4", "1", "2", "0"]),
        (named("count", vec![col("i"), col("x")], false), "Int64", ["3", "4", "1", "2", "0"]),
        (count_distinct("x"), "Int64", ["3", "4", "1", "1", "0"]),
        (count_distinct(["i", "s"]), "Int64", ["2", "4", "1", "1", "0"]),
        (count_if(col("i").gt(2)), "Int64", ["2", "4", "1", "0", "0"]),
        (sum("i"), "Int64", ["7", "24", "42", "4", ""]),
        (sum("x"), "Float64", ["NaN", "16.25", "3.5", "4.0", ""]),
        (sum("d"), "Decimal128(20, 2)", ["-3.35", "600.08", "9.99", "4.00", ""]),
        (sum_distinct("i"), "Int64", ["4", "18", "42", "2", ""]),
        (sum_distinct("x"), "Float64", ["NaN", "16.25", "3.5", "2.0", ""]),
        (sum_distinct("d"), "Decimal128(20, 2)", ["-3.35", "600.08", "9.99", "2.00", ""]),
        (try_sum("l"), "Int64", ["60", "33", "-1", "4", ""]),
        (avg("i"), "Float64", ["2.3333333333333335", "6.0", "42.0", "2.0", ""]),
        (avg("x"), "Float64", ["NaN", "4.0625", "3.5", "2.0", ""]),
        (avg("d"), "Decimal128(14, 6)", ["-1.116667", "150.020000", "9.990000", "2.000000", ""]),
        (avg_distinct("i"), "Float64", ["2.0", "6.0", "42.0", "2.0", ""]),
        (mean("l"), "Float64", ["20.0", "8.25", "-1.0", "2.0", ""]),
        (try_avg("i"), "Float64", ["2.3333333333333335", "6.0", "42.0", "2.0", ""]),
        (product("i"), "Float64", ["9.0", "1260.0", "42.0", "4.0", ""]),
        (approx_count_distinct("i"), "Int64", ["2", "3", "1", "1", "0"]),
        (approx_count_distinct("x"), "Int64", ["3", "4", "1", "1", "0"]),
        (approx_count_distinct("d"), "Int64", ["3", "4", "1", "1", "0"]),
        (approx_count_distinct_with_rsd("s", 0.1), "Int64", ["2", "3", "1", "1", "0"]),
        (sum("i").filter_where(col("x").gt(1)), "Int64", ["1", "24", "42", "4", ""]),
        (count_all().filter_where(col("b")), "Int64", ["2", "3", "0", "0", "0"]),
        (count_distinct("s").filter_where(col("i").gt(2)), "Int64", ["1", "3", "1", "0", "0"]),
    ]
}

fn one_rows_value() -> Vec<Expected> {
    vec![
        (min("i"), "Int32", ["1", "5", "42", "2", ""]),
        (max("i"), "Int32", ["3", "7", "42", "2", ""]),
        (min("x"), "Float64", ["0.0", "1.25", "3.5", "2.0", ""]),
        (max("x"), "Float64", ["NaN", "9.0", "3.5", "2.0", ""]),
        (min("d"), "Decimal128(10, 2)", ["-7.10", "0.01", "9.99", "2.00", ""]),
        (max("d"), "Decimal128(10, 2)", ["2.50", "300.04", "9.99", "2.00", ""]),
        (min("b"), "Boolean", ["false", "true", "false", "false", ""]),
        (max("b"), "Boolean", ["true", "true", "false", "false", ""]),
        (min("s"), "Utf8", ["x", "p", "z", "z", ""]),
        (max("s"), "Utf8", ["y", "r", "z", "z", ""]),
        (min("dt"), "Date32", ["2023-01-01", "2020-02-01", "1969-12-31", "1969-12-31", ""]),
        (max("dt"), "Date32", ["2024-01-03", "2020-02-03", "1969-12-31", "1969-12-31", ""]),
        (min("bin"), "Binary", ["01", "", "7a", "7a", ""]),
        (max("bin"), "Binary", ["0200", "ff", "7a", "7a", ""]),
        (
            max(r#struct(["i", "s"])),
            "Struct",
            ["{i: 3, s: x}", "{i: 7, s: p}", "{i: 42, s: z}", "{i: 2, s: z}", "{i: , s: }"],
        ),
        (first("i"), "Int32", ["1", "5", "42", "2", ""]),
        (last("i"), "Int32", ["3", "6", "42", "2", ""]),
        (first("d"), "Decimal128(10, 2)", ["1.25", "100.01", "9.99", "2.00", ""]),
        (last("d"), "Decimal128(10, 2)", ["-7.10", "0.01", "9.99", "2.00", ""]),
        (last("y"), "Float64", ["", "8.0", "2.5", "3.0", ""]),
        (last_ignore_nulls("y"), "Float64", ["4.0", "8.0", "2.5", "3.0", ""]),
        (first_ignore_nulls("s"), "Utf8", ["x", "q", "z", "z", ""]),
        (any_value("i"), "Int32", ["1", "5", "42", "2", ""]),
        (any_value_ignore_nulls("i"), "Int32", ["1", "5", "42", "2", ""]),
        (max_by("s", "i"), "Utf8", ["x", "p", "z", "z", ""]),
        (min_by("s", "i"), "Utf8", ["x", "q", "z", "z", ""]),
        (max_by("i", "x"), "Int32", ["", "6", "42", "2", ""]),
        (min_by("i", "x"), "Int32", ["3", "6", "42", "2", ""]),
        (max_by("i", "s"), "Int32", ["", "6", "42", "2", ""]),
        (bool_and("b"), "Boolean", ["false", "true", "false", "false", ""]),
        (bool_or("b"), "Boolean", ["true", "true", "false", "false", ""]),
        (every("b"), "Boolean", ["false", "true", "false", "false", ""]),
        (some("b"), "Boolean", ["true", "true", "false", "false", ""]),
        (bit_and("i"), "Int32", ["1", "4", "42", "2", ""]),
        (bit_or("i"), "Int32", ["3", "7", "42", "2", ""]),
        (bit_xor("l"), "Int64", ["0", "15", "-1", "0", ""]),
    ]
}

fn many_rows_values() -> Vec<Expected> {
    vec![
        (collect_list("i"), "List", ["[1, 3, 3]", "[5, 7, 6, 6]", "[42]", "[2, 2]", "[]"]),
        (array_agg("s"), "List", ["[x, y, x]", "[q, p, q, r]", "[z]", "[z, z]", "[]"]),
        (collect_list("x"), "List", ["[1.5, NaN, -0.0, 0.0]", "[2.0, 4.0, 9.0, 1.25]", "[3.5]", "[2.0, 2.0]", "[]"]),
        (collect_set("x"), "List", ["[0.0, 1.5, NaN]", "[1.25, 2.0, 4.0, 9.0]", "[3.5]", "[2.0]", "[]"]),
        (collect_set("i"), "List", ["[1, 3]", "[5, 6, 7]", "[42]", "[2]", "[]"]),
        (named("collect_union", vec![array([col("i")])], false), "List", ["[1, 3]", "[5, 6, 7]", "[42]", "[2]", "[]"]),
        (named("collect_list", vec![col("i")], true), "List", ["[1, 3]", "[5, 6, 7]", "[42]", "[2]", "[]"]),
        (collect_list("i").filter_where(col("i").gt(2)), "List", ["[3, 3]", "[5, 7, 6, 6]", "[42]", "[]", "[]"]),
        (named("listagg", vec![col("s")], false), "Utf8", ["xyx", "qpqr", "z", "zz", ""]),
        (listagg("s", ","), "Utf8", ["x,y,x", "q,p,q,r", "z", "z,z", ""]),
        (mode("i"), "Int32", ["3", "6", "42", "2", ""]),
        (mode("s"), "Utf8", ["x", "q", "z", "z", ""]),
        (mode("x"), "Float64", ["0.0", "1.25", "3.5", "2.0", ""]),
        (percentile_approx("i", 0.5, 10_000), "Int32", ["3", "6", "42", "2", ""]),
        (
            percentile_approx("x", [0.0, 0.25, 0.5, 1.0], 100),
            "List",
            ["[0.0, 0.0, 0.0, NaN]", "[1.25, 1.25, 2.0, 9.0]", "[3.5, 3.5, 3.5, 3.5]", "[2.0, 2.0, 2.0, 2.0]", ""],
        ),
        (percentile_approx("d", 0.5, 10_000), "Decimal128(10, 2)", ["1.25", "100.01", "9.99", "2.00", ""]),
        (percentile_approx("dt", 0.5, 10_000), "Date32", ["2024-01-01", "2020-02-01", "1969-12-31", "1969-12-31", ""]),
        (median("i"), "Float64", ["3.0", "6.0", "42.0", "2.0", ""]),
        (median("x"), "Float64", ["0.75", "3.0", "3.5", "2.0", ""]),
        (percentile("y", 0.3), "Float64", ["1.6", "2.8", "2.5", "2.3", ""]),
        (
            percentile("y", [0.25, 0.5, 0.75]),
            "List",
            ["[1.5, 2.0, 3.0]", "[2.5, 5.5, 8.125]", "[2.5, 2.5, 2.5]", "[2.25, 2.5, 2.75]", ""],
        ),
        (named("percentile", vec![col("y"), lit(0.5), col("i")], false), "Float64", ["4.0", "5.5", "2.5", "2.5", ""]),
    ]
}

fn statistics() -> Vec<Expected> {
    vec![
        (stddev("i"), "Float64", ["1.1547005383792517", "0.816496580927726", "", "0.0", ""]),
        (stddev_samp("x"), "Float64", ["NaN", "3.490313978235578", "", "0.0", ""]),
        (stddev_pop("y"), "Float64", ["1.247219128924647", "3.2088744132483593", "0.0", "0.5", ""]),
        (variance("y"), "Float64", ["2.333333333333333", "13.72916666666667", "", "0.5", ""]),
        (var_samp("y"), "Float64", ["2.333333333333333", "13.72916666666667", "", "0.5", ""]),
        (var_pop("y"), "Float64", ["1.5555555555555554", "10.296875000000002", "0.0", "0.25", ""]),
        (named("std", vec![col("l")], false), "Float64", ["10.0", "0.9574271077563381", "", "0.0", ""]),
        (covar_samp("x", "y"), "Float64", ["NaN", "5.739583333333335", "", "0.0", ""]),
        (covar_pop("x", "y"), "Float64", ["NaN", "4.304687500000001", "0.0", "0.0", ""]),
        (covar_pop("i", "y"), "Float64", ["1.0", "0.5", "0.0", "0.0", ""]),
        (corr("i", "y"), "Float64", ["1.0", "0.22035975551649584", "", "", ""]),
        (corr("l", "i"), "Float64", ["1.0", "0.42640143271122083", "", "", ""]),
        (skewness("y"), "Float64", ["0.3818017741606068", "-0.13300084378195368", "", "0.0", ""]),
        (kurtosis("y"), "Float64", ["-1.5000000000000009", "-1.8022018002169096", "", "-2.0", ""]),
        (skewness("l"), "Float64", ["0.0", "-0.49338220021815865", "", "", ""]),
        (kurtosis("l"), "Float64", ["-1.5", "-1.371900826446281", "", "", ""]),
        (regr_count("y", "x"), "Int64", ["3", "4", "1", "2", "0"]),
        (regr_avgx("y", "i"), "Float64", ["2.0", "6.0", "42.0", "2.0", ""]),
        (regr_avgy("y", "i"), "Float64", ["3.0", "5.125", "2.5", "2.5", ""]),
        (regr_sxx("y", "i"), "Float64", ["2.0", "2.0", "0.0", "0.0", ""]),
        (regr_syy("y", "i"), "Float64", ["2.0", "41.18750000000001", "0.0", "0.5", ""]),
        (regr_sxy("y", "i"), "Float64", ["2.0", "2.0", "0.0", "0.0", ""]),
        (regr_slope("y", "i"), "Float64", ["1.0", "1.0", "", "", ""]),
        (regr_intercept("y", "i"), "Float64", ["1.0", "-0.875", "", "", ""]),
        (regr_r2("y", "i"), "Float64", ["1.0", "0.048558421851289814", "", "", ""]),
    ]
}

async fn session(device: &str) -> Session {
    let builder = Session::builder().config("tidemill.device", device).config("tidemill.workers", 2);
    builder.build().await.unwrap()
}

fn write(directory: &Path, first: usize, lines: &[&str], files: usize) {
    for (number, part) in lines.chunks(lines.len().div_ceil(files)).enumerate() {
        std::fs::write(directory.join(format!("{:03}.json", first + number)), part.join("\n")).unwrap();
    }
}

/// How the rows reach the query.
#[derive(Clone, Copy)]
struct Way<'a> {
    device: &'a str,
    files: usize,
    /// The query is stopped in the middle and goes on from its checkpoint.
    restarts: bool,
}

async fn run(
    way: Way<'_>,
    query: impl Fn(DataFrame) -> Result<DataFrame, Error>,
) -> Result<arrow::array::RecordBatch, Error> {
    let (input, checkpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let halves = if way.restarts { vec![&ROWS[..5], &ROWS[5..]] } else { vec![&ROWS[..]] };
    let mut result = None;
    for (number, lines) in halves.into_iter().enumerate() {
        write(input.path(), number * 500, lines, way.files);
        let session = session(way.device).await;
        let reader = session.read_stream().format("json").schema(SCHEMA).option("maxFilesPerTrigger", 1);
        let frame = query(reader.load_path(&input.path().to_string_lossy()).await?)?;
        let table = MemoryTable::new(Some("out")).unwrap();
        let writer = frame.write_stream().output_mode(Complete).trigger(Trigger::AvailableNow);
        let location = checkpoint.path().to_string_lossy().to_string();
        let query = writer.option("checkpointLocation", location).table(&table).start().await?;
        query.await_termination().await?;
        result = Some(table.concat()?);
    }
    Ok(result.unwrap())
}

/// Rows as texts, by the first column.
fn cells(batch: &arrow::array::RecordBatch) -> Vec<(String, Vec<String>)> {
    let options = FormatOptions::default();
    let formatters: Vec<ArrayFormatter> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    let mut rows: Vec<(String, Vec<String>)> = (0..batch.num_rows())
        .map(|row| {
            let mut texts = formatters.iter().map(|f| f.value(row).to_string());
            (texts.next().unwrap(), texts.collect())
        })
        .collect();
    rows.sort();
    rows
}

/// Equal, doubles up to the rounding of Spark's running moments.
fn same(found: &str, expected: &str) -> bool {
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) if found.is_finite() => (found - expected).abs() <= 4e-15 * expected.abs().max(0.25),
        _ => found == expected,
    }
}

async fn check(functions: fn() -> Vec<Expected>, way: Way<'_>) {
    let calls = || functions().into_iter().enumerate().map(|(i, (call, ..))| call.alias(format!("c{i}")));
    let batch = run(way, |rows| rows.group_by(["k"])?.agg(calls())).await.unwrap();
    compare(functions, &batch, &format!("{} files on {}", way.files, way.device));
}

fn compare(functions: fn() -> Vec<Expected>, batch: &arrow::array::RecordBatch, place: &str) {
    let found = cells(batch);
    assert_eq!(found.iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>(), ["", "a", "b", "c", "e"]);
    for (index, (call, data_type, expected)) in functions().into_iter().enumerate() {
        let call = format!("{call:?} in {place}");
        let own = batch.column(index + 1).data_type().to_string();
        assert!(own.starts_with(data_type), "{call} is {own}, not {data_type}");
        for (key, expected) in ["a", "b", "c", "e", ""].iter().zip(expected) {
            let row = found.iter().find(|(k, _)| k == key).unwrap();
            assert!(same(&row.1[index], expected), "{call} of {key:?}: {:?}, not {expected:?}", row.1[index]);
        }
    }
}

async fn check_all(device: &str) {
    for functions in [counts_and_sums, one_rows_value, many_rows_values, statistics] {
        check(functions, Way { device, files: 1, restarts: false }).await;
        check(functions, Way { device, files: 12, restarts: false }).await;
        check(functions, Way { device, files: 3, restarts: true }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_sparks_on_the_cpu() {
    check_all("cpu").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_sparks_on_a_software_gpu() {
    let Some(device) = software_gpu("results_are_sparks_on_a_software_gpu") else { return };
    check_all(&device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_sparks_over_a_table() {
    let input = tempfile::tempdir().unwrap();
    write(input.path(), 0, &ROWS, 1);
    let session = session("cpu").await;
    let reader = session.read().format("json").schema(SCHEMA);
    let rows = reader.load_path(&input.path().to_string_lossy()).await.unwrap();
    for functions in [counts_and_sums, one_rows_value, many_rows_values, statistics] {
        let calls = functions().into_iter().enumerate().map(|(i, (call, ..))| call.alias(format!("c{i}")));
        let grouped = rows.group_by(["k"]).unwrap().agg(calls).unwrap();
        let batches = grouped.collect().await.unwrap();
        let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        compare(functions, &batch, "a table");
    }
}

/// Results of calls over no rows at all.
#[tokio::test(flavor = "multi_thread")]
async fn of_no_rows() {
    let functions: Vec<Expected> =
        [counts_and_sums(), one_rows_value(), many_rows_values(), statistics()].into_iter().flatten().collect();
    let calls = functions.iter().enumerate().map(|(i, (call, ..))| call.clone().alias(format!("c{i}")));
    let calls: Vec<Column> = calls.collect();
    let way = Way { device: "cpu", files: 2, restarts: false };
    let batch = run(way, |rows| rows.filter(col("i").gt(1000))?.agg(std::iter::once(count_all()).chain(calls.clone())))
        .await
        .unwrap();
    let found = cells(&batch);
    assert_eq!(found.len(), 1);
    for ((call, _, expected), found) in functions.iter().zip(&found[0].1) {
        // The group of the NULL key has nothing but NULLs: count_all() counts it, and a struct is there.
        let expected = match expected[4] {
            "1" => "0",
            "{i: , s: }" => "",
            other => other,
        };
        assert_eq!(found, expected, "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_sparks() {
    let way = Way { device: "cpu", files: 1, restarts: false };
    let batch = run(way, |rows| {
        rows.agg([
            first_ignore_nulls("i"),
            count_distinct(["i", "s"]),
            sum_distinct("i"),
            percentile_approx("i", 0.5, 10_000),
            bool_and("b"),
            named("STD", vec![col("i")], false),
            mean("i"),
            approx_count_distinct("i"),
            max_by("s", "i"),
            percentile("i", 0.5),
            array_agg("i"),
            every("b"),
            named("count", vec![col("*")], false),
        ])
    });
    let batch = batch.await.unwrap();
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
    let expected = [
        "first(i)",
        "count(DISTINCT i, s)",
        "sum(DISTINCT i)",
        "percentile_approx(i, 0.5, 10000)",
        "bool_and(b)",
        "std(i)",
        "avg(i)",
        "approx_count_distinct(i)",
        "max_by(s, i)",
        "percentile(i, 0.5, 1)",
        "collect_list(i)",
        "every(b)",
        "count(1)",
    ];
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sliding_windows_keep_the_order_of_the_rows() {
    for files in [1, 4] {
        let way = Way { device: "cpu", files, restarts: true };
        let batch = run(way, |rows| {
            let windows = rows.filter(col("k").eq("a"))?.with_watermark("t", "1 hour")?;
            let windows = windows.group_by([window_sliding("t", "6 seconds", "2 seconds")])?;
            let windows =
                windows.agg([collect_list("l"), count_all(), sum("i"), max("s"), first("l"), stddev_pop("i")])?;
            windows.select([col("window.start").cast("bigint"), col("*")])?.drop(&["window"])
        });
        let start = 1_704_067_200;
        // Times 1, 7, 2, 3 in the order of the input.
        let expected = [
            (-4, "[10]", "1", "1", "x", "10", "0.0"),
            (-2, "[10, 30]", "3", "7", "x", "10", "0.9428090415820634"),
            (0, "[10, 30]", "3", "7", "x", "10", "0.9428090415820634"),
            (2, "[20, 30]", "3", "6", "y", "20", "0.0"),
            (4, "[20]", "1", "", "y", "20", ""),
            (6, "[20]", "1", "", "y", "20", ""),
        ];
        let found = cells(&batch.await.unwrap());
        let text = |row: &(i64, &str, &str, &str, &str, &str, &str)| {
            let values = [row.1, row.2, row.3, row.4, row.5, row.6];
            ((start + row.0).to_string(), values.map(String::from).to_vec())
        };
        let expected: Vec<_> = expected.iter().map(text).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.0, expected.0);
            assert!(found.1.iter().zip(&expected.1).all(|(f, e)| same(f, e)), "{found:?} is not {expected:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_a_code_in_a_kernel() {
    let way = Way { device: "cpu", files: 3, restarts: true };
    let batch = run(way, |rows| {
        let zero = when(col("x").eq(0), col("x")).otherwise(1.0);
        let keys = [r#struct([zero.alias("z"), col("k")]).alias("key"), col("bin"), col("d")];
        rows.filter(col("i").is_null().or(col("k").isin(["a", "e"])))?
            .group_by(keys)?
            .agg([count_all(), collect_list("i")])
    });
    let found: Vec<Vec<String>> = cells(&batch.await.unwrap())
        .into_iter()
        .map(|(k, mut v)| {
            v.insert(0, k);
            v
        })
        .collect();
    let rows: Vec<String> = found.iter().map(|r| r.join("|")).collect();
    let expected = [
        "{z: 0.0, k: a}|||1|[3]",
        "{z: 0.0, k: a}|02|-7.10|1|[3]",
        "{z: 1.0, k: a}|01|1.25|1|[1]",
        "{z: 1.0, k: a}|0200|2.50|1|[]",
        "{z: 1.0, k: e}|7a|2.00|2|[2, 2]",
        "{z: 1.0, k: }|||1|[]",
    ];
    let mut rows = rows;
    rows.sort();
    let mut expected: Vec<String> = expected.iter().map(|r| r.to_string()).collect();
    expected.sort();
    assert_eq!(rows, expected);
}

/// A function of DataFusion's runs on the host too, and keeps its meaning.
#[tokio::test(flavor = "multi_thread")]
async fn functions_of_datafusion_run_on_the_host() {
    use datafusion::functions_aggregate::expr_fn;
    let argument = |name: &str| Expr::Column(datafusion::common::Column::new_unqualified(name));
    for way in [Way { device: "cpu", files: 1, restarts: false }, Way { device: "cpu", files: 3, restarts: true }] {
        let batch = run(way, |rows| {
            rows.group_by(["k"])?.agg([
                Column::from(expr_fn::stddev(argument("i"))).alias("deviation"),
                Column::from(expr_fn::sum(argument("i"))).alias("sum"),
                Column::from(expr_fn::approx_distinct(argument("s"))).alias("about"),
            ])
        });
        let found = cells(&batch.await.unwrap());
        let expected =
            [("", "", "", "0"), ("a", "1.1547005383792517", "7", "2"), ("b", "0.816496580927726", "24", "3")];
        for (key, deviation, sum, about) in expected {
            let row = found.iter().find(|(k, _)| k == key).unwrap();
            assert!(same(&row.1[0], deviation) && row.1[1] == sum && row.1[2] == about, "{row:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_outside_their_type() {
    let way = Way { device: "cpu", files: 2, restarts: false };
    let big = || col("l") + (i64::MAX - 100);
    let failed = run(way, |rows| rows.agg([sum(big())])).await.unwrap_err();
    assert!(failed.to_string().contains("ARITHMETIC_OVERFLOW"), "{failed}");
    // Beside a call on the host the sum is the kernel's still.
    let failed = run(way, |rows| rows.agg([sum(big()), collect_list("i")])).await.unwrap_err();
    assert!(failed.to_string().contains("ARITHMETIC_OVERFLOW"), "{failed}");
    let tried = run(way, |rows| rows.agg([count_all(), try_sum(big()), sum_distinct("l")])).await.unwrap();
    assert_eq!(cells(&tried), [("12".to_string(), vec![String::new(), "85".to_string()])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_a_code() {
    let session = session("cpu").await;
    let input = tempfile::tempdir().unwrap();
    write(input.path(), 0, &ROWS, 1);
    let reader = session.read_stream().format("json").schema(SCHEMA);
    let rows = reader.load_path(&input.path().to_string_lossy()).await.unwrap();
    let start = async |call: Column| -> ErrorCode {
        let frame = match rows.agg([call]) {
            Ok(frame) => frame,
            Err(error) => return error.code(),
        };
        let table = MemoryTable::new(Some("out")).unwrap();
        let writer = frame.write_stream().output_mode(Update).trigger(Trigger::AvailableNow).table(&table);
        match writer.start().await {
            Ok(query) => query.await_termination().await.unwrap_err().code(),
            Err(error) => error.code(),
        }
    };
    for (call, code) in [
        (sum("b"), ErrorCode::DatatypeMismatch),
        (bool_and("i"), ErrorCode::DatatypeMismatch),
        (bit_and("s"), ErrorCode::DatatypeMismatch),
        (stddev("b"), ErrorCode::DatatypeMismatch),
        (approx_count_distinct(r#struct(["i"])), ErrorCode::DatatypeMismatch),
        (approx_count_distinct_with_rsd("i", 0.5), ErrorCode::InvalidExpression),
        (percentile_approx("i", 1.5, 100), ErrorCode::DatatypeMismatch),
        (percentile_approx("i", 0.5, 0), ErrorCode::DatatypeMismatch),
        (percentile_approx("i", col("x"), 100), ErrorCode::InvalidExpression),
        (col("i").filter_where(col("b")), ErrorCode::InvalidExpression),
    ] {
        let shown = format!("{call:?}");
        assert_eq!(start(call).await, code, "{shown}");
    }
    let wrong = |name: &str, args: Vec<Expr>| spark_aggregate::call(name, args, false).unwrap().unwrap_err().code();
    assert_eq!(wrong("sum", vec![]), ErrorCode::WrongNumArgs);
    let column = Expr::try_from(col("i")).unwrap();
    assert_eq!(wrong("max_by", vec![column.clone()]), ErrorCode::WrongNumArgs);
    assert_eq!(wrong("first", vec![column.clone(), column]), ErrorCode::InvalidExpression);
    assert!(spark_aggregate::call("upper", vec![Expr::Literal(ScalarValue::Null, None)], false).is_none());
}

/// The number that the README gives.
#[test]
fn there_are_some_four_hundred_and_fifty_functions() {
    let names = tidemill::functions::registry::FunctionRegistry::default().names();
    assert!((430..480).contains(&names.len()), "{}", names.len());
}
