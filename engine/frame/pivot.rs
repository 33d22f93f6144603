//! Pivots: the values of a column as columns.
//!
//! Comes in: a grouped frame, a column, and the values that become columns, or none, in which case they are looked for. Goes out: a frame
//! with a column for every value and aggregate. Fails: streams, values that are no constants or not of the column's type, and more values
//! than `spark.sql.pivotMaxValues`.

use super::column::{Column, IntoColumn, Operand};
use super::data_frame::DataFrame;
use super::functions::{col, lit};
use super::grouped::GroupedFrame;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::resolve::{df_schema, output_name, resolve};
use crate::plan::spark_aggregate;
use crate::plan::spark_function::SparkFunction;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ExprSchemable};

/// The column whose values become columns, and these values with the names of their columns.
#[derive(Clone)]
pub(super) struct Pivot {
    column: Column,
    values: Vec<(Expr, String)>,
}

impl GroupedFrame {
    /// Makes a column of each of the values that `column` may have; the aggregates that follow are computed for each of them.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let sales = session.sql("SELECT * FROM VALUES ('Oslo', 'a', 1), ('Moss', 'b', 2) AS t(city, item, n)").await?;
    /// let wide = sales.group_by(["city"])?.pivot("item", ["a", "b"])?.agg([sum("n")])?;
    /// assert_eq!(wide.schema().field(1).name(), "a");
    /// let found = sales.group_by(["city"])?.pivot_distinct("item").await?.agg([sum("n")])?;
    /// assert_eq!(found.schema(), wide.schema());
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// A second pivot, a pivot of several sets of keys, unknown columns, values that are no constants of the column's type.
    pub fn pivot<V: Operand>(
        &self,
        column: impl IntoColumn,
        values: impl IntoIterator<Item = V>,
    ) -> Result<GroupedFrame> {
        if self.pivot.is_some() || self.sets.is_some() {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "pivot() follows a group_by() once, and neither rollup(), cube() nor grouping sets; select from the grouped frame and pivot that",
            ));
        }
        let column = column.into_column();
        let environment = self.frame.session().conf().environment()?;
        let key = resolve(self.frame.expression(column.clone())?, &self.frame.plan().scope(), &environment)?;
        let wanted = key.get_type(df_schema(self.frame.schema())?.as_ref())?;
        let mut constants = Vec::new();
        for value in values {
            let value = self.frame.expression(value.operand())?;
            let name = match &value {
                Expr::Alias(alias) => Some(alias.name.clone()),
                _ => None,
            };
            let literal = |expr: &Expr| match SparkFunction::constant(expr)? {
                Expr::Literal(value, _) => Ok(value),
                other => Err(Error::new(
                    ErrorCode::InvalidExpression,
                    format!(
                        "pivot(): the value {other} is no constant; write the values of the column, or leave them out"
                    ),
                )),
            };
            let cast = |value: &ScalarValue, to: &DataType| match value.data_type() == *to {
                true => Ok(value.clone()),
                false => literal(
                    &SparkFunction::cast(to.clone(), false)
                        .within(&environment)
                        .call(vec![Expr::Literal(value.clone(), None)]),
                ),
            };
            let plain = literal(crate::plan::resolve::strip_alias(&value))?;
            let name = match name {
                Some(name) => name,
                None => match cast(&plain, &DataType::Utf8)?.try_as_str().flatten() {
                    Some(text) => text.to_string(),
                    None => "null".to_string(),
                },
            };
            constants.push((Expr::Literal(cast(&plain, &wanted)?, None), name));
        }
        Ok(GroupedFrame { pivot: Some(Pivot { column, values: constants }), ..self.clone() })
    }

    /// [`GroupedFrame::pivot`] for every value that the column has, in ascending order.
    ///
    /// # Errors
    /// As [`GroupedFrame::pivot`]; streams, more values than `spark.sql.pivotMaxValues`, and what reading fails with.
    pub async fn pivot_distinct(&self, column: impl IntoColumn) -> Result<GroupedFrame> {
        let column = column.into_column();
        if self.frame.is_streaming() {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "pivot is not supported on a stream, whose values are never all there; use filtered aggregates, or pivot in foreach_batch",
            ));
        }
        let most = self.frame.session().conf().pivot_max_values()?;
        let values = self.frame.select([column.clone().alias("value")])?.distinct()?.limit(most as u64 + 1);
        let batches = values.sort([col("value").asc()?])?.collect().await?;
        let mut found = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                found.push(Column(Ok(Expr::Literal(ScalarValue::try_from_array(batch.column(0), row)?, None))));
            }
        }
        if found.len() > most {
            let name = output_name(&self.frame.expression(column)?);
            return Err(Error::new(
                ErrorCode::InvalidExpression,
                format!(
                    "the pivot column {name} has more than {most} distinct values, this could indicate an error. If this was intended, \
                     set spark.sql.pivotMaxValues to at least the number of distinct values of the pivot column"
                ),
            ));
        }
        self.pivot(column, found)
    }

    /// Aggregates by the keys and the pivot's column, then puts each value's aggregates beside one another.
    pub(super) fn pivoted(&self, pivot: &Pivot, aggregates: Vec<Column>) -> Result<DataFrame> {
        let width = self.keys.len();
        let mut names = Vec::new();
        for aggregate in &aggregates {
            names.push(output_name(&self.frame.expression(aggregate.clone())?));
        }
        let key = self.frame.group_by([pivot.column.clone()])?.keys;
        let keys = self.keys.iter().cloned().chain(key).collect();
        let grouped = GroupedFrame { frame: self.frame.clone(), keys, sets: None, pivot: None };
        let long = grouped.agg(aggregates)?;
        let scope = long.plan().scope();
        let column = |at: usize| {
            let reference = scope.reference_to(at).ok_or_else(|| Error::internal("a column without a place"))?;
            Ok(Column(Ok(reference)))
        };
        let mut outputs = Vec::new();
        for (value, name) in &pivot.values {
            for (at, aggregate) in names.iter().enumerate() {
                let of_value = column(width)?.eq_null_safe(Column(Ok(value.clone())));
                let there = super::functions::when(of_value, column(width + 1 + at)?);
                let first = spark_aggregate::call("first", vec![there.0?, lit(true).0?], false);
                let first = first.ok_or_else(|| Error::internal("no aggregate first"))??;
                let name = if names.len() == 1 { name.clone() } else { format!("{name}_{aggregate}") };
                outputs.push(Column(Ok(first)).alias(name));
            }
        }
        let keys = (0..width).map(column).collect::<Result<Vec<_>>>()?;
        long.group_by(keys)?.agg(outputs)
    }
}
