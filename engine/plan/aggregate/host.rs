//! An aggregate call that no kernel computes: DataFusion's machinery runs it on the host.
//!
//! Comes in: a resolved aggregate call. Goes out: a [`HostCall`] that makes accumulators, and says what their state looks like and whose it
//! is. Fails: calls that cannot be planned, and constants that the function refuses.

use crate::error::{Error, ErrorCode, Result};
use crate::operator::clock::BatchClock;
use crate::operator::partial::compile;
use crate::plan::resolve::df_schema;
use crate::plan::spark_aggregate::SparkAggregate;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{Accumulator, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::Column;
use std::sync::Arc;

/// Version of the state of our own functions.
const STATE_VERSION: u32 = 1;

/// A call on the host.
#[derive(Debug, Clone)]
pub struct HostCall {
    text: String,
    tag: String,
    ordered: bool,
    expr: AggregateFunctionExpr,
    state: Vec<DataType>,
}

impl PartialEq for HostCall {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.tag) == (&other.text, &other.tag)
    }
}

impl HostCall {
    /// Plans a call over `input`'s columns.
    pub fn new(call: &AggregateFunction, input: &Schema) -> Result<Self> {
        let name = call.func.name();
        let unsupported = |why: &str| Err(Error::new(ErrorCode::UnsupportedOperation, format!("{name}(): {why}")));
        if call.params.args.is_empty() {
            return unsupported("an aggregate without an argument is not computed on streams; give it one");
        }
        if !call.params.order_by.is_empty() {
            return unsupported("ORDER BY inside an aggregate is not computed on streams; sort the collected array");
        }
        let schema = df_schema(input)?;
        let types: Vec<DataType> =
            call.params.args.iter().map(|a| a.get_type(schema.as_ref())).collect::<datafusion::error::Result<_>>()?;
        let fields: Vec<Field> =
            types.iter().enumerate().map(|(i, t)| Field::new(format!("a{i}"), t.clone(), true)).collect();
        let arguments: SchemaRef = Arc::new(Schema::new(fields));
        let physical = |(index, argument): (usize, &datafusion::logical_expr::Expr)| -> Result<Arc<dyn PhysicalExpr>> {
            // A constant is known to the function before there is a row.
            match argument.column_refs().is_empty() {
                true => compile(argument, &Arc::new(Schema::empty()), &BatchClock::default()),
                false => Ok(Arc::new(Column::new(&format!("a{index}"), index))),
            }
        };
        let physical = call.params.args.iter().enumerate().map(physical).collect::<Result<Vec<_>>>()?;
        let expr = AggregateExprBuilder::new(call.func.clone(), physical)
            .schema(arguments)
            .alias(name)
            .with_distinct(call.params.distinct)
            .with_ignore_nulls(call.params.null_treatment == Some(NullTreatment::IgnoreNulls))
            .build()?;
        let own = SparkAggregate::of(&call.func);
        let tag = match own {
            Some(_) => format!("{name}/{STATE_VERSION}"),
            None => format!("{name} of DataFusion {}", datafusion::DATAFUSION_VERSION),
        };
        let state = expr.state_fields()?.iter().map(|f| f.data_type().clone()).collect();
        let text = datafusion::logical_expr::Expr::AggregateFunction(call.clone()).to_string();
        // DISTINCT rows are sorted before the function sees them.
        let ordered = !call.params.distinct && own.is_none_or(SparkAggregate::ordered);
        let planned = Self { text, tag, ordered, expr, state };
        planned.accumulator()?;
        Ok(planned)
    }

    /// The call as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whose state it is: a checkpoint with another tag is refused.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether chunks must be merged in the order of the input.
    pub fn ordered(&self) -> bool {
        self.ordered
    }

    /// A new accumulator.
    pub fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        Ok(self.expr.create_accumulator()?)
    }

    /// Types of the state's columns.
    pub fn state(&self) -> &[DataType] {
        &self.state
    }

    /// Type of the result.
    pub fn result(&self) -> DataType {
        self.expr.field().data_type().clone()
    }
}
