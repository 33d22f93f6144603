//! Planning of a windowed aggregation: what state is kept, and what the kernels compute for one source's rows.
//!
//! Comes in: grouping keys and aggregate calls. Goes out: an [`AggregatePlan`] for the operator that owns the state, and for each
//! branch a [`PartialPlan`]: a kernel [`Program`] and where its columns come from, and the calls that the host computes beside it.
//! Fails: calls that cannot be planned, by name.

mod host;

pub use host::HostCall;

use super::logical::{Named, TIME_WINDOW_KEY, watermark_delay_ms};
use super::lower::Step;
use super::resolve::{df_schema, is_fallible, strip_alias};
use super::scan::ScanBuilder;
use super::spark_aggregate::{self, Overflow, SparkAggregate};
use super::spark_function::{Kind, SparkFunction};
use crate::error::{Error, ErrorCode, Result};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use std::sync::Arc;
use tidemill_kernels::{self as kernels, Aggregate, ColumnId, ColumnType, Compare, Function, Pane, Predicate, Program};

/// The stateful operator of a query.
#[derive(Debug, Clone)]
pub struct AggregatePlan {
    /// Where the window stands among the keys, and how it is cut.
    pub window: Option<WindowKey>,
    /// Types of the keys other than the window, in order.
    pub key_types: Vec<DataType>,
    /// State kept for each aggregate call.
    pub calls: Vec<Call>,
    /// The calls as they are written: what each one's state is known by.
    pub texts: Vec<String>,
    /// Output columns: keys as grouped, then calls.
    pub schema: SchemaRef,
    /// The expressions over the operator's input, to be substituted for each branch.
    pub(super) spec: Spec,
}

/// A key that event time moves past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowKey {
    /// Position among the output columns.
    pub index: usize,
    /// Length in microseconds; 0 for a bare event-time column as key.
    pub duration: i64,
    /// Distance of starts in microseconds; 0 for a bare event-time column, and for the start of a window cut below.
    pub slide: i64,
    /// Start of any one window, in microseconds.
    pub start: i64,
    /// Whether the time carries a watermark, so that windows end.
    pub watermarked: bool,
}

/// What is kept and returned for one aggregate call.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A count.
    Count,
    /// `factor` for each counted row, as `sum(when(c, factor).otherwise(0))` is; NULL without a row if `nullable`.
    ScaledCount { factor: i64, nullable: bool },
    /// Sum of integers.
    SumInteger { overflow: Overflow },
    /// Sum of doubles.
    SumDouble,
    /// Mean of doubles (integers are converted first).
    MeanDouble,
    /// Least or greatest value.
    Extreme { greatest: bool, data_type: DataType },
    /// Estimated distinct count.
    ApproxDistinct { precision: u8 },
    /// Exact distinct count.
    Distinct,
    /// A call without a kernel.
    Host(Arc<HostCall>),
}

/// Grouping and calls as expressions.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub window: Option<Expr>,
    pub keys: Vec<Expr>,
    pub calls: Vec<CallSpec>,
    /// Sliding windows whose rows must reach the calls in the order of the input, and not pane by pane.
    expand: Option<WindowKey>,
}

#[derive(Debug, Clone)]
pub(super) struct CallSpec {
    call: Call,
    argument: Option<Expr>,
    filter: Option<Expr>,
    /// All arguments of a call on the host.
    arguments: Vec<Expr>,
}

/// What the kernels compute for one branch.
#[derive(Debug, Clone)]
pub struct PartialPlan {
    /// The kernel program.
    pub program: Program,
    /// Where each of the program's columns comes from.
    pub columns: Vec<Binding>,
    /// Truth tables: predicate over the text column of the same name.
    pub tables: Vec<TableBinding>,
    /// HLL tables: column and precision.
    pub hll_tables: Vec<(ColumnId, u8)>,
    /// The program's key columns, in the order of [`AggregatePlan::key_types`].
    pub keys: Vec<ColumnId>,
    /// A bare event-time key, which is the program's last key column: its value is the start of a window without length.
    pub time_key: Option<ColumnId>,
    /// Watermark node fed by the program's `max_of`.
    pub observes: Option<usize>,
    /// Which of the two computes each call, in call order.
    pub slots: Vec<Slot>,
    /// Calls on the host.
    pub host: Vec<HostPartial>,
    /// Sliding windows that rows are assigned to one by one; the program's panes otherwise.
    pub expand: Option<WindowKey>,
}

/// Who computes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The program's aggregate of this index.
    Kernel(usize),
    /// The call of this index on the host.
    Host(usize),
}

/// A call on the host, over one branch's columns.
#[derive(Debug, Clone)]
pub struct HostPartial {
    /// The call.
    pub call: Arc<HostCall>,
    /// Its arguments.
    pub arguments: Vec<Expr>,
    /// Which rows it sees.
    pub filter: Option<Expr>,
}

/// Source of a kernel column.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// Integers, dates, timestamps and booleans as 64-bit integers.
    Integer(Expr),
    /// Doubles.
    Double(Expr),
    /// Bits of canonical doubles, for grouping.
    DoubleBits(Expr),
    /// Dictionary codes of any type.
    Code(Expr),
    /// Rank of each text among the texts of the chunk.
    Rank(Expr),
    /// Truth values.
    Truth(Expr),
}

/// A predicate that depends on one text column: evaluated once an entry of its dictionary.
#[derive(Debug, Clone, PartialEq)]
pub struct TableBinding {
    /// The kernel column, a code.
    pub column: ColumnId,
    /// The decoded column's name.
    pub name: String,
    /// The predicate over that column.
    pub predicate: Expr,
}

impl AggregatePlan {
    pub(super) fn new(keys: &[Named], aggregates: &[Named], input: &Schema, schema: &SchemaRef) -> Result<Self> {
        let (mut window, mut time, mut plain_keys, mut key_types) = (None, None, Vec::new(), Vec::new());
        // Beside a window, the bare event time is a key like any other.
        let windowed = (0..keys.len()).any(|index| schema.field(index).metadata().contains_key(TIME_WINDOW_KEY));
        for (index, key) in keys.iter().enumerate() {
            let field = schema.field(index);
            let cut = window_parameters(field.metadata().get(TIME_WINDOW_KEY));
            let watermarked = watermark_delay_ms(field).is_some();
            match cut {
                Some((duration, slide, start)) if window.is_none() => {
                    // A window that an aggregation below has cut comes by its start, and is one group whatever its slide.
                    let slide = if is_field(&key.expr) { 0 } else { slide };
                    window = Some(WindowKey { index, duration, slide, start, watermarked });
                    time = Some(key.expr.clone());
                }
                Some(_) => {
                    return Err(Error::new(
                        ErrorCode::UnsupportedOperation,
                        "only one window() can be grouped by; aggregate twice for windows of two sizes",
                    ));
                }
                None if watermarked && !windowed && window.is_none() => {
                    window = Some(WindowKey { index, duration: 0, slide: 0, start: 0, watermarked });
                    time = Some(key.expr.clone());
                }
                None if !spark_aggregate::orderable(field.data_type()) => {
                    let text = format!(
                        "the grouping column {} is {}, which has no order; group by map_entries() or to_json() of it",
                        key.name,
                        field.data_type()
                    );
                    return Err(Error::new(ErrorCode::DatatypeMismatch, text));
                }
                None => {
                    key_types.push(field.data_type().clone());
                    plain_keys.push(key.expr.clone());
                }
            }
        }
        let plan_calls = |on_host: bool| -> Result<Vec<CallSpec>> {
            aggregates.iter().map(|a| call_spec(&a.expr, input, keys.is_empty(), on_host)).collect()
        };
        let mut planned = plan_calls(false)?;
        // Panes of sliding windows would be merged one after another: where order matters, rows go to their windows one by one.
        let sliding = window.clone().filter(|w| w.slide != w.duration);
        let expand = sliding.filter(|_| planned.iter().any(|s| s.call.ordered()));
        if expand.is_some() {
            planned = plan_calls(true)?;
        }
        let calls = planned.iter().map(|s| s.call.clone()).collect();
        let texts = aggregates.iter().map(|a| a.expr.to_string()).collect();
        let spec = Spec { window: time, keys: plain_keys, calls: planned, expand };
        Ok(Self { window, key_types, calls, texts, schema: schema.clone(), spec })
    }

    /// Whether the partials of a batch must be merged in the order of the input: by branch, then by chunk.
    pub fn ordered(&self) -> bool {
        self.calls.iter().any(Call::ordered)
    }

    /// Whether a watermark ever removes groups.
    pub fn evicts(&self) -> bool {
        self.window.as_ref().is_some_and(|w| w.watermarked)
    }
}

fn is_field(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if super::resolve::get_field_parts(call).is_some())
}

impl Call {
    /// Whether the result depends on the order of the rows.
    pub fn ordered(&self) -> bool {
        matches!(self, Call::Host(call) if call.ordered())
    }
}

fn window_parameters(metadata: Option<&String>) -> Option<(i64, i64, i64)> {
    let mut numbers = metadata?.split(' ').map(str::parse);
    match (numbers.next()?, numbers.next()?, numbers.next()?) {
        (Ok(duration), Ok(slide), Ok(start)) => Some((duration, slide, start)),
        _ => None,
    }
}

impl Spec {
    pub(super) fn try_map(&self, f: &mut dyn FnMut(&Expr) -> Result<Expr>) -> Result<Spec> {
        let mut optional = |e: &Option<Expr>| e.as_ref().map(&mut *f).transpose();
        Ok(Spec {
            window: optional(&self.window)?,
            calls: self
                .calls
                .iter()
                .map(|c| {
                    let (argument, filter) = (optional(&c.argument)?, optional(&c.filter)?);
                    let arguments = c.arguments.iter().map(|e| optional(&Some(e.clone())));
                    let arguments: Vec<Option<Expr>> = arguments.collect::<Result<_>>()?;
                    let arguments = arguments.into_iter().flatten().collect();
                    Ok(CallSpec { call: c.call.clone(), argument, filter, arguments })
                })
                .collect::<Result<_>>()?,
            keys: self.keys.iter().map(&mut *f).collect::<Result<_>>()?,
            expand: self.expand.clone(),
        })
    }
}

/// A branch's window must be cut as the operator's is: a union may have brought another one under the same name.
pub(super) fn check_window(window: Option<&WindowKey>, expr: Option<&Expr>) -> Result<()> {
    let (Some(window), Some(expr)) = (window.filter(|w| w.slide != 0), expr) else { return Ok(()) };
    if let Expr::ScalarFunction(call) = expr
        && let Some(Kind::Window { duration, slide, start }) = SparkFunction::of(call).map(|f| &f.kind)
        && (*duration, *slide, *start) == (window.duration, window.slide, window.start)
    {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::DatatypeMismatch,
        format!(
            "the grouping window is {expr} in one input of a union and another in the first; group by one window()"
        ),
    ))
}

/// `global` says that there are no keys, so that the one group may be without rows; `on_host` that no kernel may compute it.
fn call_spec(expr: &Expr, input: &Schema, global: bool, on_host: bool) -> Result<CallSpec> {
    let Expr::AggregateFunction(call) = strip_alias(expr) else {
        return Err(Error::internal(format!("{expr} is not an aggregate call")));
    };
    if !on_host
        && let Some(function) = SparkAggregate::of(&call.func)
        && let Some(spec) = kernel_spec(function, call, input, global)?
    {
        return Ok(spec);
    }
    let filter = call.params.filter.as_deref().cloned();
    let host = HostCall::new(call, input)?;
    Ok(CallSpec { call: Call::Host(Arc::new(host)), argument: None, filter, arguments: call.params.args.clone() })
}

/// The call as a kernel computes it; None where none does.
fn kernel_spec(
    function: &SparkAggregate,
    call: &AggregateFunction,
    input: &Schema,
    global: bool,
) -> Result<Option<CallSpec>> {
    use spark_aggregate::Kind;
    let arguments = call.params.args.as_slice();
    let Some(argument) = arguments.first().filter(|_| call.params.order_by.is_empty()).cloned() else {
        return Ok(None);
    };
    let filter = call.params.filter.as_deref().cloned();
    let data_type = argument.get_type(df_schema(input)?.as_ref())?;
    let spec = |call, argument, filter| Ok(Some(CallSpec { call, argument, filter, arguments: vec![] }));
    let with_argument = |call| spec(call, Some(argument.clone()), filter.clone());
    let both = |condition: Expr| match &filter {
        Some(filter) => Some(filter.clone().and(condition)),
        None => Some(condition),
    };
    let extreme = |greatest| Call::Extreme { greatest, data_type: data_type.clone() };
    match function.kind {
        Kind::Count if arguments.len() > 1 => Ok(None),
        Kind::Count if call.params.distinct => with_argument(Call::Distinct),
        Kind::Count => match &argument {
            Expr::Literal(value, _) if !value.is_null() => spec(Call::Count, None, filter),
            _ => with_argument(Call::Count),
        },
        // Neither repetition nor DISTINCT changes these.
        Kind::Extreme { greatest } => {
            let known = integer_like(&data_type) || data_type.is_floating() || data_type == DataType::Utf8;
            if known { with_argument(extreme(greatest)) } else { Ok(None) }
        }
        Kind::Bool { all } => with_argument(extreme(!all)),
        Kind::ApproxCountDistinct => {
            let precision = match arguments.get(1) {
                Some(Expr::Literal(rsd, _)) => spark_aggregate::precision(rsd)?,
                _ => return Ok(None),
            };
            with_argument(Call::ApproxDistinct { precision })
        }
        _ if call.params.distinct => Ok(None),
        Kind::CountIf => spec(Call::Count, None, both(argument.clone())),
        Kind::Sum { .. } => {
            // A count cannot tell a group without rows, whose sum is NULL, from one whose rows all give 0.
            if let Some((condition, factor, nullable)) = conditional_count(&argument)
                && (nullable || (!global && filter.is_none()))
            {
                return spec(Call::ScaledCount { factor, nullable }, None, both(condition));
            }
            match &data_type {
                DataType::Int64 => with_argument(Call::SumInteger { overflow: function.overflow() }),
                DataType::Float64 => with_argument(Call::SumDouble),
                _ => Ok(None),
            }
        }
        Kind::Avg { .. } if data_type == DataType::Float64 => with_argument(Call::MeanDouble),
        _ => Ok(None),
    }
}

/// `CASE WHEN c THEN k [ELSE 0 | NULL] END` with an integer k: the condition, k, and whether no row gives NULL.
fn conditional_count(expr: &Expr) -> Option<(Expr, i64, bool)> {
    let case = match expr {
        Expr::Case(case) => case,
        Expr::Cast(cast) if cast.field.data_type().is_integer() => return conditional_count(&cast.expr),
        _ => return None,
    };
    let ([(condition, value)], None) = (case.when_then_expr.as_slice(), &case.expr) else { return None };
    let factor = integer_literal(value)?;
    match case.else_expr.as_deref() {
        None => Some((condition.as_ref().clone(), factor, true)),
        Some(Expr::Literal(value, _)) if value.is_null() => Some((condition.as_ref().clone(), factor, true)),
        Some(other) if integer_literal(other) == Some(0) => Some((condition.as_ref().clone(), factor, false)),
        _ => None,
    }
}

fn integer_literal(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int8(Some(v)), _) => Some(i64::from(*v)),
        Expr::Literal(ScalarValue::Int16(Some(v)), _) => Some(i64::from(*v)),
        Expr::Literal(ScalarValue::Int32(Some(v)), _) => Some(i64::from(*v)),
        Expr::Literal(ScalarValue::Int64(Some(v)), _) => Some(*v),
        Expr::Cast(cast) if cast.field.data_type().is_integer() => integer_literal(&cast.expr),
        _ => None,
    }
}

/// Types whose values are 64-bit integers to a kernel.
fn integer_like(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(_, _)
    )
}

/// Lowers a branch's filters, grouping and calls to a kernel program. Filters that the kernel takes over are removed
/// from `steps`.
pub(super) fn partial(spec: &Spec, steps: &mut Vec<Step>, scan: &mut ScanBuilder) -> Result<PartialPlan> {
    let mut lowering = Lowering { scan, columns: vec![], types: vec![], tables: vec![], hll_tables: vec![] };
    let bodies =
        spec.window.iter().chain(&spec.keys).chain(spec.calls.iter().flat_map(|c| c.argument.iter().chain(&c.filter)));
    // A kernel evaluates everything on every row. Where that could end the query for the sake of a row that a filter
    // removes, the filters run one by one before it.
    let filtered = steps.iter().any(|s| matches!(s, Step::Filter(_)));
    let late_fallible = (filtered && bodies.into_iter().any(is_fallible))
        || steps.iter().skip(1).any(|s| s.expressions().into_iter().any(is_fallible));
    // Steps that make rows run before the kernel, and so does what comes before them.
    let first = steps.iter().rposition(|s| !s.keeps_rows()).map_or(0, |at| at + 1);
    let mut last = steps.split_off(first);
    let observed = last.iter().position(|s| matches!(s, Step::Observe { .. }));
    // Kernel and host must see the same rows, so filters run before both.
    let hosted = spec.calls.iter().any(|c| matches!(c.call, Call::Host(_)));
    let in_kernel = !hosted && !late_fallible && observed.is_none_or(|at| at + 1 == last.len());
    let (mut filter, mut max_of, mut observes) = (None, None, None);
    if in_kernel {
        for step in std::mem::take(&mut last) {
            match step {
                Step::Filter(e) => {
                    let predicate = lowering.predicate(&e)?;
                    filter = Some(match filter {
                        None => predicate,
                        Some(before) => Predicate::And(Box::new(before), Box::new(predicate)),
                    });
                }
                Step::Observe { node, time } => {
                    max_of = Some(lowering.integer(&time)?);
                    observes = Some(node);
                }
                step => steps.push(step),
            }
        }
    }
    steps.append(&mut last);
    let pane = spec.window.as_ref().map(|expr| lowering.pane(expr)).transpose()?.flatten();
    let keys: Vec<ColumnId> = spec.keys.iter().map(|key| lowering.key(key)).collect::<Result<_>>()?;
    // A bare event time is a key, where NULL is a group too, rather than a pane, which drops rows without a time.
    let time_key = match (&spec.window, pane) {
        (Some(time), None) => Some(lowering.integer(time)?),
        _ => None,
    };
    let (mut aggregates, mut host, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    for spec in &spec.calls {
        let Call::Host(call) = &spec.call else {
            slots.push(Slot::Kernel(aggregates.len()));
            aggregates.push(lowering.aggregate(spec)?);
            continue;
        };
        spec.arguments.iter().chain(&spec.filter).try_for_each(|e| lowering.scan.plain(e))?;
        slots.push(Slot::Host(host.len()));
        host.push(HostPartial { call: call.clone(), arguments: spec.arguments.clone(), filter: spec.filter.clone() });
    }
    let Lowering { columns, types, tables, hll_tables, .. } = lowering;
    let program_keys = keys.iter().copied().chain(time_key).collect();
    let program = Program { columns: types, filter, pane, keys: program_keys, aggregates, max_of };
    let expand = spec.expand.clone();
    Ok(PartialPlan { program, columns, tables, hll_tables, keys, time_key, observes, slots, host, expand })
}

struct Lowering<'a> {
    scan: &'a mut ScanBuilder,
    columns: Vec<Binding>,
    types: Vec<ColumnType>,
    tables: Vec<TableBinding>,
    hll_tables: Vec<(ColumnId, u8)>,
}

impl Lowering<'_> {
    fn bind(&mut self, binding: Binding, data_type: ColumnType) -> Result<ColumnId> {
        match &binding {
            Binding::Code(Expr::Column(c)) => self.scan.coded(&c.name),
            Binding::Integer(e)
            | Binding::Double(e)
            | Binding::DoubleBits(e)
            | Binding::Code(e)
            | Binding::Rank(e)
            | Binding::Truth(e) => self.scan.plain(e)?,
        }
        if let Some(known) = self.columns.iter().position(|b| *b == binding) {
            return Ok(known);
        }
        self.columns.push(binding);
        self.types.push(data_type);
        Ok(self.columns.len() - 1)
    }

    fn integer(&mut self, expr: &Expr) -> Result<ColumnId> {
        self.bind(Binding::Integer(expr.clone()), ColumnType::I64)
    }

    fn double(&mut self, expr: &Expr) -> Result<ColumnId> {
        self.bind(Binding::Double(expr.clone()), ColumnType::F64)
    }

    fn code(&mut self, expr: &Expr) -> Result<ColumnId> {
        self.bind(Binding::Code(expr.clone()), ColumnType::Code)
    }

    /// The pane of a `window()` call; None for another expression.
    fn pane(&mut self, expr: &Expr) -> Result<Option<Pane>> {
        if let Expr::ScalarFunction(call) = expr
            && let Some(Kind::Window { duration, slide, start }) = SparkFunction::of(call).map(|f| &f.kind)
            && let Some(time) = call.args.first()
        {
            // A sliding window is several panes: the widest interval that divides both its length and its slide.
            return Ok(Some(Pane {
                time: self.integer(time)?,
                width: greatest_common_divisor(*duration, *slide),
                origin: *start,
            }));
        }
        Ok(None)
    }

    fn key(&mut self, expr: &Expr) -> Result<ColumnId> {
        match self.scan.type_of(expr)? {
            t if integer_like(&t) => self.integer(expr),
            DataType::Float32 | DataType::Float64 => self.bind(Binding::DoubleBits(expr.clone()), ColumnType::I64),
            _ => self.code(expr),
        }
    }

    fn aggregate(&mut self, spec: &CallSpec) -> Result<Aggregate> {
        // An argument that may fail is looked at only where the filter is TRUE; elsewhere it is NULL, which no call counts.
        let (argument, filter) = match (&spec.argument, &spec.filter) {
            (Some(argument), Some(filter)) if is_fallible(argument) => {
                let branch = (Box::new(filter.clone()), Box::new(argument.clone()));
                (Some(Expr::Case(Case::new(None, vec![branch], None))), None)
            }
            (argument, filter) => (argument.clone(), filter.as_ref()),
        };
        let filter = filter.map(|f| self.predicate(f)).transpose()?;
        let function = match (&spec.call, &argument) {
            (Call::Count | Call::ScaledCount { .. }, None) => Function::CountRows,
            (Call::Count, Some(e)) => Function::Count(self.any(e)?),
            (Call::SumInteger { .. }, Some(e)) => Function::SumI64(self.integer(e)?),
            (Call::SumDouble | Call::MeanDouble, Some(e)) => Function::SumF64(self.double(e)?),
            (Call::Extreme { greatest, data_type }, Some(e)) => {
                let column = match data_type {
                    DataType::Utf8 => self.bind(Binding::Rank(e.clone()), ColumnType::I64)?,
                    t if t.is_floating() => self.double(e)?,
                    _ => self.integer(e)?,
                };
                if *greatest { Function::Max(column) } else { Function::Min(column) }
            }
            (Call::ApproxDistinct { precision }, Some(e)) => {
                let column = self.code(e)?;
                self.hll_tables.push((column, *precision));
                Function::Hll { column, table: self.hll_tables.len() - 1, precision: *precision }
            }
            (Call::Distinct, Some(e)) => Function::Distinct(self.code(e)?),
            (call, argument) => {
                return Err(Error::internal(format!("{call:?} with argument {argument:?} has no kernel")));
            }
        };
        Ok(Aggregate { function, filter })
    }

    /// A column of which only NULL or not NULL matters.
    fn any(&mut self, expr: &Expr) -> Result<ColumnId> {
        match self.scan.type_of(expr)? {
            t if integer_like(&t) => self.integer(expr),
            DataType::Float32 | DataType::Float64 => self.double(expr),
            _ => self.code(expr),
        }
    }

    fn predicate(&mut self, expr: &Expr) -> Result<Predicate> {
        let both = |left: Predicate, right: Predicate| (Box::new(left), Box::new(right));
        match expr {
            // What guards a side that may fail must be evaluated with it, row by row.
            _ if is_fallible(expr) => self.leaf(expr),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                let (left, right) = both(self.predicate(left)?, self.predicate(right)?);
                Ok(Predicate::And(left, right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (left, right) = both(self.predicate(left)?, self.predicate(right)?);
                Ok(Predicate::Or(left, right))
            }
            Expr::Not(inner) => Ok(Predicate::Not(Box::new(self.predicate(inner)?))),
            _ => self.leaf(expr),
        }
    }

    fn leaf(&mut self, expr: &Expr) -> Result<Predicate> {
        if let Some(compare) = self.comparison(expr)? {
            return Ok(compare);
        }
        let columns = expr.column_refs();
        let mut names = columns.iter();
        if let (Some(only), None) = (names.next(), names.next())
            && self.scan.type_of(&Expr::Column((*only).clone()))? == DataType::Utf8
            && !is_fallible(expr)
        {
            let column = self.code(&Expr::Column((*only).clone()))?;
            let binding = TableBinding { column, name: only.name.clone(), predicate: expr.clone() };
            let table = self.tables.iter().position(|t| *t == binding).unwrap_or_else(|| {
                self.tables.push(binding);
                self.tables.len() - 1
            });
            return Ok(Predicate::Table { column, table });
        }
        Ok(Predicate::Column(self.bind(Binding::Truth(expr.clone()), ColumnType::Truth)?))
    }

    /// `column <op> constant` over 64-bit integers, timestamps and doubles.
    fn comparison(&mut self, expr: &Expr) -> Result<Option<Predicate>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return Ok(None) };
        let op = match op {
            Operator::Eq => Compare::Eq,
            Operator::NotEq => Compare::NotEq,
            Operator::Lt => Compare::Lt,
            Operator::LtEq => Compare::LtEq,
            Operator::Gt => Compare::Gt,
            Operator::GtEq => Compare::GtEq,
            _ => return Ok(None),
        };
        let (Expr::Column(_), Expr::Literal(value, _)) = (left.as_ref(), right.as_ref()) else { return Ok(None) };
        Ok(match value {
            ScalarValue::Int64(Some(key)) | ScalarValue::TimestampMicrosecond(Some(key), _) => {
                Some(Predicate::Compare { column: self.integer(left)?, op, key: *key })
            }
            ScalarValue::Float64(Some(value)) => {
                Some(Predicate::Compare { column: self.double(left)?, op, key: kernels::order_key(*value) })
            }
            _ => None,
        })
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
