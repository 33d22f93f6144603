//! Frames as sets: the rows of both, those that two have in common, and those that one has alone.
//!
//! Comes in: two frames with the same number of columns. Goes out: a frame. Columns whose types differ are converted to the type that they
//! have in common. Fails: widths that differ, types that have none in common, and streams where rows must be all there.

use super::column::Column;
use super::data_frame::{DataFrame, no_field_named};
use super::functions::{col, lit, sum};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::cast::sql_name;
use crate::plan::coerce::common_type;
use crate::plan::logical::{JoinType, LogicalPlan, WATERMARK_DELAY_KEY, join_scope, watermark_delay_ms};
use crate::plan::nullness::{is_never_null, unmarked};
use crate::plan::resolve::{quoted, resolve_predicate};
use crate::plan::scope::next_relation;
use crate::plan::spark_function::SparkFunction;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use std::sync::Arc;

impl DataFrame {
    /// Rows of both frames, by position. A column has the type that both sides fit.
    ///
    /// # Errors
    /// Frames of different widths, and types that have none in common.
    pub fn union(&self, other: &DataFrame) -> Result<Self> {
        let (left, right) = self.alike(other, "union")?;
        // The result has event time where either side has: the greater delay is the cautious one, and only says that there is a watermark.
        let fields = left.schema().fields().iter().zip(right.schema().fields()).map(|(l, r)| {
            let delays = [l, r].map(|f| watermark_delay_ms(f));
            let mut metadata = l.metadata().clone();
            if let Some(delay) = delays.into_iter().flatten().max() {
                metadata.insert(WATERMARK_DELAY_KEY.to_string(), delay.to_string());
            }
            let field = l.as_ref().clone().with_metadata(metadata);
            if is_never_null(r) { field } else { unmarked(&field) }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let inputs = vec![left.plan().clone(), right.plan().clone()];
        Ok(self.with(LogicalPlan::Union { inputs, schema }))
    }

    /// Rows of both frames by the names of their columns, in this frame's order. With `allow_missing`, a column that one of
    /// them lacks is NULL in its rows.
    ///
    /// # Errors
    /// Columns that one frame lacks, and types that differ.
    pub fn union_by_name(&self, other: &DataFrame, allow_missing: bool) -> Result<Self> {
        let has = |frame: &DataFrame, name: &str| {
            frame.schema().fields().iter().any(|field| field.name().eq_ignore_ascii_case(name))
        };
        let missing = |frame: &DataFrame, field: &Field| -> Result<Expr> {
            if !allow_missing {
                return Err(no_field_named(frame.schema(), field.name()).within("union_by_name"));
            }
            debug_assert!(!has(frame, field.name()));
            let null = ScalarValue::try_from(field.data_type())?;
            Ok(Expr::Literal(null, None).alias(field.name()))
        };
        let mut left = self.plan().scope().all();
        let mut right = Vec::new();
        for field in self.schema().fields() {
            right.push(match has(other, field.name()) {
                true => other.reference(&quoted(field.name()))?,
                false => missing(other, field)?,
            });
        }
        for field in other.schema().fields().iter().filter(|field| !has(self, field.name())) {
            left.push(missing(self, field)?);
            right.push(other.reference(&quoted(field.name()))?);
        }
        self.project(left)?.union(&other.project(right)?)
    }

    /// The rows that both tables have, each once. NULL equals NULL.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let (small, even) = (DataFrame::range(&session, 0, 6, 1)?, DataFrame::range(&session, 0, 20, 2)?);
    /// assert_eq!(small.intersect(&even)?.count().await?, 3);
    /// assert_eq!(small.except(&even)?.count().await?, 3);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Streams, widths that differ, and types that have none in common.
    pub fn intersect(&self, other: &DataFrame) -> Result<Self> {
        refuse_streams("intersect", &[self, other])?;
        self.compared(other, JoinType::LeftSemi, "intersect")
    }

    /// The rows that both tables have, each as often as the table that has it less often.
    ///
    /// # Errors
    /// As [`DataFrame::intersect`].
    pub fn intersect_all(&self, other: &DataFrame) -> Result<Self> {
        self.counted(other, "intersect_all")
    }

    /// The rows of this frame that the other, a table, has not, each once; `subtract` in PySpark. NULL equals NULL.
    ///
    /// # Errors
    /// A stream as the other frame, widths that differ, and types that have none in common.
    #[doc(alias = "subtract")]
    pub fn except(&self, other: &DataFrame) -> Result<Self> {
        refuse_streams("except", &[other])?;
        self.compared(other, JoinType::LeftAnti, "except")
    }

    /// The rows of this table less those of the other: a row that stands three times here and once there is left twice.
    ///
    /// # Errors
    /// As [`DataFrame::intersect`].
    pub fn except_all(&self, other: &DataFrame) -> Result<Self> {
        self.counted(other, "except_all")
    }

    /// Both frames with the types that their columns have in common, under this frame's names.
    fn alike(&self, other: &DataFrame, name: &str) -> Result<(Self, Self)> {
        let types =
            |frame: &DataFrame| frame.schema().fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        let (left, right) = (types(self), types(other));
        if left.len() != right.len() {
            return Err(Error::new(
                ErrorCode::NumColumnsMismatch,
                format!(
                    "{name} needs the same number of columns on both sides, which have {} and {}; select those that belong together",
                    left.len(),
                    right.len()
                ),
            )
            .with_parameter("operator", name.split('_').next().unwrap_or(name).to_uppercase())
            .with_parameter("firstNumColumns", left.len())
            .with_parameter("invalidOrdinalNum", "second")
            .with_parameter("invalidNumColumns", right.len()));
        }
        let mut common = Vec::new();
        for (at, (l, r)) in left.iter().zip(&right).enumerate() {
            let both = if l == r { Some(l.clone()) } else { common_type(&[l.clone(), r.clone()]) };
            common.push(both.ok_or_else(|| {
                let (l, r) = (sql_name(l), sql_name(r));
                let message =
                    format!("{name}: column {} is {l} on the left and {r} on the right; cast one of them", at + 1);
                Error::new(ErrorCode::IncompatibleColumnType, message)
            })?);
        }
        Ok((self.converted(&left, &common)?, other.converted(&right, &common)?))
    }

    fn converted(&self, from: &[DataType], to: &[DataType]) -> Result<Self> {
        if from == to {
            return Ok(self.clone());
        }
        let columns = self.plan().scope().all().into_iter().zip(self.schema().fields()).zip(to);
        let converted = columns.map(|((column, field), to)| match field.data_type() == to {
            true => column,
            false => SparkFunction::cast(to.clone(), false).call(vec![column]).alias(field.name()),
        });
        self.project(converted.collect())
    }

    fn compared(&self, other: &DataFrame, join_type: JoinType, name: &str) -> Result<Self> {
        let (one, other) = self.alike(other, name)?;
        let width = one.schema().fields().len();
        let id = next_relation();
        let scope = join_scope(one.plan(), other.plan(), id);
        let column = |index| scope.reference_to(index).ok_or_else(|| Error::internal("a column without a place"));
        let equal = |index| Ok(binary_expr(column(index)?, Operator::IsNotDistinctFrom, column(width + index)?));
        let equal = (0..width).map(equal).collect::<Result<Vec<_>>>()?;
        let environment = self.session().conf().environment()?;
        let condition = conjunction(equal).map(|all| resolve_predicate(all, &scope, &environment)).transpose()?;
        let (left, right, schema) = (one.plan().clone(), other.plan().clone(), one.schema().clone());
        self.with(LogicalPlan::Join { left, right, join_type, condition, schema, id }).distinct()
    }

    /// Counts each row on both sides, and repeats it as often as `name` says.
    fn counted(&self, other: &DataFrame, name: &str) -> Result<Self> {
        refuse_streams(name, &[self, other])?;
        let (one, other) = self.alike(other, name)?;
        let names: Vec<String> = (0..one.schema().fields().len()).map(|at| format!("c{at}")).collect();
        let marked = |frame: &DataFrame, sides: [i64; 2]| {
            let columns = frame.plan().scope().all().into_iter().zip(&names).map(|(column, name)| column.alias(name));
            let sides =
                sides.into_iter().zip(["l", "r"]).map(|(side, name)| datafusion::prelude::lit(side).alias(name));
            frame.project(columns.chain(sides).collect())
        };
        let both = marked(&one, [1, 0])?.union(&marked(&other, [0, 1])?)?;
        let keys: Vec<Column> = names.iter().map(|name| col(name)).collect();
        let counts = both.group_by(keys)?.agg([sum("l").alias("l"), sum("r").alias("r")])?;
        let registry = self.session().functions();
        let times = match name {
            "intersect_all" => registry.call("least", vec![col("l").0?, col("r").0?], false)?,
            _ => (col("l") - col("r")).0?,
        };
        let times = SparkFunction::cast(DataType::Int32, false).call(vec![times]);
        let repeated = registry.call("array_repeat", vec![lit(0).0?, times], false)?;
        let rows = counts.generate(registry.call("explode", vec![repeated], false)?, &["#".to_string()], None)?;
        let columns = rows.plan().scope().all().into_iter().zip(one.schema().fields());
        rows.project(columns.map(|(column, field)| column.alias(field.name())).collect())
    }
}

fn refuse_streams(name: &str, frames: &[&DataFrame]) -> Result<()> {
    match frames.iter().any(|frame| frame.is_streaming()) {
        true => Err(Error::new(
            ErrorCode::UnsupportedOperation,
            format!(
                "{name} with a stream is not supported, because its rows are never all there; use a left semi or a left anti join, or foreach_batch"
            ),
        )),
        false => Ok(()),
    }
}
