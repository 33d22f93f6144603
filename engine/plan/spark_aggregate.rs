//! Spark's aggregate functions: names, argument and result types, and accumulators whose state is Arrow data.
//!
//! Comes in: a function's name and its arguments ([`call`]). Goes out: an expression over a [`SparkAggregate`], which DataFusion runs
//! over tables and which streams run by kernels or, chunk by chunk, by the same accumulators. Fails: wrong numbers and types of
//! arguments, constants outside their range, and sums outside their type under ANSI.
//!
//! Sums of doubles and everything built on them (means, deviations, correlations, regressions) are kept exactly and rounded once, so
//! that no order of rows and no split into batches changes a bit.

mod bitmaps;
mod bits;
mod collections;
mod distinct;
mod extremes;
pub mod hashing;
mod moments;
mod sliding;
mod sums;
mod udaf;

use super::spark_function::Environment;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::wrong_number;
use crate::functions::cast::sql_name;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Float64Type, Schema};
use bits::BitOperation;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate as theirs;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, Expr, Signature, Volatility, WindowFunctionDefinition};
use datafusion::physical_expr::PhysicalExpr;
pub use extremes::orderable;
use moments::Statistic;
use std::any::Any;
use std::sync::Arc;
pub use sums::as_bigint;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Rows where every argument has a value.
    Count,
    /// Rows where the condition is TRUE.
    CountIf,
    /// Sum; `or_null` gives NULL where it is outside its type, as `try_sum` does.
    Sum { or_null: bool },
    /// Mean; `or_null` as for a sum.
    Avg { or_null: bool },
    /// Product of doubles.
    Product,
    /// Least or greatest value.
    Extreme { greatest: bool },
    /// The value of the row with the least or greatest ordering.
    By { greatest: bool },
    /// The first or last value in the order of the input.
    First { last: bool },
    /// A moment, or a statistic of pairs.
    Statistic(Statistic),
    /// HyperLogLog++.
    ApproxCountDistinct,
    /// Values in the order of the input.
    CollectList,
    /// Distinct values, ascending.
    CollectSet,
    /// Distinct values of arrays, ascending.
    CollectUnion,
    /// Texts in the order of the input, joined.
    ListAgg,
    /// The most frequent value, the least of several.
    Mode,
    /// Interpolated percentile.
    Percentile,
    /// `percentile(x, 0.5)`.
    Median,
    /// The value at a percentile's rank.
    PercentileApprox,
    /// Whether every (`all`) or any value is TRUE.
    Bool { all: bool },
    /// `AND`, `OR` and `XOR` of all bits.
    Bits(bits::BitOperation),
    /// A bitmap of places, or of bitmaps.
    Bitmap(bitmaps::BitmapOperation),
}

/// Names and what they mean. The first name of a kind is the one that Spark shows where it has one for several.
const FUNCTIONS: &[(&str, Kind)] = &[
    ("count", Kind::Count),
    ("count_if", Kind::CountIf),
    ("sum", Kind::Sum { or_null: false }),
    ("try_sum", Kind::Sum { or_null: true }),
    ("avg", Kind::Avg { or_null: false }),
    ("mean", Kind::Avg { or_null: false }),
    ("try_avg", Kind::Avg { or_null: true }),
    ("product", Kind::Product),
    ("min", Kind::Extreme { greatest: false }),
    ("max", Kind::Extreme { greatest: true }),
    ("min_by", Kind::By { greatest: false }),
    ("max_by", Kind::By { greatest: true }),
    ("first", Kind::First { last: false }),
    ("first_value", Kind::First { last: false }),
    ("any_value", Kind::First { last: false }),
    ("last", Kind::First { last: true }),
    ("last_value", Kind::First { last: true }),
    ("stddev", Kind::Statistic(Statistic::StddevSamp)),
    ("std", Kind::Statistic(Statistic::StddevSamp)),
    ("stddev_samp", Kind::Statistic(Statistic::StddevSamp)),
    ("stddev_pop", Kind::Statistic(Statistic::StddevPop)),
    ("variance", Kind::Statistic(Statistic::VarSamp)),
    ("var_samp", Kind::Statistic(Statistic::VarSamp)),
    ("var_pop", Kind::Statistic(Statistic::VarPop)),
    ("skewness", Kind::Statistic(Statistic::Skewness)),
    ("kurtosis", Kind::Statistic(Statistic::Kurtosis)),
    ("covar_samp", Kind::Statistic(Statistic::CovarSamp)),
    ("covar_pop", Kind::Statistic(Statistic::CovarPop)),
    ("corr", Kind::Statistic(Statistic::Corr)),
    ("regr_count", Kind::Statistic(Statistic::RegrCount)),
    ("regr_avgx", Kind::Statistic(Statistic::RegrAvgX)),
    ("regr_avgy", Kind::Statistic(Statistic::RegrAvgY)),
    ("regr_sxx", Kind::Statistic(Statistic::RegrSxx)),
    ("regr_syy", Kind::Statistic(Statistic::RegrSyy)),
    ("regr_sxy", Kind::Statistic(Statistic::RegrSxy)),
    ("regr_slope", Kind::Statistic(Statistic::RegrSlope)),
    ("regr_intercept", Kind::Statistic(Statistic::RegrIntercept)),
    ("regr_r2", Kind::Statistic(Statistic::RegrR2)),
    ("approx_count_distinct", Kind::ApproxCountDistinct),
    ("collect_list", Kind::CollectList),
    ("array_agg", Kind::CollectList),
    ("collect_set", Kind::CollectSet),
    ("listagg", Kind::ListAgg),
    ("string_agg", Kind::ListAgg),
    ("mode", Kind::Mode),
    ("percentile", Kind::Percentile),
    ("median", Kind::Median),
    ("percentile_approx", Kind::PercentileApprox),
    ("approx_percentile", Kind::PercentileApprox),
    ("bool_and", Kind::Bool { all: true }),
    ("every", Kind::Bool { all: true }),
    ("bool_or", Kind::Bool { all: false }),
    ("some", Kind::Bool { all: false }),
    ("any", Kind::Bool { all: false }),
    ("bit_and", Kind::Bits(BitOperation::And)),
    ("bit_or", Kind::Bits(BitOperation::Or)),
    ("bit_xor", Kind::Bits(BitOperation::Xor)),
    ("bitmap_construct_agg", Kind::Bitmap(bitmaps::BitmapOperation::Construct)),
    ("bitmap_or_agg", Kind::Bitmap(bitmaps::BitmapOperation::Or)),
    ("bitmap_and_agg", Kind::Bitmap(bitmaps::BitmapOperation::And)),
    ("collect_union", Kind::CollectUnion),
];

/// Names of every aggregate function.
pub fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

/// Spark's default relative standard deviation of `approx_count_distinct`.
pub const DEFAULT_RSD: f64 = 0.05;
/// Spark's default accuracy of `percentile_approx`.
const DEFAULT_ACCURACY: i32 = 10_000;

/// A call of the aggregate function `name`, in any case; None where there is no such aggregate. `first`, `last` and `any_value` take
/// a constant second argument that says whether NULLs are passed over.
pub fn call(name: &str, args: Vec<Expr>, distinct: bool) -> Option<Result<Expr>> {
    let found = FUNCTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(name, kind)| planned(name, *kind, args, distinct))
}

fn planned(name: &'static str, kind: Kind, mut args: Vec<Expr>, distinct: bool) -> Result<Expr> {
    let refuse = |why: String| Err(Error::new(ErrorCode::InvalidExpression, format!("{name}(): {why}")));
    let (least, most) = match kind {
        Kind::Count => (1, usize::MAX),
        Kind::By { .. } => (2, 2),
        Kind::Statistic(statistic) if statistic.of_pairs() => (2, 2),
        Kind::First { .. } | Kind::ApproxCountDistinct | Kind::ListAgg | Kind::Mode => (1, 2),
        Kind::Percentile | Kind::PercentileApprox => (2, 3),
        _ => (1, 1),
    };
    if args.len() < least || args.len() > most {
        let wanted = match (least, most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        return Err(wrong_number(name, args.len(), &wanted));
    }
    let mut nulls = None;
    match kind {
        Kind::Count => args.iter_mut().filter(|a| is_star(a)).for_each(|a| *a = datafusion::prelude::lit(1i64)),
        Kind::First { .. } if args.len() == 2 => match args.pop() {
            Some(Expr::Literal(ScalarValue::Boolean(Some(ignore)), _)) => {
                nulls = Some(if ignore { NullTreatment::IgnoreNulls } else { NullTreatment::RespectNulls });
            }
            _ => return refuse("the second argument, whether to pass over NULLs, must be true or false".into()),
        },
        // The least of the most frequent values is what Spark calls deterministic; it is always given.
        Kind::Mode => args.truncate(1),
        Kind::PercentileApprox if args.len() == 2 => args.push(datafusion::prelude::lit(DEFAULT_ACCURACY)),
        Kind::Percentile if args.len() == 2 => args.push(datafusion::prelude::lit(1i64)),
        Kind::ApproxCountDistinct if args.len() == 1 => args.push(datafusion::prelude::lit(DEFAULT_RSD)),
        _ => {}
    }
    // Spark shows these under their first name.
    let name = match name {
        "array_agg" => "collect_list",
        other => other,
    };
    let function = AggregateUDF::from(SparkAggregate::new(name, kind));
    Ok(Expr::AggregateFunction(AggregateFunction::new_udf(Arc::new(function), args, distinct, None, vec![], nulls)))
}

fn is_star(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "*")
}

/// An aggregate function of Spark's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SparkAggregate {
    name: &'static str,
    /// Which.
    pub kind: Kind,
    /// Whether a value outside its type is an error (`spark.sql.ansi.enabled`).
    pub ansi: bool,
    signature: Signature,
}

/// What a sum outside its type comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The query ends.
    Error,
    /// NULL.
    Null,
    /// Integers wrap around.
    Wrap,
}

impl SparkAggregate {
    fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, ansi: true, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The function that an aggregate call calls, if it is one of these.
    pub fn of(function: &AggregateUDF) -> Option<&SparkAggregate> {
        let implementation: &dyn Any = function.inner().as_ref();
        implementation.downcast_ref()
    }

    /// Whether the result depends on the order of the rows.
    pub fn ordered(&self) -> bool {
        matches!(self.kind, Kind::First { .. } | Kind::CollectList | Kind::ListAgg | Kind::By { .. } | Kind::Product)
    }

    /// What a sum outside its type comes to.
    pub fn overflow(&self) -> Overflow {
        match self.kind {
            Kind::Sum { or_null: true } | Kind::Avg { or_null: true } => Overflow::Null,
            _ if self.ansi => Overflow::Error,
            _ => Overflow::Wrap,
        }
    }

    /// How many of `args` are shown in the name of the result.
    pub fn shown_arguments(&self, args: usize) -> usize {
        if self.kind == Kind::ApproxCountDistinct { args.min(1) } else { args }
    }

    fn mismatch(&self, needed: &str, found: &DataType) -> datafusion::error::DataFusionError {
        let found = sql_name(found);
        Error::of_argument(format!("{}() needs {needed}, not {found}", self.name), 0, needed, &found).into()
    }

    fn plain_accumulator(&self, args: &AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let first = args.expr_fields.first().map_or(DataType::Null, |f| f.data_type().clone());
        let constant = |index: usize| -> Result<ScalarValue> {
            let expr = args.exprs.get(index).ok_or_else(|| Error::internal("an argument is missing"))?;
            constant(expr).map_err(|_| {
                let text = format!("{}(): argument {} must be a constant", self.name, index + 1);
                Error::new(ErrorCode::InvalidExpression, text)
            })
        };
        Ok(match self.kind {
            Kind::Count => Box::new(sums::Count::of_values()),
            Kind::CountIf => Box::new(sums::Count::of_truths()),
            Kind::Sum { .. } | Kind::Avg { .. } => {
                let mean = matches!(self.kind, Kind::Avg { .. });
                match (&first, args.return_field.data_type()) {
                    (DataType::Decimal128(_, scale), DataType::Decimal128(precision, to)) => {
                        let sum_precision = match &first {
                            DataType::Decimal128(own, _) => own.saturating_add(10).min(DECIMAL128_MAX_PRECISION),
                            _ => *precision,
                        };
                        let result = mean.then_some((*precision, *to));
                        Box::new(sums::DecimalSum::new(sum_precision, *scale, result, self.overflow()))
                    }
                    (DataType::Int64, _) => Box::new(sums::IntegerSum::new(self.overflow())),
                    _ => Box::new(sums::DoubleSum::new(mean)),
                }
            }
            Kind::Product => Box::new(sums::Product::default()),
            Kind::Extreme { greatest } => Box::new(extremes::Extreme::new(greatest, first)?),
            Kind::By { greatest } => {
                let ordering = args.expr_fields.get(1).map_or(DataType::Null, |f| f.data_type().clone());
                Box::new(extremes::By::new(greatest, first, ordering)?)
            }
            Kind::First { last } => Box::new(extremes::First::new(last, args.ignore_nulls, first)?),
            Kind::Statistic(statistic) => Box::new(moments::Moments::new(statistic)),
            Kind::ApproxCountDistinct => Box::new(bits::Hll::new(precision(&constant(1)?)?)),
            Kind::CollectList => Box::new(collections::List::new(first)),
            Kind::CollectSet => collections::set(first)?,
            Kind::CollectUnion => collections::union(first)?,
            Kind::ListAgg => {
                let delimiter = match args.exprs.len() {
                    1 => String::new(),
                    _ => text_of(&constant(1)?),
                };
                Box::new(collections::Joined::new(delimiter))
            }
            Kind::Mode => collections::mode(first)?,
            Kind::Median => collections::percentile(vec![0.5], false)?,
            Kind::Percentile => {
                let (ranks, several) = percentages(self.name, &constant(1)?)?;
                collections::percentile(ranks, several)?
            }
            Kind::PercentileApprox => {
                let (ranks, several) = percentages(self.name, &constant(1)?)?;
                let accuracy = match constant(2)?.cast_to(&DataType::Int64)? {
                    ScalarValue::Int64(Some(accuracy)) if accuracy > 0 && accuracy <= i64::from(i32::MAX) => accuracy,
                    other => {
                        let text = format!("{}(): the accuracy must lie in (0, 2147483647], not {other}", self.name);
                        return Err(
                            Error::new(ErrorCode::DatatypeMismatch, text).with_sub_condition("VALUE_OUT_OF_RANGE")
                        );
                    }
                };
                collections::percentile_approx(first, ranks, several, accuracy)?
            }
            Kind::Bool { all } => Box::new(bits::Truth::new(all)),
            Kind::Bits(operation) => Box::new(bits::Bits::new(operation, first)),
            Kind::Bitmap(operation) => Box::new(bitmaps::Bitmap::new(operation)),
        })
    }

    /// State columns of the function without DISTINCT.
    fn plain_state(&self, args: &StateFieldsArgs) -> Vec<DataType> {
        let first = args.input_fields.first().map_or(DataType::Null, |f| f.data_type().clone());
        match self.kind {
            Kind::Count | Kind::CountIf => vec![DataType::Int64],
            Kind::Sum { .. } | Kind::Avg { .. } => match &first {
                DataType::Decimal128(_, scale) => vec![sums::decimal_state(*scale), DataType::Int64],
                DataType::Int64 => vec![sums::INTEGER_STATE],
                _ => vec![DataType::Binary, DataType::Int64],
            },
            Kind::Product => vec![DataType::Float64],
            Kind::Extreme { .. } => vec![first],
            Kind::By { .. } => args.input_fields.iter().map(|f| f.data_type().clone()).collect(),
            Kind::First { .. } => vec![first, DataType::Boolean],
            Kind::Statistic(statistic) => {
                std::iter::once(DataType::Int64).chain(statistic.terms().iter().map(|_| DataType::Binary)).collect()
            }
            Kind::ApproxCountDistinct | Kind::Bitmap(_) => vec![DataType::Binary],
            Kind::CollectList | Kind::CollectSet => vec![list_of(first)],
            Kind::CollectUnion => match first {
                DataType::List(element) => vec![list_of(element.data_type().clone())],
                other => vec![other],
            },
            Kind::ListAgg => vec![list_of(DataType::Utf8)],
            Kind::Mode | Kind::Percentile | Kind::Median | Kind::PercentileApprox => {
                vec![list_of(first), list_of(DataType::Int64)]
            }
            Kind::Bool { .. } => vec![DataType::Boolean],
            Kind::Bits(_) => vec![first],
        }
    }
}

/// A constant array.
pub(crate) fn array_constant(values: ArrayRef) -> ScalarValue {
    let element = values.data_type().clone();
    collections::list_scalar(values, element)
}

/// The array type of Spark over `element`.
pub(crate) fn list_of(element: DataType) -> DataType {
    DataType::List(element_field(element))
}

/// The element field of Spark's arrays.
fn element_field(element: DataType) -> FieldRef {
    Arc::new(Field::new("element", element, true))
}

/// A constant's value.
fn constant(expr: &Arc<dyn PhysicalExpr>) -> Result<ScalarValue> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    let array: ArrayRef = expr.evaluate(&row)?.into_array(1)?;
    Ok(ScalarValue::try_from_array(&array, 0)?)
}

/// The HLL precision for the constant relative standard deviation.
pub(super) fn precision(rsd: &ScalarValue) -> Result<u8> {
    let rsd = match rsd.cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(rsd)) => rsd,
        _ => f64::NAN,
    };
    tidemill_kernels::hll::precision(rsd).ok_or_else(|| {
        Error::new(
            ErrorCode::InvalidExpression,
            format!("approx_count_distinct: the relative standard deviation {rsd} must lie between 0.00216 and 0.39"),
        )
    })
}

fn text_of(value: &ScalarValue) -> String {
    value.try_as_str().flatten().unwrap_or_default().to_string()
}

/// Constant percentages, and whether they were an array.
fn percentages(name: &str, value: &ScalarValue) -> Result<(Vec<f64>, bool)> {
    let several = matches!(value.data_type(), DataType::List(_));
    let array = match value {
        ScalarValue::List(list) if list.len() == 1 => list.value(0),
        other => other.to_array()?,
    };
    let doubles = arrow::compute::cast(&array, &DataType::Float64)?;
    let doubles = doubles.as_primitive::<Float64Type>();
    let ranks: Option<Vec<f64>> = doubles.iter().map(|p| p.filter(|p| (0.0..=1.0).contains(p))).collect();
    match ranks {
        Some(ranks) if !ranks.is_empty() || several => Ok((ranks, several)),
        _ => Err(Error::new(
            ErrorCode::DatatypeMismatch,
            format!("{name}(): the percentage must lie between 0.0 and 1.0, not {value}"),
        )
        .with_sub_condition("VALUE_OUT_OF_RANGE")),
    }
}

/// An aggregate call with the session's settings. DataFusion's functions of the names that Spark has too get Spark's meaning.
pub fn with_environment(mut call: AggregateFunction, environment: &Environment) -> AggregateFunction {
    let own = SparkAggregate::of(&call.func).cloned().or_else(|| spark_for(&call.func));
    if let Some(mut function) = own {
        function.ansi = environment.ansi;
        call.func = Arc::new(AggregateUDF::from(function));
    }
    call
}

/// The same for an aggregate over a window of rows.
pub fn over_window(function: WindowFunctionDefinition, environment: &Environment) -> WindowFunctionDefinition {
    match function {
        WindowFunctionDefinition::AggregateUDF(function) => {
            let call = AggregateFunction::new_udf(function, vec![], false, None, vec![], None);
            WindowFunctionDefinition::AggregateUDF(with_environment(call, environment).func)
        }
        other => other,
    }
}

/// Spark's function for one of DataFusion's basic aggregates.
fn spark_for(function: &AggregateUDF) -> Option<SparkAggregate> {
    let implementation: &dyn Any = function.inner().as_ref();
    let (name, kind) = if implementation.is::<theirs::count::Count>() {
        ("count", Kind::Count)
    } else if implementation.is::<theirs::sum::Sum>() {
        ("sum", Kind::Sum { or_null: false })
    } else if implementation.is::<theirs::average::Avg>() {
        ("avg", Kind::Avg { or_null: false })
    } else if implementation.is::<theirs::min_max::Min>() {
        ("min", Kind::Extreme { greatest: false })
    } else if implementation.is::<theirs::min_max::Max>() {
        ("max", Kind::Extreme { greatest: true })
    } else {
        return None;
    };
    Some(SparkAggregate::new(name, kind))
}

#[cfg(test)]
mod tests;
