//! The functions as DataFusion runs them over tables, and their state as it is kept.

use super::*;
use crate::plan::aggregate::HostCall;
use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
use datafusion::prelude::{SessionContext, col, lit};

fn table() -> RecordBatch {
    let decimals = Decimal128Array::from(vec![Some(150), None, Some(-710), Some(5)]).with_precision_and_scale(10, 2);
    RecordBatch::try_from_iter_with_nullable(vec![
        ("k", Arc::new(StringArray::from(vec!["a", "b", "a", "a"])) as ArrayRef, true),
        ("i", Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(3)])), true),
        ("l", Arc::new(Int64Array::from(vec![Some(10), None, Some(-3), Some(4)])), true),
        ("x", Arc::new(Float64Array::from(vec![Some(1e300), None, Some(f64::NAN), Some(-0.0)])), true),
        ("y", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(1e17), Some(-1e17)])), true),
        ("d", Arc::new(decimals.unwrap()), true),
        ("s", Arc::new(StringArray::from(vec![Some("p"), None, Some("q"), Some("p")])), true),
        ("b", Arc::new(arrow::array::BooleanArray::from(vec![Some(true), None, Some(false), None])), true),
    ])
    .unwrap()
}

/// A call of every function, with arguments that it takes.
fn every_call() -> Vec<Expr> {
    let call_of = |name: &str, args: &[&str], more: Vec<Expr>, distinct: bool| {
        let args = args.iter().map(|a| col(*a)).chain(more).collect();
        call(name, args, distinct).unwrap().unwrap()
    };
    let mut calls = Vec::new();
    for (name, kind) in FUNCTIONS {
        let one: &[&[&str]] = match kind {
            Kind::Count | Kind::First { .. } | Kind::CollectList | Kind::CollectSet | Kind::Mode => {
                &[&["i"], &["x"], &["d"], &["s"], &["b"]]
            }
            Kind::Extreme { .. } | Kind::ApproxCountDistinct => &[&["i"], &["x"], &["d"], &["s"], &["b"]],
            Kind::CountIf | Kind::Bool { .. } => &[&["b"]],
            Kind::Sum { .. } | Kind::Avg { .. } => &[&["i"], &["l"], &["x"], &["y"], &["d"]],
            Kind::Product | Kind::Median => &[&["i"], &["y"]],
            Kind::By { .. } => &[&["s", "i"], &["d", "x"]],
            Kind::Statistic(statistic) if statistic.of_pairs() => &[&["i", "y"]],
            Kind::Statistic(_) => &[&["i"], &["y"]],
            Kind::ListAgg => &[&["s"]],
            Kind::Percentile | Kind::PercentileApprox => &[&["i"], &["y"]],
            Kind::Bits(_) => &[&["i"], &["l"]],
            // Of arrays and of bitmaps, which no column here is.
            Kind::CollectUnion | Kind::Bitmap(_) => &[],
        };
        let more = || match kind {
            Kind::Percentile | Kind::PercentileApprox => vec![lit(0.5)],
            _ => vec![],
        };
        for args in one {
            calls.push(call_of(name, args, more(), false));
            calls.push(call_of(name, args, more(), true));
        }
    }
    calls
}

fn resolved(expr: Expr, schema: &Schema) -> AggregateFunction {
    match crate::plan::resolve::resolve(
        expr,
        &crate::plan::scope::Scope::of(&Arc::new(schema.clone())),
        &Environment::default(),
    )
    .unwrap()
    {
        Expr::AggregateFunction(call) => call,
        other => panic!("{other}"),
    }
}

fn arguments(call: &AggregateFunction, batch: &RecordBatch) -> Vec<ArrayRef> {
    let compiled = call
        .params
        .args
        .iter()
        .map(|a| crate::operator::partial::compile(a, &batch.schema(), &Default::default()).unwrap());
    compiled.map(|e| crate::operator::partial::evaluate(&e, batch).unwrap()).collect()
}

/// Equal, a NaN equal to itself.
fn same(left: &ScalarValue, right: &ScalarValue) -> bool {
    left == right || left.to_string() == right.to_string()
}

#[test]
fn state_survives_any_split_and_is_what_it_says() {
    let batch = table();
    let mut seen = 0;
    for expr in every_call() {
        let call = resolved(expr, &batch.schema());
        let host = HostCall::new(&call, &batch.schema()).unwrap();
        let text = host.text().to_string();
        let all = arguments(&call, &batch);
        let mut whole = host.accumulator().unwrap();
        whole.update_batch(&all).unwrap();
        let expected = whole.evaluate().unwrap();
        assert_eq!(expected.data_type(), host.result(), "{text}");
        // Every row on its own, with an empty state between any two, through arrays as a state file has them.
        let mut states: Vec<Vec<ScalarValue>> = vec![host.accumulator().unwrap().state().unwrap()];
        for row in 0..batch.num_rows() {
            let own: Vec<ArrayRef> = all.iter().map(|a| a.slice(row, 1)).collect();
            let mut accumulator = host.accumulator().unwrap();
            accumulator.update_batch(&own).unwrap();
            states.push(accumulator.state().unwrap());
            states.push(host.accumulator().unwrap().state().unwrap());
        }
        let columns: Vec<ArrayRef> = (0..host.state().len())
            .map(|c| {
                let column = ScalarValue::iter_to_array(states.iter().map(|s| s[c].clone())).unwrap();
                assert_eq!(column.data_type(), &host.state()[c], "{text}");
                column
            })
            .collect();
        let mut merged = host.accumulator().unwrap();
        merged.merge_batch(&columns).unwrap();
        assert!(same(&merged.evaluate().unwrap(), &expected), "{text}: {expected}");
        // Nothing at all, and a restored nothing.
        let nothing = host.accumulator().unwrap().evaluate().unwrap();
        let mut restored = host.accumulator().unwrap();
        let empty: Vec<ArrayRef> = columns.iter().map(|c| c.slice(0, 1)).collect();
        restored.merge_batch(&empty).unwrap();
        assert!(same(&restored.evaluate().unwrap(), &nothing), "{text}: {nothing}");
        seen += 1;
    }
    assert!(seen > 150, "{seen} calls");
}

#[tokio::test]
async fn datafusion_runs_every_function_over_a_table() {
    let context = SessionContext::new();
    let batch = table();
    let calls: Vec<Expr> = every_call().into_iter().enumerate().map(|(i, e)| e.alias(format!("c{i}"))).collect();
    let frame = context.read_batch(batch.clone()).unwrap().aggregate(vec![col("k")], calls.clone()).unwrap();
    let rows = frame.sort_by(vec![col("k")]).unwrap().collect().await.unwrap();
    let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
    assert_eq!(rows.num_rows(), 2);
    let of_a = arrow::compute::take_record_batch(&batch, &arrow::array::UInt32Array::from(vec![0, 2, 3])).unwrap();
    for (index, expr) in every_call().into_iter().enumerate() {
        let call = resolved(expr, &batch.schema());
        let host = HostCall::new(&call, &batch.schema()).unwrap();
        let mut alone = host.accumulator().unwrap();
        alone.update_batch(&arguments(&call, &of_a)).unwrap();
        let found = ScalarValue::try_from_array(rows.column(index + 1), 0).unwrap();
        let expected = alone.evaluate().unwrap();
        assert!(same(&found, &expected), "{}: {found}, not {expected}", host.text());
    }
}

#[test]
fn sums_of_powers_do_not_lose_what_cancels() {
    let mut variance = moments::Moments::new(Statistic::VarPop);
    // The mean is 1e9 times the deviation's square root: a sum of squares in doubles would lose every digit.
    let values = Float64Array::from(vec![1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]);
    variance.update_batch(&[Arc::new(values)]).unwrap();
    assert_eq!(variance.evaluate().unwrap(), ScalarValue::Float64(Some(2.0 / 3.0)));
    let mut kurtosis = moments::Moments::new(Statistic::Kurtosis);
    let values = Float64Array::from(vec![1e6 + 1.0, 1e6 + 2.0, 1e6 + 3.0, 1e6 + 10.0]);
    kurtosis.update_batch(&[Arc::new(values)]).unwrap();
    // Deviations -3, -2, -1, 6: 4 * (81 + 16 + 1 + 1296) / 50^2 - 3.
    assert_eq!(kurtosis.evaluate().unwrap(), ScalarValue::Float64(Some(4.0 * 1394.0 / 2500.0 - 3.0)));
}

#[test]
fn decimals_round_half_up_and_overflow() {
    let decimals = |values: Vec<i128>, precision| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, 0).unwrap())
    };
    let mut mean = sums::DecimalSum::new(15, 0, Some((9, 4)), Overflow::Error);
    mean.update_batch(&[decimals(vec![-1, -1, 0], 5)]).unwrap();
    assert_eq!(mean.evaluate().unwrap(), ScalarValue::Decimal128(Some(-6667), 9, 4));
    let most = 10i128.pow(38) - 1;
    let sum = |policy| {
        let mut sum = sums::DecimalSum::new(38, 0, None, policy);
        sum.update_batch(&[decimals(vec![most, 1], 38)]).unwrap();
        sum.evaluate()
    };
    assert_eq!(Error::from(sum(Overflow::Error).unwrap_err()).code(), ErrorCode::ArithmeticOverflow);
    assert_eq!(sum(Overflow::Null).unwrap(), ScalarValue::Decimal128(None, 38, 0));
    assert_eq!(sum(Overflow::Wrap).unwrap(), ScalarValue::Decimal128(None, 38, 0));
    // A sum that comes back into its type has never left it.
    let mut back = sums::DecimalSum::new(38, 0, None, Overflow::Error);
    back.update_batch(&[decimals(vec![most, 1, -1], 38)]).unwrap();
    assert_eq!(back.evaluate().unwrap(), ScalarValue::Decimal128(Some(most), 38, 0));
}

#[test]
fn without_ansi_a_sum_of_integers_wraps() {
    assert_eq!(as_bigint(i128::from(i64::MAX) + 1, Overflow::Wrap).unwrap(), Some(i64::MIN));
    assert_eq!(as_bigint(i128::from(i64::MAX) + 1, Overflow::Null).unwrap(), None);
    assert!(as_bigint(i128::from(i64::MAX) + 1, Overflow::Error).is_err());
    let environment = Environment { ansi: false, ..Environment::default() };
    let Expr::AggregateFunction(sum) = call("sum", vec![col("l")], false).unwrap().unwrap() else { panic!() };
    let sum = with_environment(sum, &environment);
    assert_eq!(SparkAggregate::of(&sum.func).unwrap().overflow(), Overflow::Wrap);
}

#[test]
fn decimals_hash_as_javas_big_integers() {
    // xxhash64(cast(v as decimal(10,0))) is that of the long; of a wide decimal, that of the shortest big-endian bytes.
    let narrow: ArrayRef = Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(10, 0).unwrap());
    assert_eq!(hashing::hashes(&narrow).unwrap(), [(-7001672635703045582i64) as u64]);
    let wide = |v: i128| -> u64 {
        let array: ArrayRef = Arc::new(Decimal128Array::from(vec![v]).with_precision_and_scale(38, 0).unwrap());
        hashing::hashes(&array).unwrap()[0]
    };
    for (value, bytes) in
        [(0, &[0u8][..]), (1, &[1]), (-1, &[255]), (128, &[0, 128]), (-129, &[255, 127]), (-128, &[128])]
    {
        assert_eq!(wide(value), tidemill_kernels::hll::hash_bytes(bytes), "{value}");
    }
}
