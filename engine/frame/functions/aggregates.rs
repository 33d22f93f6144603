//! Spark's aggregate functions for `agg`, by Spark's names.
//!
//! Comes in: columns or column names. Goes out: [`Column`]s that stand for a call; [`Column::filter_where`] limits the rows that a call
//! sees. They work on streams and tables alike; those that no kernel computes run on the host.

use crate::error::{Error, ErrorCode, Result};
use crate::frame::column::{Column, IntoColumn};
use crate::plan::spark_aggregate;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::prelude as df;

/// A call by name.
fn call(name: &str, args: impl IntoIterator<Item = Column>, distinct: bool) -> Column {
    let args: Result<Vec<Expr>> = args.into_iter().map(|c| c.0).collect();
    Column(args.and_then(|args| {
        spark_aggregate::call(name, args, distinct)
            .unwrap_or_else(|| Err(Error::internal(format!("there is no aggregate {name}"))))
    }))
}

fn constant(value: impl Into<ScalarValue>) -> Column {
    Column(Ok(Expr::Literal(value.into(), None)))
}

/// The percentages of [`percentile`] and [`percentile_approx`]: one number, or several for an array of results.
pub trait Percentages {
    /// The percentages as a constant.
    fn percentages(self) -> Column;
}

impl Percentages for f64 {
    fn percentages(self) -> Column {
        constant(self)
    }
}

impl Percentages for Column {
    fn percentages(self) -> Column {
        self
    }
}

impl Percentages for &[f64] {
    fn percentages(self) -> Column {
        let values: arrow::array::Float64Array = self.iter().map(|p| Some(*p)).collect();
        constant(spark_aggregate::array_constant(std::sync::Arc::new(values)))
    }
}

impl<const N: usize> Percentages for [f64; N] {
    fn percentages(self) -> Column {
        self.as_slice().percentages()
    }
}

macro_rules! of_one {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        pub fn $name(column: impl IntoColumn) -> Column {
            call(stringify!($name), [column.into_column()], false)
        }
    )*};
}

macro_rules! of_two {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        pub fn $name(first: impl IntoColumn, second: impl IntoColumn) -> Column {
            call(stringify!($name), [first.into_column(), second.into_column()], false)
        }
    )*};
}

of_one! {
    /// Number of rows where the column is not NULL; `count("*")` and [`count_all`] count rows.
    count,
    /// Number of rows where the condition is TRUE.
    count_if,
    /// Sum: `bigint` of integers, `double` of floats (exact, rounded once), ten more digits of decimals. NULL where there is no value.
    sum,
    /// [`sum`], but NULL where the sum is outside its type.
    try_sum,
    /// Mean: a double (of the exact sum, rounded once), or a decimal with four more digits. NULL where there is no value.
    avg,
    /// [`avg`], but NULL where a sum of decimals is outside its type.
    try_avg,
    /// Product of the values as doubles.
    product,
    /// Least value. NULL where there is no value.
    min,
    /// Greatest value; NaN is greater than every number. NULL where there is no value.
    max,
    /// The first row's value, which may be NULL.
    first,
    /// The last row's value, which may be NULL.
    last,
    /// Some row's value: here, the first one's.
    any_value,
    /// Deviation of a sample; NULL of fewer than two values.
    stddev,
    /// [`stddev`].
    stddev_samp,
    /// Deviation of a population.
    stddev_pop,
    /// Variance of a sample; NULL of fewer than two values.
    variance,
    /// [`variance`].
    var_samp,
    /// Variance of a population.
    var_pop,
    /// Skewness; NULL where all values are equal.
    skewness,
    /// Excess kurtosis; NULL where all values are equal.
    kurtosis,
    /// The values in the order of the input, without NULLs. The array grows with its group: bound it by a window.
    collect_list,
    /// [`collect_list`].
    array_agg,
    /// The distinct values without NULLs, ascending (Spark's order is arbitrary).
    collect_set,
    /// The most frequent value; the least of several.
    mode,
    /// The interpolated middle value as a double.
    median,
    /// Whether every value is TRUE.
    bool_and,
    /// Whether any value is TRUE.
    bool_or,
    /// [`bool_and`].
    every,
    /// [`bool_or`].
    some,
    /// The bits that every integer has.
    bit_and,
    /// The bits that any integer has.
    bit_or,
    /// The bits that an odd number of integers have.
    bit_xor,
}

of_two! {
    /// The first column's value where the second one is greatest.
    max_by,
    /// The first column's value where the second one is least.
    min_by,
    /// Correlation of pairs; NULL where either column has one value only.
    corr,
    /// Covariance of a sample of pairs.
    covar_samp,
    /// Covariance of a population of pairs.
    covar_pop,
    /// Number of pairs without NULL.
    regr_count,
    /// Mean of the second column, the independent one, over pairs.
    regr_avgx,
    /// Mean of the first column, the dependent one, over pairs.
    regr_avgy,
    /// Sum of squared deviations of the second column.
    regr_sxx,
    /// Sum of squared deviations of the first column.
    regr_syy,
    /// Sum of products of deviations.
    regr_sxy,
    /// Slope of the line of least squares.
    regr_slope,
    /// Where the line of least squares meets the first column's axis.
    regr_intercept,
    /// Coefficient of determination.
    regr_r2,
}

/// [`avg`].
pub fn mean(column: impl IntoColumn) -> Column {
    avg(column)
}

/// Number of rows.
pub fn count_all() -> Column {
    count("*")
}

/// The columns of a call: one, or several in an array or vector.
pub trait Columns {
    /// The columns.
    fn columns(self) -> Vec<Column>;
}

impl<C: IntoColumn> Columns for C {
    fn columns(self) -> Vec<Column> {
        vec![self.into_column()]
    }
}

impl<C: IntoColumn, const N: usize> Columns for [C; N] {
    fn columns(self) -> Vec<Column> {
        self.into_iter().map(IntoColumn::into_column).collect()
    }
}

impl<C: IntoColumn> Columns for Vec<C> {
    fn columns(self) -> Vec<Column> {
        self.into_iter().map(IntoColumn::into_column).collect()
    }
}

/// Number of distinct values, or of distinct rows of several columns without a NULL; exact. Spark refuses this on a stream.
///
/// ```
/// use tidemill::prelude::*;
/// let calls = [count_distinct("driver"), count_distinct(["driver", "city"])];
/// # let _ = calls;
/// ```
pub fn count_distinct(columns: impl Columns) -> Column {
    call("count", columns.columns(), true)
}

/// Sum of the distinct values.
pub fn sum_distinct(column: impl IntoColumn) -> Column {
    call("sum", [column.into_column()], true)
}

/// Mean of the distinct values.
pub fn avg_distinct(column: impl IntoColumn) -> Column {
    call("avg", [column.into_column()], true)
}

/// The first value that is not NULL.
pub fn first_ignore_nulls(column: impl IntoColumn) -> Column {
    call("first", [column.into_column(), constant(true)], false)
}

/// The last value that is not NULL.
pub fn last_ignore_nulls(column: impl IntoColumn) -> Column {
    call("last", [column.into_column(), constant(true)], false)
}

/// Some value that is not NULL: here, the first one.
pub fn any_value_ignore_nulls(column: impl IntoColumn) -> Column {
    call("any_value", [column.into_column(), constant(true)], false)
}

/// Estimated number of distinct values with a relative standard deviation of 5 %, equal to Spark's estimate.
pub fn approx_count_distinct(column: impl IntoColumn) -> Column {
    approx_count_distinct_with_rsd(column, spark_aggregate::DEFAULT_RSD)
}

/// Estimated number of distinct values with relative standard deviation `rsd`, at most 0.39.
pub fn approx_count_distinct_with_rsd(column: impl IntoColumn, rsd: f64) -> Column {
    call("approx_count_distinct", [column.into_column(), constant(rsd)], false)
}

/// The value at each percentage (0.0 to 1.0) of the values in order. Values are counted, so the answer is exact whatever the
/// `accuracy` (Spark's default is 10000), and the state grows with the number of distinct values.
///
/// ```
/// use tidemill::prelude::*;
/// let quartiles = percentile_approx("fare", [0.25, 0.5, 0.75], 10_000).alias("quartiles");
/// # let _ = quartiles;
/// ```
pub fn percentile_approx(column: impl IntoColumn, percentages: impl Percentages, accuracy: i32) -> Column {
    call("percentile_approx", [column.into_column(), percentages.percentages(), constant(accuracy)], false)
}

/// The interpolated value at each percentage (0.0 to 1.0), as a double.
pub fn percentile(column: impl IntoColumn, percentages: impl Percentages) -> Column {
    call("percentile", [column.into_column(), percentages.percentages()], false)
}

/// The texts in the order of the input, with `delimiter` between them.
pub fn listagg(column: impl IntoColumn, delimiter: &str) -> Column {
    call("listagg", [column.into_column(), Column(Ok(df::lit(delimiter)))], false)
}

impl Column {
    /// `FILTER (WHERE condition)`: the aggregate call sees only rows for which `condition` is TRUE.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let completed = count_all().filter_where(col("status").eq("completed")).alias("completed");
    /// # let _ = completed;
    /// ```
    pub fn filter_where(self, condition: Column) -> Column {
        Column(self.0.and_then(|e| {
            let Expr::AggregateFunction(mut call) = e else {
                return Err(Error::new(
                    ErrorCode::InvalidExpression,
                    "filter_where() follows an aggregate call, before alias(); call it on count(...), sum(...) and the like",
                ));
            };
            let condition = condition.0?;
            call.params.filter = Some(Box::new(match call.params.filter.take() {
                Some(before) => before.and(condition),
                None => condition,
            }));
            Ok(Expr::AggregateFunction(call))
        }))
    }
}
