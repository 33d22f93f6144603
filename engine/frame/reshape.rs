//! Columns under other names, as rows, and as a schema has them.
//!
//! Comes in: a frame. Goes out: one with other columns. Fails: columns that there are not, and types that do not fit together.

use super::column::{Column, IntoColumn};
use super::data_frame::DataFrame;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::cast::{CastOptions, cast, sql_name};
use crate::plan::coerce::common_type;
use crate::plan::resolve::{output_name, resolve};
use crate::plan::sequence::Sequence;
use crate::plan::spark_function::SparkFunction;
use crate::types::IntoSchema;
use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::prelude::lit;
use std::sync::Arc;

/// Spark's `spark.sql.transposeMaxValues`: most rows that become columns.
const TRANSPOSE_MAX: usize = 500;

impl DataFrame {
    /// The same columns under these names.
    ///
    /// # Errors
    /// Another number of names than of columns.
    pub fn to_df(&self, names: &[&str]) -> Result<Self> {
        let columns = self.plan().scope().all();
        if columns.len() != names.len() {
            return Err(Error::new(
                ErrorCode::NumColumnsMismatch,
                format!("to_df: there are {} columns and {} names; name each column", columns.len(), names.len()),
            ));
        }
        self.project(columns.into_iter().zip(names).map(|(column, name)| column.alias(*name)).collect())
    }

    /// The same columns, of which those called by the first of a pair are called by the second.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn with_columns_renamed(&self, pairs: &[(&str, &str)]) -> Result<Self> {
        self.changed_names(|name| {
            // Each pair sees what those before it have made.
            pairs.iter().fold(name.to_string(), |name, (from, to)| match name.eq_ignore_ascii_case(from) {
                true => (*to).to_string(),
                false => name,
            })
        })
    }

    fn changed_names(&self, rename: impl Fn(&str) -> String) -> Result<Self> {
        let columns = self.plan().scope().all().into_iter().zip(self.schema().fields());
        let renamed = columns.map(|(column, field)| match rename(field.name()) {
            same if same == *field.name() => column,
            other => column.alias(other),
        });
        self.project(renamed.collect())
    }

    /// All columns but those that the expressions stand for; an expression that is no column of the frame is passed over, as in Spark.
    ///
    /// # Errors
    /// Ambiguous names.
    pub fn drop_columns<C: IntoColumn>(&self, columns: impl IntoIterator<Item = C>) -> Result<Self> {
        let (scope, environment) = (self.plan().scope(), self.session().conf().environment()?);
        let mut dropped = Vec::new();
        for column in columns {
            let expr = self.expression(column.into_column())?;
            // Every column of a name goes.
            if let Expr::Column(named) = &expr
                && named.relation.is_none()
            {
                let name = output_name(&expr);
                dropped.extend(
                    (0..scope.names().len()).filter(|at| self.schema().field(*at).name().eq_ignore_ascii_case(&name)),
                );
                continue;
            }
            match resolve(expr, &scope, &environment) {
                Ok(Expr::Column(found)) => dropped.extend(scope.position(&found.name)),
                Err(error) if error.code() == ErrorCode::AmbiguousReference => return Err(error),
                _ => {}
            }
        }
        let kept = scope.all().into_iter().enumerate().filter(|(at, _)| !dropped.contains(at));
        self.project(kept.map(|(_, column)| column).collect())
    }

    /// The columns of a schema, in its order and of its types, by their names; one that the frame lacks is NULL. `DataFrame.to` in Spark.
    ///
    /// # Errors
    /// Schemas that do not parse, names that are ambiguous, and types that a value cannot be stored as, such as a text as a number.
    pub fn to_schema(&self, schema: impl IntoSchema) -> Result<Self> {
        let schema = schema.into_schema()?;
        let scope = self.plan().scope();
        let mut columns = Vec::new();
        for field in &schema.fields {
            let to = field.data_type.to_arrow();
            let mut places =
                (0..scope.names().len()).filter(|at| self.schema().field(*at).name().eq_ignore_ascii_case(&field.name));
            let expr = match (places.next(), places.next()) {
                (None, _) if field.nullable => Expr::Literal(ScalarValue::try_from(&to)?, None),
                (None, _) => {
                    let message =
                        format!("to_schema: the frame has no column {:?}, which must not be NULL; add it", field.name);
                    return Err(Error::new(ErrorCode::UnresolvedColumn, message));
                }
                (Some(_), Some(_)) => {
                    let message = format!("to_schema: several columns are called {:?}; rename them", field.name);
                    return Err(Error::new(ErrorCode::AmbiguousReference, message));
                }
                (Some(at), None) => {
                    let from = self.schema().field(at).data_type().clone();
                    let column = scope.reference_to(at).ok_or_else(|| Error::internal("a column without a place"))?;
                    match (from == to, storable(&from, &to)) {
                        (true, _) => column,
                        (false, true) => SparkFunction::cast(to, false).call(vec![column]),
                        (false, false) => {
                            let (from, to) = (sql_name(&from), sql_name(&to));
                            let message = format!(
                                "to_schema: the column {:?} is {from}, which cannot be stored as {to}; cast it",
                                field.name
                            );
                            return Err(Error::new(ErrorCode::DatatypeMismatch, message));
                        }
                    }
                }
            };
            columns.push(expr.alias(&field.name));
        }
        self.project(columns)
    }

    /// A row for each of the `values` columns of each row, with its name and its value beside the `ids`; without `values`, for all other
    /// columns. `melt` in pandas.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let wide = session.sql("SELECT 1 AS id, 10 AS a, 20L AS b").await?;
    /// let long = wide.unpivot(["id"], None::<[&str; 0]>, "name", "value")?;
    /// assert_eq!(long.count().await?, 2);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Unknown columns, no column to unpivot, and values that have no type in common.
    #[doc(alias = "melt")]
    pub fn unpivot<I: IntoColumn, V: IntoColumn>(
        &self,
        ids: impl IntoIterator<Item = I>,
        values: Option<impl IntoIterator<Item = V>>,
        variable: &str,
        value: &str,
    ) -> Result<Self> {
        let (scope, environment) = (self.plan().scope(), self.session().conf().environment()?);
        let resolved = |column: Column| -> Result<(Expr, String)> {
            let expr = self.expression(column)?;
            let name = output_name(&expr);
            resolve(expr.clone(), &scope, &environment).map(|_| (expr, name))
        };
        let ids: Vec<(Expr, String)> = ids.into_iter().map(|c| resolved(c.into_column())).collect::<Result<_>>()?;
        let values: Vec<(Expr, String)> = match values {
            Some(values) => values.into_iter().map(|c| resolved(c.into_column())).collect::<Result<_>>()?,
            None => {
                let taken = ids.iter().map(|(expr, _)| resolve(expr.clone(), &scope, &environment));
                let taken = taken.collect::<Result<Vec<_>>>()?;
                let named = scope.names().iter().zip(scope.all()).zip(self.schema().fields());
                let others = named.filter(|((own, _), _)| !taken.contains(&crate::plan::scope::reference(own)));
                others.map(|((_, column), field)| (column, field.name().clone())).collect()
            }
        };
        let picked = self.project(values.iter().map(|(expr, _)| expr.clone()).collect())?;
        let types: Vec<DataType> = picked.schema().fields().iter().map(|f| f.data_type().clone()).collect();
        let common = common_type(&types).filter(|_| !types.is_empty()).ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|(_, name)| name.as_str()).collect();
            Error::new(
                ErrorCode::DatatypeMismatch,
                format!(
                    "unpivot: the value columns [{}] have no type in common; name some that have, or cast them",
                    names.join(", ")
                ),
            )
        })?;
        let registry = self.session().functions();
        let mut rows = Vec::new();
        for ((expr, name), data_type) in values.into_iter().zip(&types) {
            let cell = match *data_type == common {
                true => expr,
                false => SparkFunction::cast(common.clone(), false).call(vec![expr]),
            };
            rows.push(registry.call("named_struct", vec![lit(variable), lit(name), lit(value), cell], false)?);
        }
        let rows = registry.call("array", rows, false)?;
        let long = self.generate(registry.call("inline", vec![rows], false)?, &[], None)?;
        let made = long.plan().scope().all().split_off(self.schema().fields().len());
        long.project(ids.into_iter().map(|(expr, _)| expr).chain(made).collect())
    }

    /// Rows as columns: the values of `index`, or of the first column, name them, and the names of the other columns stand in `key`. Rows
    /// without a value in the index are left out.
    ///
    /// # Errors
    /// Streams, columns that have no type in common, more than 500 rows, and what reading fails with.
    pub async fn transpose(&self, index: Option<&str>) -> Result<Self> {
        let at = match index {
            Some(name) => self.positions_of(&[name])?,
            None => (0..self.schema().fields().len().min(1)).collect(),
        };
        let Some(at) = at.first().copied() else {
            let nothing = Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, true)]));
            return Self::from_batches(self.session(), nothing, vec![]);
        };
        let scope = self.plan().scope();
        let index = scope.reference_to(at).ok_or_else(|| Error::internal("a column without a place"))?;
        let kept = self.filter(Column(Ok(index.clone().is_not_null())))?.with_sequences(vec![Sequence::RowNumber]);
        // Rows of one value keep their order.
        let place = kept.plan().scope().all().pop().ok_or_else(|| Error::internal("a row without a place"))?;
        let kept = kept.sort([index.sort(true, true), place.sort(true, true)])?.limit(TRANSPOSE_MAX as u64 + 1);
        let rows = kept.project(self.plan().scope().all())?.collect().await?;
        let rows = arrow::compute::concat_batches(self.schema(), &rows)?;
        if rows.num_rows() > TRANSPOSE_MAX {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "transpose: more than {TRANSPOSE_MAX} rows would become columns; filter or aggregate them first"
                ),
            ));
        }
        let others: Vec<usize> = (0..rows.num_columns()).filter(|other| *other != at).collect();
        let types: Vec<DataType> = others.iter().map(|other| rows.column(*other).data_type().clone()).collect();
        let common = common_type(&types).ok_or_else(|| {
            let message = "transpose: the columns have no type in common; select some that have, or cast them";
            Error::new(ErrorCode::DatatypeMismatch, message)
        })?;
        let environment = self.session().conf().environment()?;
        let options = CastOptions { ansi: environment.ansi, time_zone: environment.time_zone };
        let cells: Vec<ArrayRef> =
            others.iter().map(|other| cast(rows.column(*other), &common, options)).collect::<Result<_>>()?;
        let names = cast(rows.column(at), &DataType::Utf8, options)?;
        let names =
            names.as_any().downcast_ref::<StringArray>().ok_or_else(|| Error::internal("names that are no texts"))?;
        let keys: StringArray = others.iter().map(|other| Some(self.schema().field(*other).name().clone())).collect();
        let mut fields = vec![Field::new("key", DataType::Utf8, true)];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(keys)];
        let parts: Vec<&dyn Array> = cells.iter().map(AsRef::as_ref).collect();
        for row in 0..rows.num_rows() {
            let picked: Vec<(usize, usize)> = (0..parts.len()).map(|part| (part, row)).collect();
            fields.push(Field::new(names.value(row), common.clone(), true));
            columns.push(match parts.is_empty() {
                true => arrow::array::new_empty_array(&common),
                false => interleave(&parts, &picked)?,
            });
        }
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), columns)?;
        Self::from_batches(self.session(), schema, vec![batch])
    }
}

/// Whether Spark stores values of one type as another without being asked to cast them.
fn storable(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, List, Null, Struct, Timestamp, Utf8};
    match (from, to) {
        (Null, _) => true,
        (from, to) if from == to => true,
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (from, Utf8) => !from.is_nested(),
        (Date32 | Timestamp(..), Date32 | Timestamp(..)) => true,
        (List(from), List(to)) => storable(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            from.len() == to.len()
                && from
                    .iter()
                    .zip(to)
                    .all(|(f, t)| f.name().eq_ignore_ascii_case(t.name()) && storable(f.data_type(), t.data_type()))
        }
        _ => false,
    }
}
