//! Aggregates over frames of rows that both ends of move.
//!
//! Comes in: rows that enter and rows that leave. Goes out: the aggregate of those in between, computed anew, so that it is what it would
//! be over these rows alone, to the bit. Fails: as the aggregate does.

use crate::error::Error;
use arrow::array::ArrayRef;
use arrow::compute::concat;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;

/// What an accumulator is made of, to make more.
pub(super) struct Owned {
    return_field: FieldRef,
    schema: SchemaRef,
    ignore_nulls: bool,
    name: String,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Owned {
    pub fn of(args: &AccumulatorArgs) -> Self {
        Self {
            return_field: args.return_field.clone(),
            schema: Arc::new(Schema::clone(args.schema)),
            ignore_nulls: args.ignore_nulls,
            name: args.name.to_string(),
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        }
    }

    pub fn with<T>(&self, f: impl FnOnce(&AccumulatorArgs) -> T) -> T {
        f(&AccumulatorArgs {
            return_field: self.return_field.clone(),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &[],
            is_reversed: false,
            name: &self.name,
            is_distinct: false,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}

type Make = Box<dyn Fn() -> Result<Box<dyn Accumulator>> + Send + Sync>;

/// The rows in the frame.
pub(super) struct Sliding {
    make: Make,
    rows: Vec<ArrayRef>,
}

impl Sliding {
    pub fn new(make: Make) -> Self {
        Self { make, rows: vec![] }
    }
}

impl fmt::Debug for Sliding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.rows.first().map_or(0, |column| column.len()))
    }
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows = match self.rows.is_empty() {
            true => values.to_vec(),
            false => {
                let both = self.rows.iter().zip(values).map(|(kept, new)| Ok(concat(&[kept.as_ref(), new.as_ref()])?));
                both.collect::<Result<_>>()?
            }
        };
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = values.first().map_or(0, |column| column.len());
        for column in &mut self.rows {
            let gone = gone.min(column.len());
            *column = column.slice(gone, column.len() - gone);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut accumulator = (self.make)()?;
        if self.rows.first().is_some_and(|column| !column.is_empty()) {
            accumulator.update_batch(&self.rows)?;
        }
        accumulator.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.iter().map(|column| column.get_array_memory_size()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(Error::internal("a window's aggregate has no state to keep").into())
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(Error::internal("a window's aggregate has no state to merge").into())
    }
}
