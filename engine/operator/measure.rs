//! Observed metrics: aggregates over the rows that pass a point of the plan, one row of them a batch (`observe`).
//!
//! Comes in: the rows of every chunk, on every worker. Goes out: after the batch, one JSON object of named values. Each worker has a
//! [`Measure`] and hands on what it has seen as a [`Measured`]; one more, which merges them, finishes the batch. Fails:
//! expressions that are no aggregates, aggregates that need an order, and whatever evaluating them fails with.

use super::clock::BatchClock;
use super::executable::executable;
use super::partial::{compile, evaluate};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::to_json::{ToJsonOptions, to_json};
use crate::plan::logical::Named;
use crate::plan::resolve::df_schema;
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use chrono_tz::Tz;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Accumulator, Expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use serde_json::{Map, Value};
use std::sync::Arc;

/// How Spark writes an observed time: to the second, in the session's zone.
const TIMES: &str = "yyyy-MM-dd HH:mm:ss";

/// The aggregates of one `observe`.
pub struct Measure {
    calls: Vec<Call>,
    /// The aggregates' values, one column a call.
    values: SchemaRef,
    outputs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    time_zone: Tz,
}

struct Call {
    aggregate: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    accumulator: Box<dyn Accumulator>,
}

/// What a worker's [`Measure`] has seen since it was asked last: the intermediate state of every call.
#[derive(Debug, Clone, Default)]
pub struct Measured(Vec<Vec<ScalarValue>>);

impl Measure {
    /// Compiles resolved expressions over `schema`. Each is an aggregate, or made of aggregates and constants.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidExpression`] for an expression that has no aggregate or looks at a column outside one.
    pub fn new(aggregates: &[Named], schema: &SchemaRef, time_zone: Tz, clock: &BatchClock) -> Result<Self> {
        let mut calls: Vec<Expr> = Vec::new();
        let mut outputs = Vec::new();
        for named in aggregates {
            outputs.push((extract(named, &mut calls)?, named.name.clone()));
        }
        let calls: Vec<Call> = calls.iter().map(|call| Call::new(call, schema, clock)).collect::<Result<_>>()?;
        let columns = calls.iter().enumerate();
        let columns = columns.map(|(at, call)| call.aggregate.field().as_ref().clone().with_name(place(at)));
        let values: SchemaRef = Arc::new(Schema::new(columns.collect::<Vec<Field>>()));
        let mut compiled = Vec::new();
        let mut fields = Vec::new();
        for (output, name) in outputs {
            let output = compile(&output, &values, clock)?;
            fields.push(Arc::new(Field::new(name, output.data_type(&values)?, true)));
            compiled.push(output);
        }
        Ok(Self { calls, values, outputs: compiled, fields, time_zone })
    }

    /// Takes in rows.
    ///
    /// # Errors
    /// What an argument or an aggregate fails with.
    pub fn update(&mut self, rows: &RecordBatch) -> Result<()> {
        self.calls.iter_mut().try_for_each(|call| call.update(rows))
    }

    /// What was seen since the last call of this, for [`Measure::merge`].
    ///
    /// # Errors
    /// What an aggregate fails with.
    pub fn take(&mut self) -> Result<Measured> {
        self.calls.iter_mut().map(Call::take).collect::<Result<_>>().map(Measured)
    }

    /// Takes in what another measure of the same aggregates has seen.
    ///
    /// # Errors
    /// What an aggregate fails with.
    pub fn merge(&mut self, other: Measured) -> Result<()> {
        for (call, state) in self.calls.iter_mut().zip(other.0) {
            let columns: Vec<ArrayRef> =
                state.iter().map(|value| value.to_array_of_size(1)).collect::<Result<_, _>>()?;
            call.accumulator.merge_batch(&columns)?;
        }
        Ok(())
    }

    /// The metrics of the batch by name, NULL included; the next batch starts anew.
    ///
    /// # Errors
    /// What an aggregate or an expression over it fails with.
    pub fn finish(&mut self) -> Result<Map<String, Value>> {
        named_values(&self.finish_row()?, self.time_zone)
    }

    /// The metrics as one row.
    ///
    /// # Errors
    /// As [`Measure::finish`].
    pub fn finish_row(&mut self) -> Result<RecordBatch> {
        let mut columns = Vec::new();
        for (call, field) in self.calls.iter_mut().zip(self.values.fields()) {
            let value = call.accumulator.evaluate()?.to_array_of_size(1)?;
            columns.push(arrow::compute::cast(&value, field.data_type())?);
            call.accumulator = call.aggregate.create_accumulator()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let values = RecordBatch::try_new_with_options(self.values.clone(), columns, &options)?;
        let outputs: Vec<ArrayRef> = self.outputs.iter().map(|o| evaluate(o, &values)).collect::<Result<_>>()?;
        let schema = Arc::new(Schema::new(self.fields.clone()));
        Ok(RecordBatch::try_new_with_options(schema, outputs, &options)?)
    }
}

/// The values of a row of metrics by name.
///
/// # Errors
/// Types that have no JSON.
pub fn named_values(row: &RecordBatch, time_zone: Tz) -> Result<Map<String, Value>> {
    let fields = row.schema().fields().clone();
    let row: ArrayRef =
        Arc::new(StructArray::try_new_with_length(fields, row.columns().to_vec(), None, row.num_rows())?);
    let style = ToJsonOptions {
        time_zone,
        timestamp_format: Some(TIMES.to_string()),
        timestamp_ntz_format: Some(TIMES.to_string()),
        ignore_null_fields: false,
        ..ToJsonOptions::default()
    };
    let text = to_json(&row, &style)?;
    let text = text.iter().flatten().next().unwrap_or("{}");
    serde_json::from_str(text)
        .map_err(|e| Error::caused_by(ErrorCode::Internal, format!("observed metrics are not JSON: {e}"), e))
}

impl Call {
    fn new(call: &Expr, schema: &SchemaRef, clock: &BatchClock) -> Result<Self> {
        let logical = df_schema(schema)?;
        let call = executable(call, &logical, clock)?;
        let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let lowered = LoweredAggregateBuilder::new(&call, &logical, schema, &props, &context).build()?;
        if !lowered.order_bys.is_empty() {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!("observe() cannot compute {call}: its rows come in no order; leave the order out"),
            ));
        }
        let aggregate = lowered.aggregate;
        let (arguments, accumulator) = (aggregate.expressions(), aggregate.create_accumulator()?);
        Ok(Self { aggregate, arguments, filter: lowered.filter, accumulator })
    }

    fn update(&mut self, rows: &RecordBatch) -> Result<()> {
        let filtered = match &self.filter {
            None => None,
            Some(filter) => {
                let truth = evaluate(filter, rows)?;
                let truth = truth.as_boolean_opt().ok_or_else(|| Error::internal("a filter that is not boolean"))?;
                Some(filter_record_batch(rows, truth)?)
            }
        };
        let rows = filtered.as_ref().unwrap_or(rows);
        let arguments: Vec<ArrayRef> = self.arguments.iter().map(|a| evaluate(a, rows)).collect::<Result<_>>()?;
        Ok(self.accumulator.update_batch(&arguments)?)
    }

    fn take(&mut self) -> Result<Vec<ScalarValue>> {
        let fresh = self.aggregate.create_accumulator()?;
        Ok(std::mem::replace(&mut self.accumulator, fresh).state()?)
    }
}

/// Name of the column of a call's value.
fn place(at: usize) -> String {
    format!("call {at}")
}

/// `named` over the values of calls, which are added to `calls`.
fn extract(named: &Named, calls: &mut Vec<Expr>) -> Result<Expr> {
    let before = calls.len();
    let mut found = false;
    let rewritten = named.expr.clone().transform_down(|e| match e {
        Expr::AggregateFunction(_) => {
            found = true;
            let at = calls.iter().position(|call| *call == e).unwrap_or_else(|| {
                calls.push(e);
                calls.len() - 1
            });
            let value = Expr::Column(Column::new_unqualified(place(at)));
            Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
        }
        Expr::Column(column) => Err(Error::new(
            ErrorCode::InvalidExpression,
            format!("observe(): {:?} uses the column {:?} outside an aggregate", named.name, column.name),
        )
        .into()),
        other => Ok(Transformed::no(other)),
    })?;
    if !found {
        calls.truncate(before);
        return Err(Error::new(
            ErrorCode::InvalidExpression,
            format!("observe(): {:?} is no aggregate; an observed metric is one value for all rows", named.name),
        ));
    }
    Ok(rewritten.data)
}

#[cfg(test)]
mod tests;
