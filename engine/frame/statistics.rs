//! Statistics of a table's columns, as tables: what `describe`, `summary` and PySpark's `stat` functions give.
//!
//! Comes in: a table and the names of columns. Goes out: a table, which is computed when its rows are asked for; a table of pairs is the
//! exception, because its columns are values. Fails: unknown columns, columns of other types than a statistic is of, streams when they are
//! computed.

use super::column::Column;
use super::data_frame::DataFrame;
use super::functions::{col, count_all, when};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::cast::sql_name;
use crate::plan::spark_function::SparkFunction;
use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::prelude as df;

/// The statistics of [`DataFrame::summary`] where none are named.
const SUMMARY: &[&str] = &["count", "mean", "stddev", "min", "25%", "50%", "75%", "max"];

impl DataFrame {
    /// Count, mean, standard deviation, least and greatest value of the columns, as texts; of all columns of numbers and texts if none
    /// is named.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let numbers = DataFrame::range(&session, 0, 10, 1)?;
    /// assert_eq!(numbers.describe(&[])?.count().await?, 5);
    /// assert_eq!(numbers.summary(&["75%", "max"])?.count().await?, 2);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Unknown columns.
    pub fn describe(&self, columns: &[&str]) -> Result<Self> {
        let frame = match columns {
            [] => self.clone(),
            named => self.select(self.named_columns(named)?)?,
        };
        frame.summarized(&["count", "mean", "stddev", "min", "max"])
    }

    /// The named statistics of all columns of numbers and texts, as texts: `count`, `mean`, `stddev`, `min`, `max`, `count_distinct`,
    /// `approx_count_distinct` and percentiles such as `25%`; if none is named, those that [`DataFrame::describe`] gives, and quartiles.
    ///
    /// # Errors
    /// Names that are no statistic.
    pub fn summary(&self, statistics: &[&str]) -> Result<Self> {
        self.summarized(if statistics.is_empty() { SUMMARY } else { statistics })
    }

    fn summarized(&self, statistics: &[&str]) -> Result<Self> {
        let registry = self.session().functions();
        let columns = self.plan().scope().all().into_iter().zip(self.schema().fields());
        let columns: Vec<(Expr, String, bool)> = columns
            .filter(|(_, field)| field.data_type().is_numeric() || *field.data_type() == DataType::Utf8)
            .map(|(column, field)| (column, field.name().clone(), *field.data_type() == DataType::Utf8))
            .collect();
        let (mut calls, mut rows) = (Vec::new(), Vec::new());
        for statistic in statistics {
            let mut cells = vec![df::lit("summary"), df::lit(*statistic)];
            for (column, _, is_text) in &columns {
                let number = match is_text {
                    true => SparkFunction::cast(DataType::Float64, true).call(vec![column.clone()]),
                    false => column.clone(),
                };
                let call = match *statistic {
                    "count" | "min" | "max" | "approx_count_distinct" => {
                        registry.call(statistic, vec![column.clone()], false)?
                    }
                    "count_distinct" => registry.call("count", vec![column.clone()], true)?,
                    "mean" | "stddev" => registry.call(statistic, vec![number], false)?,
                    other => registry.call("percentile_approx", vec![number, df::lit(percentile(other)?)], false)?,
                };
                let name = format!("s{}", calls.len());
                cells.extend([df::lit(format!("c{}", cells.len())), text(col(&name).0?)]);
                calls.push(Column(Ok(call)).alias(name));
            }
            rows.push(registry.call("named_struct", cells, false)?);
        }
        let one = match calls.is_empty() {
            true => self.agg([count_all().alias("s")])?,
            false => self.agg(calls)?,
        };
        let width = one.schema().fields().len();
        let rows = registry.call("inline", vec![registry.call("array", rows, false)?], false)?;
        let rows = one.generate(rows, &[], None)?;
        let made = rows.plan().scope().all().split_off(width);
        let names = std::iter::once("summary".to_string()).chain(columns.into_iter().map(|(_, name, _)| name));
        rows.project(made.into_iter().zip(names).map(|(column, name)| column.alias(name)).collect())
    }

    fn named_columns(&self, names: &[&str]) -> Result<Vec<Column>> {
        let scope = self.plan().scope();
        let column = |at: usize| scope.reference_to(at).map(|e| Column(Ok(e)));
        let columns = self.positions_of(names)?.into_iter().map(column).collect::<Option<Vec<_>>>();
        columns.ok_or_else(|| Error::internal("a column without a place"))
    }

    /// Columns of numbers, as doubles.
    fn numbers(&self, statistic: &str, names: &[&str]) -> Result<Vec<Column>> {
        let columns = self.named_columns(names)?;
        for at in self.positions_of(names)? {
            let field = self.schema().field(at);
            if !field.data_type().is_numeric() {
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!(
                        "{statistic}: the column {:?} is {}, not a number; cast it",
                        field.name(),
                        sql_name(field.data_type())
                    ),
                ));
            }
        }
        Ok(columns.into_iter().map(|column| column.cast("double")).collect())
    }

    fn of_pairs(&self, function: &str, name: &str, left: &str, right: &str, without: f64) -> Result<Self> {
        let columns = self.numbers(name, &[left, right])?;
        let arguments = columns.into_iter().map(|column| column.0).collect::<Result<Vec<_>>>()?;
        let call = self.session().functions().call(function, arguments, false)?;
        let value = datafusion::functions::core::expr_fn::coalesce(vec![call, df::lit(without)]);
        self.agg([Column(Ok(value)).alias(name)])
    }

    /// The sample covariance of two columns, in a column `cov`.
    ///
    /// # Errors
    /// Unknown columns, and columns that are no numbers.
    pub fn cov(&self, left: &str, right: &str) -> Result<Self> {
        self.of_pairs("covar_samp", "cov", left, right, COV_WITHOUT_ROWS)
    }

    /// Pearson's correlation of two columns, in a column `corr`.
    ///
    /// # Errors
    /// Unknown columns, and columns that are no numbers.
    pub fn corr(&self, left: &str, right: &str) -> Result<Self> {
        self.of_pairs("corr", "corr", left, right, f64::NAN)
    }

    /// For each column the values at these parts of its order, as an array of arrays in a column `approx_quantile`; NULL and NaN are left
    /// out. The values are exact up to 10,000 distinct ones, and closer than `relative_error` beyond.
    ///
    /// # Errors
    /// Unknown columns, columns that are no numbers, parts outside of [0, 1], a negative error.
    pub fn approx_quantile(&self, columns: &[&str], probabilities: &[f64], relative_error: f64) -> Result<Self> {
        if !probabilities.iter().all(|p| (0.0..=1.0).contains(p)) || relative_error.is_nan() || relative_error < 0.0 {
            return Err(Error::new(
                ErrorCode::InvalidParameterValue,
                "approx_quantile: the probabilities must lie in [0, 1], and the relative error must not be negative",
            ));
        }
        let registry = self.session().functions();
        let accuracy = match relative_error {
            exact if exact <= 1.0 / f64::from(i32::MAX) => i32::MAX,
            error => (1.0 / error).ceil().max(1.0) as i32,
        };
        let parts: Vec<Expr> = probabilities.iter().map(|p| df::lit(*p)).collect();
        let parts = SparkFunction::constant(&SparkFunction::named("array")?.call(parts))?;
        let mut arrays = Vec::new();
        for column in self.numbers("approx_quantile", columns)? {
            let is_nan = Column(Ok(registry.call("isnan", vec![column.clone().0?], false)?));
            let value = when(!is_nan, column).0?;
            let values = registry.call("percentile_approx", vec![value, parts.clone(), df::lit(accuracy)], false)?;
            let none = SparkFunction::cast(crate::functions::builtin::list_of(DataType::Float64), false)
                .call(vec![registry.call("array", vec![], false)?]);
            arrays.push(datafusion::functions::core::expr_fn::coalesce(vec![values, none]));
        }
        self.agg([Column(Ok(registry.call("array", arrays, false)?)).alias("approx_quantile")])
    }

    /// Arrays of the values that stand in more than the part `support` of the rows, and possibly of others, in a column `x_freqItems` for
    /// each column `x`.
    ///
    /// # Errors
    /// Unknown columns, and a support outside of [0.0001, 1].
    pub fn freq_items(&self, columns: &[&str], support: f64) -> Result<Self> {
        if !(1e-4..=1.0).contains(&support) {
            return Err(Error::new(
                ErrorCode::InvalidParameterValue,
                format!("freq_items: the support {support} must lie in [0.0001, 1]"),
            ));
        }
        let registry = self.session().functions();
        let mut frequent = Vec::new();
        for (column, at) in self.named_columns(columns)?.into_iter().zip(self.positions_of(columns)?) {
            // NULL is a value here, which lists of plain values leave out.
            let row = registry.call("named_struct", vec![df::lit("value"), column.0?], false)?;
            let rows = registry.call("collect_list", vec![row], false)?;
            let found = SparkFunction::named("frequent_items")?.call(vec![rows, df::lit(support)]);
            frequent.push(Column(Ok(found)).alias(format!("{}_freqItems", self.schema().field(at).name())));
        }
        self.agg(frequent)
    }

    /// How often each value of one column stands beside each value of another: a row for each of the one, a column for each of the other.
    ///
    /// # Errors
    /// Streams, unknown columns, more values of the second column than `spark.sql.pivotMaxValues`, and what reading fails with.
    pub async fn crosstab(&self, left: &str, right: &str) -> Result<Self> {
        let columns = self.named_columns(&[left, right])?.into_iter();
        let texts = columns.map(|column| Ok(Column(Ok(text(column.0?)))));
        let texts = texts.collect::<Result<Vec<Column>>>()?.into_iter().zip(["left", "right"]);
        let pairs = self.select(texts.map(|(column, name)| {
            let there = column.clone().is_not_null();
            when(there, column).otherwise("null").alias(name)
        }))?;
        let key = format!("{left}_{right}");
        let pivoted = pairs.group_by(["left"])?.pivot_distinct("right").await?.count()?;
        let counts = pivoted.na_fill(0i64, &[])?;
        let named = counts.plan().scope().all().into_iter().zip(counts.schema().fields()).enumerate();
        let names = named.map(|(at, (column, field))| column.alias(if at == 0 { &key } else { field.name() }));
        counts.project(names.collect())
    }
}

/// What the covariance of no rows is.
const COV_WITHOUT_ROWS: f64 = 0.0;

fn text(expr: Expr) -> Expr {
    SparkFunction::cast(DataType::Utf8, false).call(vec![expr])
}

/// `25%` as 0.25.
fn percentile(name: &str) -> Result<f64> {
    let number = name.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number.map(|percent| percent / 100.0).filter(|part| (0.0..=1.0).contains(part)).ok_or_else(|| {
        Error::new(
            ErrorCode::InvalidParameterValue,
            format!(
                "summary: {name:?} is no statistic; there are count, mean, stddev, min, max, count_distinct, approx_count_distinct and \
                 percentiles such as 25%"
            ),
        )
    })
}
