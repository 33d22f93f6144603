//! Partial aggregation of a chunk: columns are bound to a kernel program, which runs on the query's device.
//!
//! Calls that no kernel computes go through accumulators on the host (`host`).
//!
//! Comes in: decoded columns. Goes out: [`Partials`], one entry a group, ready to be merged into state. Fails: expressions (ANSI), and
//! kernels that cannot run anywhere.

mod host;

pub use host::column as host_column;

use super::clock::BatchClock;
use super::codes::Codes;
use super::executable::executable;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::aggregate::{Binding, PartialPlan, Slot};
use crate::plan::resolve::df_schema;
use crate::plan::spark_aggregate::hashing::hashes;
use crate::plan::spark_function::normalize;
use crate::state::table::NO_WINDOW;
use crate::watermark::EventTimeStats;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use host::{Grouping, HostExec};
use std::sync::Arc;
use tidemill_kernels::device::{Device, Ran, Scratch};
use tidemill_kernels::{self as kernels, Batch, Bits, Column, ExactSum, Groups, Partial, Watched, hll};

/// Partial aggregates of a chunk.
#[derive(Debug)]
pub struct Partials {
    /// Key columns, one row a group.
    pub keys: Vec<ArrayRef>,
    /// Start of each group's pane in microseconds, [`NO_WINDOW`] for a bare event time that is NULL; empty without a window.
    pub pane_start: Vec<i64>,
    /// Whether groups are of windows, not of panes that several windows share.
    pub windowed: bool,
    /// Input rows of each group.
    pub rows: Vec<u64>,
    /// Aggregates in call order.
    pub aggregates: Vec<PartialColumn>,
    /// Event times for the branch's watermark node, if there were any.
    pub observed: Option<EventTimeStats>,
    /// The device that ran, and why.
    pub ran: Ran,
}

/// One call's partial values, one entry a group.
#[derive(Debug)]
pub enum PartialColumn {
    /// Row counts.
    Count(Vec<u64>),
    /// Sums of doubles.
    SumF64 { sums: Vec<ExactSum>, counts: Vec<u64> },
    /// Sums of integers.
    SumI64 { sums: Vec<i128>, counts: Vec<u64> },
    /// Order keys of extreme values.
    Key(Vec<Option<i64>>),
    /// Extreme texts.
    Text(Vec<Option<Box<str>>>),
    /// HLL registers.
    Hll { precision: u8, registers: Vec<u8> },
    /// Distinct values as encoded rows.
    Distinct(Vec<Vec<Box<[u8]>>>),
    /// State columns of a call on the host.
    Host(Vec<ArrayRef>),
}

/// Compiles an expression over `schema`, for the batches whose time `clock` has.
pub fn compile(expr: &Expr, schema: &SchemaRef, clock: &BatchClock) -> Result<Arc<dyn PhysicalExpr>> {
    let schema = df_schema(schema)?;
    let expr = executable(expr, &schema, clock)?;
    Ok(create_physical_expr(&expr, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?)
}

/// Evaluates a compiled expression to one array as long as the batch.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    Ok(expr.evaluate(batch)?.into_array(batch.num_rows())?)
}

/// Partial aggregation of one branch, one per worker.
pub struct PartialExec {
    plan: PartialPlan,
    bindings: Vec<Arc<dyn PhysicalExpr>>,
    key_types: Vec<DataType>,
    tables: Vec<TruthTable>,
    hll_tables: Vec<HllTable>,
    host: Vec<HostExec>,
    scratch: Scratch,
}

/// A predicate's truth value for every entry of a dictionary, kept while the dictionary stays the same.
struct TruthTable {
    column: usize,
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    values: Option<ArrayRef>,
    truth: Vec<u8>,
}

/// Packed HLL words for every entry of a dictionary, kept for the entries that stay the same.
struct HllTable {
    column: usize,
    precision: u8,
    values: Option<ArrayRef>,
    packed: Vec<u32>,
}

enum Evaluated {
    Integers(Int64Array),
    Doubles(Float64Array),
    Codes(Codes),
    Ranks { ranks: Int64Array, sorted: Vec<Box<str>> },
    Truth(Vec<u8>),
}

impl PartialExec {
    /// Compiles a plan over `columns`.
    pub fn new(plan: &PartialPlan, columns: &SchemaRef, clock: &BatchClock) -> Result<Self> {
        let mut bindings = Vec::new();
        for binding in &plan.columns {
            let (Binding::Integer(e)
            | Binding::Double(e)
            | Binding::DoubleBits(e)
            | Binding::Code(e)
            | Binding::Rank(e)
            | Binding::Truth(e)) = binding;
            bindings.push(compile(e, columns, clock)?);
        }
        let mut tables = Vec::new();
        for table in &plan.tables {
            // The predicate was planned over text; it runs over the dictionary's values, which are text.
            let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new(&table.name, DataType::Utf8, true)]));
            let predicate = compile(&table.predicate, &schema, clock)?;
            tables.push(TruthTable { column: table.column, predicate, schema, values: None, truth: vec![] });
        }
        let hll_table = |(column, precision): &(usize, u8)| HllTable {
            column: *column,
            precision: *precision,
            values: None,
            packed: vec![],
        };
        let key_types = plan
            .keys
            .iter()
            .map(|key| {
                let found = bindings.get(*key).ok_or_else(|| Error::internal("a key without a column"))?;
                Ok(match found.data_type(columns)? {
                    DataType::Dictionary(_, values) => *values,
                    other => other,
                })
            })
            .collect::<Result<_>>()?;
        let hll_tables = plan.hll_tables.iter().map(hll_table).collect();
        let host = plan.host.iter().map(|call| HostExec::new(call, columns, clock)).collect::<Result<_>>()?;
        Ok(Self { plan: plan.clone(), bindings, key_types, tables, hll_tables, host, scratch: Scratch::default() })
    }

    /// Aggregates a chunk on `device`.
    pub fn run(&mut self, batch: &RecordBatch, device: &Device) -> Result<Partials> {
        let evaluated: Vec<Evaluated> = self
            .bindings
            .iter()
            .zip(&self.plan.columns)
            .map(|(expr, binding)| bind(&evaluate(expr, batch)?, binding))
            .collect::<Result<_>>()?;
        for table in &mut self.tables {
            table.refresh(codes(&evaluated, table.column)?)?;
        }
        for table in &mut self.hll_tables {
            table.refresh(codes(&evaluated, table.column)?)?;
        }
        let grouping = match self.host.as_slice() {
            [] => None,
            _ => Some(self.grouping(&evaluated, batch.num_rows())?),
        };
        // Without a call for it, the device has nothing to do: the host knows the groups.
        let groups = match grouping.is_some() && self.plan.program.aggregates.is_empty() {
            true => None,
            false => Some(self.device_groups(&evaluated, batch.num_rows(), device)?),
        };
        let hosted = match &grouping {
            Some(grouping) => self.host.iter().map(|call| call.run(batch, grouping)).collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let (first_row, pane_start, rows, aggregates, observed, ran) = match (groups, grouping) {
            (Some((groups, ran)), grouping) => {
                if grouping.is_some_and(|own| own.first_row != groups.first_row) {
                    return Err(Error::internal("the host and the device group rows differently"));
                }
                let Watched { count, sum, min } = groups.watched;
                let observed = groups.max.map(|max| EventTimeStats { count, sum, min, max });
                (groups.first_row, groups.pane_start, groups.rows, groups.aggregates, observed, ran)
            }
            (None, Some(own)) => {
                let ran = Ran { gpu: false, device: "cpu".into(), reason: "no aggregate has a kernel".into() };
                (own.first_row, own.pane_start, own.counts, vec![], None, ran)
            }
            (None, None) => return Err(Error::internal("rows without groups")),
        };
        let first_rows = UInt32Array::from(first_row);
        let keys = self
            .plan
            .keys
            .iter()
            .zip(&self.key_types)
            .map(|(key, data_type)| key_values(&evaluated[*key], &self.plan.columns[*key], &first_rows, data_type))
            .collect::<Result<_>>()?;
        let pane_start = match self.plan.time_key.map(|key| &evaluated[key]) {
            None => pane_start,
            Some(Evaluated::Integers(times)) => {
                let time =
                    |row: &u32| Some(*row as usize).filter(|row| times.is_valid(*row)).map(|row| times.value(row));
                first_rows.values().iter().map(|row| time(row).unwrap_or(NO_WINDOW)).collect()
            }
            Some(_) => return Err(Error::internal("an event time that is not an integer")),
        };
        let computed = aggregates
            .into_iter()
            .zip(&self.plan.program.aggregates)
            .map(|(partial, aggregate)| finish(partial, &aggregate.function, &evaluated, first_rows.len()))
            .collect::<Result<Vec<_>>>()?;
        let (mut computed, mut hosted) = (computed.into_iter(), hosted.into_iter());
        let in_call_order = self.plan.slots.iter().filter_map(|slot| match slot {
            Slot::Kernel(_) => computed.next(),
            Slot::Host(_) => hosted.next(),
        });
        let aggregates = in_call_order.collect();
        Ok(Partials { keys, pane_start, windowed: self.plan.expand.is_some(), rows, aggregates, observed, ran })
    }

    fn device_groups(&mut self, evaluated: &[Evaluated], rows: usize, device: &Device) -> Result<(Groups, Ran)> {
        let columns: Vec<Column> = evaluated.iter().map(column).collect();
        let tables: Vec<&[u8]> = self.tables.iter().map(|t| t.truth.as_slice()).collect();
        let hll_tables: Vec<&[u32]> = self.hll_tables.iter().map(|t| t.packed.as_slice()).collect();
        let input = Batch { rows, columns: &columns, tables: &tables, hll_tables: &hll_tables };
        device
            .aggregate(&self.plan.program, &input, &mut self.scratch)
            .map_err(|e| Error::caused_by(ErrorCode::Kernel, format!("partial aggregation: {e}"), e))
    }

    /// The groups that the program makes, or those of the plan's windows.
    fn grouping(&self, evaluated: &[Evaluated], rows: usize) -> Result<Grouping> {
        let column = |index: usize| evaluated.get(index).ok_or_else(|| Error::internal("a key without a column"));
        let pane = match self.plan.program.pane {
            None => None,
            Some(pane) => match column(pane.time)? {
                Evaluated::Integers(times) => Some((pane, times)),
                _ => return Err(Error::internal("an event time that is not an integer")),
            },
        };
        let keys: Vec<&Evaluated> = self.plan.program.keys.iter().map(|key| column(*key)).collect::<Result<_>>()?;
        Grouping::new(rows, pane, self.plan.expand.as_ref(), &keys)
    }
}

fn codes(evaluated: &[Evaluated], column: usize) -> Result<&Codes> {
    match evaluated.get(column) {
        Some(Evaluated::Codes(codes)) => Ok(codes),
        _ => Err(Error::internal("a table over a column without codes")),
    }
}

fn bind(array: &ArrayRef, binding: &Binding) -> Result<Evaluated> {
    Ok(match binding {
        Binding::Integer(_) => Evaluated::Integers(integers(array)?),
        Binding::Double(_) => {
            Evaluated::Doubles(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
        }
        Binding::DoubleBits(_) => {
            let doubles = cast(array, &DataType::Float64)?;
            Evaluated::Integers(doubles.as_primitive::<Float64Type>().unary(kernels::order_key))
        }
        Binding::Code(_) => Evaluated::Codes(Codes::of(&normalize(array))?),
        Binding::Rank(_) => ranks(array)?,
        Binding::Truth(_) => {
            let truth = array
                .as_boolean_opt()
                .ok_or_else(|| Error::internal(format!("a predicate of type {}", array.data_type())))?;
            Evaluated::Truth(truth_bytes(truth))
        }
    })
}

fn integers(array: &ArrayRef) -> Result<Int64Array> {
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        // The same buffer, read as integers.
        DataType::Timestamp(_, _) => match array.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => times.reinterpret_cast::<Int64Type>(),
            None => return Err(Error::internal(format!("{} is not in microseconds", array.data_type()))),
        },
        DataType::Date32 => integers(&cast(array, &DataType::Int32)?)?,
        _ => cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
    })
}

fn truth_bytes(truth: &BooleanArray) -> Vec<u8> {
    let value = |v: Option<bool>| match v {
        Some(true) => kernels::TRUE,
        Some(false) => kernels::FALSE,
        None => kernels::NULL,
    };
    truth.iter().map(value).collect()
}

fn ranks(array: &ArrayRef) -> Result<Evaluated> {
    let codes = Codes::of(array)?;
    let texts = codes
        .values
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::internal(format!("ranks of {}", codes.values.data_type())))?;
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|i| texts.value(*i));
    let mut rank_of = vec![0i64; texts.len()];
    order.iter().enumerate().for_each(|(rank, code)| rank_of[*code] = rank as i64);
    let sorted = order.iter().map(|code| texts.value(*code).into()).collect();
    let ranks = codes.codes.iter().map(|code| rank_of.get(*code as usize).copied()).collect();
    Ok(Evaluated::Ranks { ranks, sorted })
}

fn column(evaluated: &Evaluated) -> Column<'_> {
    fn bits(array: &dyn Array) -> Option<Bits<'_>> {
        let nulls = array.nulls().filter(|n| n.null_count() > 0)?;
        Some(Bits { bytes: nulls.validity(), offset: nulls.offset() })
    }
    match evaluated {
        Evaluated::Integers(array) | Evaluated::Ranks { ranks: array, .. } => {
            Column::I64 { values: array.values(), valid: bits(array) }
        }
        Evaluated::Doubles(array) => Column::F64 { values: array.values(), valid: bits(array) },
        Evaluated::Codes(codes) => Column::Code { codes: &codes.codes, cardinality: codes.cardinality() },
        Evaluated::Truth(truth) => Column::Truth(truth),
    }
}

impl TruthTable {
    fn refresh(&mut self, codes: &Codes) -> Result<()> {
        if self.values.as_ref().is_some_and(|v| Arc::ptr_eq(v, &codes.values)) {
            return Ok(());
        }
        let with_null = concat(&[codes.values.as_ref(), new_null_array(codes.values.data_type(), 1).as_ref()])?;
        let batch = RecordBatch::try_new(self.schema.clone(), vec![with_null])?;
        let truth = evaluate(&self.predicate, &batch)?;
        let truth = truth.as_boolean_opt().ok_or_else(|| Error::internal("a predicate that is not boolean"))?;
        self.truth = truth_bytes(truth);
        self.values = Some(codes.values.clone());
        Ok(())
    }
}

impl HllTable {
    fn refresh(&mut self, codes: &Codes) -> Result<()> {
        if self.values.as_ref().is_some_and(|v| Arc::ptr_eq(v, &codes.values)) {
            return Ok(());
        }
        let precision = self.precision;
        // A decoder's dictionary grows chunk by chunk: only what is new is hashed.
        let known = self.values.take().filter(|known| continues(&codes.values, known)).map_or(0, |known| known.len());
        let new = codes.values.slice(known, codes.values.len() - known);
        self.packed.truncate(known);
        self.packed.extend(hashes(&new)?.into_iter().map(|hash| hll::pack(hash, precision)));
        self.packed.push(0);
        self.values = Some(codes.values.clone());
        Ok(())
    }
}

/// Whether texts begin with those of an earlier dictionary.
fn continues(values: &ArrayRef, earlier: &ArrayRef) -> bool {
    let (Some(values), Some(earlier)) = (values.as_string_opt::<i32>(), earlier.as_string_opt::<i32>()) else {
        return false;
    };
    values.offsets().starts_with(earlier.offsets()) && values.value_data().starts_with(earlier.value_data())
}

fn key_values(evaluated: &Evaluated, binding: &Binding, rows: &UInt32Array, data_type: &DataType) -> Result<ArrayRef> {
    match (evaluated, binding) {
        (Evaluated::Codes(codes), _) => {
            let null = codes.cardinality();
            let code = |row: u32| codes.codes.get(row as usize).copied().filter(|c| *c != null);
            let wanted: UInt32Array = rows.values().iter().map(|row| code(*row)).collect();
            Ok(take(&codes.values, &wanted, None)?)
        }
        (Evaluated::Integers(keys), Binding::DoubleBits(_)) => {
            let keys = take(keys, rows, None)?;
            let doubles: Float64Array = keys.as_primitive::<Int64Type>().unary(kernels::from_order_key);
            Ok(cast(&doubles, data_type)?)
        }
        (Evaluated::Integers(integers), _) => {
            let taken = take(integers, rows, None)?;
            match data_type {
                DataType::Date32 => Ok(cast(&cast(&taken, &DataType::Int32)?, data_type)?),
                _ => Ok(cast(&taken, data_type)?),
            }
        }
        _ => Err(Error::internal("a key that is neither codes nor integers")),
    }
}

fn finish(
    partial: Partial,
    function: &kernels::Function,
    evaluated: &[Evaluated],
    groups: usize,
) -> Result<PartialColumn> {
    Ok(match partial {
        Partial::Count(counts) => PartialColumn::Count(counts),
        Partial::SumF64 { sums, counts } => PartialColumn::SumF64 { sums, counts },
        Partial::SumI64 { sums, counts } => PartialColumn::SumI64 { sums, counts },
        Partial::Hll { precision, registers } => PartialColumn::Hll { precision, registers },
        Partial::MinMax(keys) => {
            let (kernels::Function::Min(column) | kernels::Function::Max(column)) = function else {
                return Err(Error::internal("extreme values of another function"));
            };
            match evaluated.get(*column) {
                Some(Evaluated::Ranks { sorted, .. }) => {
                    PartialColumn::Text(keys.into_iter().map(|k| sorted.get(k? as usize).cloned()).collect())
                }
                _ => PartialColumn::Key(keys),
            }
        }
        Partial::Distinct(pairs) => {
            let kernels::Function::Distinct(column) = function else {
                return Err(Error::internal("distinct values of another function"));
            };
            let values = &codes(evaluated, *column)?.values;
            let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
            let rows = converter.convert_columns(std::slice::from_ref(values))?;
            let mut sets = vec![Vec::new(); groups];
            for (group, code) in pairs {
                if let Some(set) = sets.get_mut(group as usize) {
                    set.push(Box::from(rows.row(code as usize).data()));
                }
            }
            PartialColumn::Distinct(sets)
        }
    })
}

#[cfg(test)]
mod tests;
