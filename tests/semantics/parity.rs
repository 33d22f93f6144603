//! One plan over a table and over a stream gives the same rows, however the stream's input is split into batches.

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int32Builder, Int64Array, ListBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use tidemill::Result;
use tidemill::prelude::*;
use tidemill::types::IntoSchema;

const SCHEMA: &str = "k INT, w BIGINT, s STRING, v BIGINT, d DOUBLE, t TIMESTAMP, l ARRAY<INT>";
const ROWS: usize = 60;

/// 2024-01-01T00:00:00Z in microseconds.
const ORIGIN: i64 = 1_704_067_200_000_000;

/// Few different values, NULL, both zeros and NaN among them.
fn input(seed: u64, rows: usize) -> RecordBatch {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pick = |n: usize| random.random_range(0..n);
    let (mut k, mut w, mut s, mut v, mut d, mut t) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    let mut l = ListBuilder::new(Int32Builder::new()).with_field(Field::new("element", DataType::Int32, true));
    for row in 0..rows {
        k.push([Some(1), Some(2), Some(3), None][pick(4)]);
        w.push([Some(1i64), Some(2), Some(-3), None][pick(4)]);
        s.push([Some("a"), Some("b"), Some(""), None][pick(4)]);
        v.push(if pick(6) == 0 { None } else { Some(row as i64 - 20) });
        d.push([Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN), Some(1.5), Some(-2.25), None][pick(7)]);
        t.push(if pick(8) == 0 { None } else { Some(ORIGIN + pick(30_000) as i64 * 1000) });
        match pick(4) {
            0 => l.append(false),
            n => {
                (1..n).for_each(|item| l.values().append_option((item != 2).then_some(item as i32)));
                l.append(true);
            }
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(k)),
        Arc::new(Int64Array::from(w)),
        Arc::new(StringArray::from(s)),
        Arc::new(Int64Array::from(v)),
        Arc::new(Float64Array::from(d)),
        Arc::new(TimestampMicrosecondArray::from(t).with_timezone("UTC")),
        Arc::new(l.finish()),
    ];
    RecordBatch::try_new(SCHEMA.into_schema().unwrap().to_arrow_schema(), columns).unwrap()
}

/// Rows as text, sorted.
fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" | "));
        }
    }
    rows.sort();
    rows
}

type Plan = fn(DataFrame, DataFrame) -> Result<DataFrame>;

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 2).build().await.unwrap()
}

fn table(session: &Session, rows: &RecordBatch) -> DataFrame {
    DataFrame::from_batches(session, rows.schema(), vec![rows.clone()]).unwrap()
}

async fn over_table(plan: Plan, rows: &RecordBatch, other: &RecordBatch) -> Result<Vec<String>> {
    let session = session().await;
    Ok(texts(&plan(table(&session, rows), table(&session, other))?.collect().await?))
}

/// The rows after the last batch, the input coming in batches of these lengths.
async fn over_stream(
    plan: Plan,
    mode: OutputMode,
    rows: &RecordBatch,
    other: &RecordBatch,
    splits: &[usize],
) -> Result<Vec<String>> {
    let session = session().await;
    let stream = MemoryStream::new(rows.schema());
    let frame = plan(stream.frame(&session)?, table(&session, other))?;
    let out = MemoryTable::new(Some("out"))?;
    let query = frame.write_stream().output_mode(mode).table(&out).start().await?;
    let mut from = 0;
    for length in splits {
        stream.add(rows.slice(from, *length))?;
        from += length;
        query.process_all_available().await?;
    }
    query.stop().await;
    Ok(texts(&out.rows()))
}

fn splits(seed: u64, rows: usize) -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut left, mut lengths) = (rows, vec![]);
    while left > 0 {
        let next = random.random_range(1..=left);
        lengths.push(next);
        left -= next;
    }
    lengths
}

async fn compare(mode: OutputMode, plans: &[(&str, Plan)]) {
    let mut differences = Vec::new();
    for (number, (name, plan)) in plans.iter().enumerate() {
        let seed = 100 + number as u64;
        let (rows, other) = (input(seed, ROWS), input(seed + 1000, 12));
        let expected = over_table(*plan, &rows, &other).await;
        for lengths in [vec![ROWS], splits(seed, ROWS)] {
            let found = over_stream(*plan, mode, &rows, &other, &lengths).await;
            match (&expected, found) {
                (Ok(expected), Ok(found)) if *expected == found => {}
                (Ok(expected), Ok(found)) => {
                    let only = |a: &[String], b: &[String]| -> Vec<String> {
                        a.iter().filter(|row| !b.contains(row)).take(6).cloned().collect()
                    };
                    differences.push(format!(
                        "{name} {lengths:?}: table {} rows, only there {:#?}; stream {} rows, only there {:#?}",
                        expected.len(),
                        only(expected, &found),
                        found.len(),
                        only(&found, expected)
                    ));
                }
                (expected, found) => differences.push(format!(
                    "{name} {lengths:?}: table {:?}, stream {:?}",
                    expected.as_ref().err().map(ToString::to_string),
                    found.err().map(|e| e.to_string())
                )),
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_and_of_a_stream() {
    let plans: &[(&str, Plan)] = &[
        ("filter and project", |f, _| {
            f.filter(col("v").gt(3).or(col("d").gt(0.0)))?.select([col("k") + col("w"), col("s")])
        }),
        ("filter on a zero", |f, _| f.filter(col("d").eq(0.0))?.select(["k", "d"])),
        ("column replaced", |f, _| {
            f.with_column("k", col("k") * 2)?.with_column("x", col("k") + 1)?.filter(col("x").gt(3))
        }),
        ("explode", |f, _| f.select([col("k"), explode("l").alias("e")])?.filter(col("e").gt(1).or(col("k").eq(2)))),
        ("explode outer", |f, _| f.select([col("s"), explode_outer("l").alias("e")])),
        ("explode twice", |f, _| {
            f.select([col("l"), explode("l").alias("e")])?.select([col("e"), explode_outer("l").alias("g")])
        }),
        ("posexplode", |f, _| f.select([col("k"), posexplode("l")])),
        ("explode under its column's name", |f, _| f.with_column("l", explode("l"))?.filter(col("l").eq(1))),
        ("union of itself", |f, _| f.select(["k", "v"])?.union(&f.filter(col("v").gt(5))?.select(["k", "v"])?)),
        ("union under other names", |f, _| {
            f.select(["k", "s"])?.union(&f.select([col("k") + 1, upper("s")])?)?.filter(col("k").gt(1))
        }),
        ("inner join", |f, o| {
            f.join(&o.select([col("k").alias("ok"), col("v").alias("ov")])?, col("k").eq(col("ok")), "inner")
        }),
        ("join of widths", |f, o| {
            f.join(&o.select([col("w").alias("ow"), col("s").alias("os")])?, col("k").eq(col("ow")), "left")
        }),
        ("join on doubles", |f, o| {
            f.join(&o.select([col("d").alias("od"), col("s").alias("os")])?, col("d").eq(col("od")), "inner")?
                .select(["d", "s", "os"])
        }),
        ("join using", |f, o| f.select(["k", "v"])?.join(&o.select(["k", "s"])?, "k", "left")),
        ("join using two", |f, o| f.select(["k", "v", "s"])?.join(&o.select(["k", "s", "d"])?, ["s", "k"], "inner")),
        ("equal names", |f, o| {
            let joined = f.join(&o, f.col("k").eq(o.col("k")).and(f.col("v").lt(o.col("v"))), "inner")?;
            joined.select([f.col("v").alias("a"), o.col("v").alias("b"), o.col("s"), f.col("s")])
        }),
        ("left join with a rest", |f, o| {
            f.join(&o, f.col("k").eq(o.col("k")).and(o.col("v").gt(0)).and(f.col("v").lt(5)), "left")?.select([
                f.col("v").alias("a"),
                o.col("v").alias("b"),
                o.col("s"),
            ])
        }),
        ("a fallible rest behind its guard", |f, o| {
            f.join(
                &o,
                f.col("k").eq(o.col("k")).and(o.col("v").not_eq(0)).and((f.col("v") / o.col("v")).gt(0.5)),
                "left",
            )?
            .select([f.col("v").alias("a"), o.col("v").alias("b")])
        }),
        ("semi with a rest", |f, o| f.join(&o, f.col("s").eq(o.col("s")).and(f.col("v").gt(o.col("v"))), "left_semi")),
        ("anti with a rest", |f, o| f.join(&o, f.col("s").eq(o.col("s")).and(f.col("v").gt(o.col("v"))), "left_anti")),
        ("anti of null keys", |f, o| f.join(&o, "k", "left_anti")),
        ("semi without equality", |f, o| f.join(&o, f.col("v").lt(o.col("v")), "left_semi")),
        ("stream on the right", |f, o| {
            o.join(&f, o.col("k").eq(f.col("k")), "right")?.select([f.col("v").alias("a"), o.col("v").alias("b")])
        }),
        ("cross", |f, o| f.select(["v"])?.cross_join(&o.select([col("s").alias("os")])?)),
        ("inner without a condition on the left", |f, o| {
            f.join(&o, o.col("v").gt(0), "inner")?.select([f.col("v").alias("a"), o.col("v").alias("b")])
        }),
        ("empty table", |f, o| {
            f.join(&o.filter(col("v").gt(1_000_000))?.select([col("k"), col("s").alias("z")])?, "k", "left")
        }),
        ("two tables", |f, o| {
            let (a, b) = (o.select([col("k"), col("s").alias("s1")])?, o.select([col("k"), col("s").alias("s2")])?);
            f.select(["k", "v"])?.join(&a, "k", "left")?.join(&b, "k", "inner")?.filter(col("s1").is_not_null())
        }),
        ("table that is aggregated", |f, o| {
            let sums = o.group_by(["k"])?.agg([sum("v").alias("total")])?;
            f.select(["k", "v"])?.join(&sums, "k", "left")?.with_column("part", col("v") + col("total"))
        }),
        ("joined and exploded", |f, o| {
            f.join(&o.select([col("k"), col("l").alias("ol")])?, "k", "inner")?
                .select([col("k"), col("v"), explode("ol").alias("e")])?
                .filter(col("e").eq(1))
        }),
    ];
    compare(OutputMode::Append, plans).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_a_table_and_of_a_stream() {
    let plans: &[(&str, Plan)] = &[
        ("doubles as keys", |f, _| f.group_by(["d"])?.agg([count_all().alias("n"), sum("v").alias("sum")])),
        ("several keys", |f, _| {
            f.group_by(["k", "s"])?.agg([min("d"), max("d"), avg("v"), count("s"), max("s"), min("t")])
        }),
        ("expressions as keys", |f, _| {
            f.group_by([col("v") % 3, upper("s").alias("u")])?.agg([sum(col("v") * 2), count_distinct("s")])
        }),
        ("global", |f, _| f.agg([count_all(), sum("v"), sum("d"), avg("d"), min("s"), approx_count_distinct("v")])),
        ("global over nothing", |f, _| {
            f.filter(col("v").gt(1_000_000))?.agg([
                count_all(),
                count("v"),
                sum("v"),
                avg("d"),
                collect_list("v"),
                min("s"),
                sum(when(col("k").eq(1), 1).otherwise(0)).alias("c"),
                count_distinct("k"),
            ])
        }),
        ("grouped over nothing", |f, _| f.filter(col("v").gt(1_000_000))?.group_by(["k"])?.agg([count_all()])),
        ("tumbling windows", |f, _| f.group_by([window("t", "10 seconds")])?.agg([count_all(), sum("v")])),
        ("tumbling windows by key", |f, _| {
            f.group_by([col("s"), window("t", "7 seconds")])?.agg([count_all().alias("n"), max("d")])?.select([
                col("window.end"),
                col("s"),
                col("n"),
            ])
        }),
        ("sliding windows", |f, _| {
            f.group_by([window_sliding("t", "10 seconds", "4 seconds"), col("k")])?.agg([
                count_all(),
                sum("v"),
                avg("d"),
            ])
        }),
        ("sliding windows in order", |f, _| {
            f.group_by([window_sliding("t", "10 seconds", "5 seconds")])?.agg([
                collect_list("v"),
                first("s"),
                last("v"),
            ])
        }),
        ("ordered calls", |f, _| {
            f.group_by(["k"])?.agg([
                collect_list("v"),
                first("v"),
                last("v"),
                first_ignore_nulls("s"),
                last_ignore_nulls("s"),
                max_by("v", "d"),
            ])
        }),
        ("filters and distinct", |f, _| {
            f.group_by(["k"])?.agg([
                sum("v").filter_where(col("d").gt(0.0)),
                count_distinct("d"),
                sum_distinct("w"),
                collect_set("w").filter_where(col("v").gt(1)),
                count(col("v")).filter_where(col("s").eq("a")),
            ])
        }),
        ("conditional counts", |f, _| {
            f.group_by(["s"])?.agg([
                sum(when(col("k").eq(1), 3)),
                sum(when(col("k").eq(1), 1).otherwise(0)),
                count_if(col("v").gt(3)),
            ])
        }),
        ("after a join", |f, o| {
            f.join(&o.select([col("k"), col("s").alias("os")])?, "k", "left")?.group_by(["os"])?.agg([
                count_all(),
                sum("v"),
                max("d"),
            ])
        }),
        ("after explode", |f, _| {
            f.select([col("k"), col("v"), explode("l").alias("e")])?.group_by(["e"])?.agg([
                count_all(),
                sum("v"),
                count_distinct("k"),
            ])
        }),
        ("above an aggregate", |f, _| {
            f.group_by(["k", "s"])?
                .agg([sum("v").alias("total")])?
                .filter(col("total").gt(0))?
                .with_column("twice", col("total") * 2)
        }),
        ("over a union", |f, _| {
            f.select(["k", "v"])?
                .union(&f.select([col("k") + 1, col("w")])?)?
                .group_by(["k"])?
                .agg([sum("v"), count_all()])
        }),
        ("text of numbers", |f, _| {
            f.group_by([col("k").cast("string")])?
                .agg([max(col("v").cast("string")), sum(col("v").cast("decimal(10,2)"))])
        }),
        ("spread", |f, _| f.group_by(["k"])?.agg([stddev("v"), var_pop("v"), corr("v", "w"), mode("w")])),
    ];
    compare(OutputMode::Complete, plans).await;
}
