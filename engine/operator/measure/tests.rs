use super::*;

use arrow::array::{Float64Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::functions_aggregate::expr_fn::{avg, count, max, min, sum};
use datafusion::prelude::{col, lit};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("fare", DataType::Float64, true),
        Field::new("city", DataType::Utf8, true),
    ]))
}

fn rows(values: &[(Option<i64>, f64, &str)]) -> RecordBatch {
    let n: Int64Array = values.iter().map(|v| v.0).collect();
    let fare: Float64Array = values.iter().map(|v| Some(v.1)).collect();
    let city: StringArray = values.iter().map(|v| Some(v.2)).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(n), Arc::new(fare), Arc::new(city)]).unwrap()
}

fn named(expr: Expr, name: &str) -> Named {
    Named { expr, name: name.to_string() }
}

fn measure() -> Measure {
    let aggregates = [
        named(count(lit(1)), "rows"),
        named(count(col("n")), "numbers"),
        named(sum(col("n")), "total"),
        named(sum(col("n")) * lit(2_i64) + max(col("n")), "mixed"),
        named(avg(col("fare")), "fare"),
        named(min(col("city")), "first"),
    ];
    Measure::new(&aggregates, &schema(), Tz::UTC, &BatchClock::default()).unwrap()
}

#[test]
fn workers_measure_apart_and_merge() {
    let (mut first, mut second, mut whole) = (measure(), measure(), measure());
    first.update(&rows(&[(Some(1), 2.0, "sf"), (None, 4.0, "la")])).unwrap();
    second.update(&rows(&[(Some(5), 6.0, "ny")])).unwrap();
    whole.merge(second.take().unwrap()).unwrap();
    whole.merge(first.take().unwrap()).unwrap();
    // What was taken is gone from the worker.
    whole.merge(first.take().unwrap()).unwrap();
    let found = serde_json::to_string(&whole.finish().unwrap()).unwrap();
    assert_eq!(found, r#"{"rows":3,"numbers":2,"total":6,"mixed":17,"fare":4.0,"first":"la"}"#);
    // The next batch starts anew.
    let found = serde_json::to_string(&whole.finish().unwrap()).unwrap();
    assert_eq!(found, r#"{"rows":0,"numbers":0,"total":null,"mixed":null,"fare":null,"first":null}"#);
}

#[test]
fn what_is_not_one_value_is_refused() {
    let refused = |expr: Expr| {
        let error = Measure::new(&[named(expr, "m")], &schema(), Tz::UTC, &BatchClock::default()).err().unwrap();
        (error.code(), error.message().to_string())
    };
    assert_eq!(
        refused(col("n")),
        (ErrorCode::InvalidExpression, "observe(): \"m\" uses the column \"n\" outside an aggregate".to_string())
    );
    assert_eq!(
        refused(lit(1)),
        (
            ErrorCode::InvalidExpression,
            "observe(): \"m\" is no aggregate; an observed metric is one value for all rows".to_string()
        )
    );
}
