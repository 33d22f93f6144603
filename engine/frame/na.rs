//! Missing values: NULL and, in columns of doubles, NaN.
//!
//! Comes in: columns by name, none for all, and what to put in place of what. Goes out: a frame of the same columns. Fails: columns that
//! there are not.

use super::column::{Column, Operand, null};
use super::data_frame::DataFrame;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::resolve::{quoted, strip_alias};
use crate::plan::spark_function::SparkFunction;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use datafusion::prelude::lit;

/// Which columns a constant can fill or replace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Number,
    Text,
    Truth,
}

fn family(data_type: &DataType) -> Option<Family> {
    match data_type {
        DataType::Utf8 => Some(Family::Text),
        DataType::Boolean => Some(Family::Truth),
        other if other.is_numeric() => Some(Family::Number),
        _ => None,
    }
}

/// The value of a literal, and the columns that it fits.
fn constant(expr: &Expr) -> Result<(Expr, Option<Family>)> {
    match SparkFunction::constant(strip_alias(expr))? {
        Expr::Literal(value, metadata) => {
            let family = family(&value.data_type());
            Ok((Expr::Literal(value, metadata), family))
        }
        other => Err(Error::new(
            ErrorCode::InvalidExpression,
            format!("{other} is no constant; missing values are filled and replaced by constants"),
        )),
    }
}

/// `column`, or NULL where it is NaN.
fn without_nan(column: Expr, data_type: &DataType) -> Result<Expr> {
    match data_type.is_floating() {
        true => Ok(SparkFunction::named("nanvl")?.call(vec![column, null()])),
        false => Ok(column),
    }
}

impl DataFrame {
    /// The positions of columns of these names; of all columns if there are none.
    pub(super) fn positions_of(&self, names: &[&str]) -> Result<Vec<usize>> {
        let fields = self.schema().fields();
        if names.is_empty() {
            return Ok((0..fields.len()).collect());
        }
        let scope = self.plan().scope();
        let position = |name: &&str| {
            // The way to an unknown name's suggestions, and to the message about an ambiguous one.
            match scope.find(&datafusion::common::Column::new_unqualified(quoted(name)))? {
                Expr::Column(column) => {
                    scope.position(&column.name).ok_or_else(|| Error::internal("a column without a place"))
                }
                other => Err(Error::internal(format!("{other} is not a column"))),
            }
        };
        names.iter().map(position).collect()
    }

    /// Every column, changed where `change` gives something for it.
    pub(super) fn changed(&self, change: impl Fn(usize, &FieldRef, Expr) -> Result<Option<Expr>>) -> Result<Self> {
        let columns = self.plan().scope().all();
        let mut changed = Vec::with_capacity(columns.len());
        for (at, (column, field)) in columns.into_iter().zip(self.schema().fields()).enumerate() {
            changed.push(match change(at, field, column.clone())? {
                Some(expr) => expr.alias(field.name()),
                None => column,
            });
        }
        self.project(changed)
    }

    /// `value` in place of NULL and NaN, in those of the columns that hold values of its kind: numbers, texts or truths.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let rides = session.sql("SELECT * FROM VALUES ('Oslo', 1), (NULL, NULL) AS t(city, n)").await?;
    /// let filled = rides.na_fill(0, &[])?.na_fill("unknown", &["city"])?;
    /// assert_eq!(filled.na_drop(None, &[])?.count().await?, 2);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Unknown columns, and values that are no constants.
    pub fn na_fill(&self, value: impl Operand, columns: &[&str]) -> Result<Self> {
        let (wanted, (value, kind)) = (self.positions_of(columns)?, constant(&value.operand().0?)?);
        self.changed(|at, field, column| {
            match wanted.contains(&at) && kind.is_some() && kind == family(field.data_type()) {
                true => filled(column, field, &value).map(Some),
                false => Ok(None),
            }
        })
    }

    /// For each named column a value in place of NULL and NaN, converted to the column's type.
    ///
    /// # Errors
    /// Unknown columns, values that are no constants or do not fit their columns.
    pub fn na_fill_each<'a, V: Operand>(&self, values: impl IntoIterator<Item = (&'a str, V)>) -> Result<Self> {
        let mut given = Vec::new();
        for (name, value) in values {
            let at = self.positions_of(&[name])?;
            given.push((at, constant(&value.operand().0?)?.0));
        }
        self.changed(|at, field, column| match given.iter().find(|(places, _)| places.contains(&at)) {
            Some((_, value)) => filled(column, field, value).map(Some),
            None => Ok(None),
        })
    }

    /// The rows that have at least this many values that are neither NULL nor NaN among the columns; `None` stands for all of them.
    ///
    /// # Errors
    /// Unknown columns.
    pub fn na_drop(&self, least: Option<usize>, columns: &[&str]) -> Result<Self> {
        let wanted = self.positions_of(columns)?;
        let least = least.unwrap_or(wanted.len());
        let scope = self.plan().scope();
        let mut there = lit(0i64);
        for at in &wanted {
            let column = scope.reference_to(*at).ok_or_else(|| Error::internal("a column without a place"))?;
            let value = without_nan(column, self.schema().field(*at).data_type())?;
            let one =
                Case::new(None, vec![(Box::new(value.is_not_null()), Box::new(lit(1i64)))], Some(Box::new(lit(0i64))));
            there = binary_expr(there, Operator::Plus, Expr::Case(one));
        }
        let least = i64::try_from(least).unwrap_or(i64::MAX);
        self.filter(Column(Ok(binary_expr(there, Operator::GtEq, lit(least)))))
    }

    /// New values in place of others, in those of the columns that hold values of their kind. A value is replaced once.
    ///
    /// # Errors
    /// Unknown columns; values that are no constants, and values of several kinds.
    pub fn na_replace<V: Operand, W: Operand>(
        &self,
        replacements: impl IntoIterator<Item = (V, W)>,
        columns: &[&str],
    ) -> Result<Self> {
        let wanted = self.positions_of(columns)?;
        let (mut pairs, mut kind) = (Vec::new(), None);
        for (old, new) in replacements {
            let ((old, of_old), (new, of_new)) = (constant(&old.operand().0?)?, constant(&new.operand().0?)?);
            for found in [of_old, of_new].into_iter().flatten() {
                if *kind.get_or_insert(found) != found {
                    return Err(Error::new(
                        ErrorCode::InvalidExpression,
                        "na_replace: values of different kinds cannot replace one another; replace numbers, texts and truths one after the other",
                    ));
                }
            }
            pairs.push((old, new));
        }
        let Some(kind) = kind else { return Ok(self.clone()) };
        self.changed(|at, field, column| {
            if !wanted.contains(&at) || family(field.data_type()) != Some(kind) {
                return Ok(None);
            }
            let branch = |(old, new): &(Expr, Expr)| {
                let new = SparkFunction::cast(field.data_type().clone(), false).call(vec![new.clone()]);
                (Box::new(column.clone().eq(old.clone())), Box::new(new))
            };
            let branches = pairs.iter().map(branch).collect();
            Ok(Some(Expr::Case(Case::new(None, branches, Some(Box::new(column.clone()))))))
        })
    }
}

fn filled(column: Expr, field: &FieldRef, value: &Expr) -> Result<Expr> {
    let value = SparkFunction::cast(field.data_type().clone(), false).call(vec![value.clone()]);
    let there = without_nan(column, field.data_type())?;
    Ok(datafusion::functions::core::expr_fn::coalesce(vec![there, value]))
}
