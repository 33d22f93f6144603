//! Planning of joins: which comparisons are keys, what is looked at pair by pair, and how far back in time a partner can lie.
//!
//! Comes in: two relations and a condition. Goes out: a [`JoinCondition`]; from it the stateful join of two streams
//! ([`StreamJoinPlan`]) and the join of a stream with a table ([`StaticJoin`]). Fails: joins that have no streaming form.
//!
//! A row of one stream may leave the state when no row that is still to come can be its partner. Two things tell: an event time among the
//! keys (a partner has the same time, and what is at or before the watermark is late), or a comparison that bounds the other side's
//! event time by the row's own (`right.t <= left.t + 5 seconds`: once the watermark has passed that sum, every such partner is late).

use super::logical::{JoinType, LogicalPlan, TIME_WINDOW_KEY, join_scope, watermark_delay_ms};
use super::resolve::is_fallible;
use super::scope::{distinct_names, reference};
use super::spark_function::{Kind, SparkFunction};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::arithmetic::Math;
use crate::operator::expand::TableIndex;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// A join's condition, taken apart. Expressions over one side use that side's own names.
#[derive(Debug, Clone, Default)]
pub struct JoinCondition {
    /// Expressions of the left side that equal those of the right side, in order.
    pub left_keys: Vec<Expr>,
    /// See `left_keys`.
    pub right_keys: Vec<Expr>,
    /// What is left, over the names of [`join_scope`].
    pub rest: Vec<Expr>,
    /// What a row of each side must fulfil to have any partner: the parts of `rest` that look at it alone and cannot fail, and that what is
    /// compared is not NULL.
    needed: [Vec<Expr>; 2],
    /// When a left row can go.
    pub left_bound: Option<Bound>,
    /// When a right row can go.
    pub right_bound: Option<Bound>,
    /// Whether an event time is among the keys.
    pub time_in_keys: bool,
}

/// When a row of one side of a join has no partner to come.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The time that is compared, of the row's own side: a timestamp, or a window, whose end counts.
    pub time: Expr,
    /// Added to the time, in microseconds.
    pub offset: i64,
    /// Whether a sum equal to the watermark goes too: so with a key and a range that excludes its end, but not with one whose end may
    /// still come.
    pub inclusive: bool,
}

/// The join of two streams.
#[derive(Debug, Clone)]
pub struct StreamJoinPlan {
    /// Kind.
    pub join_type: JoinType,
    /// The condition.
    pub condition: JoinCondition,
    /// Columns of the sides.
    pub sides: [SchemaRef; 2],
    /// Columns of both, under distinct names: what `condition.rest` is written over.
    pub pairs: SchemaRef,
    /// Columns of the result.
    pub schema: SchemaRef,
}

/// The join of a stream with a table, which is read once, when the query starts.
#[derive(Debug)]
pub struct StaticJoin {
    /// What becomes of a row of the stream.
    pub kind: StaticJoinKind,
    /// The table.
    pub table: Arc<LogicalPlan>,
    /// Expressions over the table that the stream's keys must equal.
    pub table_keys: Vec<Expr>,
    /// The table's rows, once they are loaded.
    pub rows: OnceLock<RecordBatch>,
    /// The same by their keys, once a worker wants them: all share them.
    pub index: Mutex<Option<Arc<TableIndex>>>,
}

/// What becomes of a stream's row that is joined with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaticJoinKind {
    /// One row for each partner.
    Inner,
    /// One row for each partner, and one with NULLs where there is none.
    Outer,
    /// The row if it has a partner.
    Semi,
    /// The row if it has none.
    Anti,
}

impl JoinCondition {
    /// Takes a join's condition apart.
    pub fn of(left: &LogicalPlan, right: &LogicalPlan, condition: Option<&Expr>) -> Result<Self> {
        let Some(condition) = condition else { return Ok(Self::default()) };
        let scope = join_scope(left, right, 0);
        let width = left.schema().fields().len();
        let names = scope.names();
        let (left_names, right_names) = (distinct_names(left.schema()), distinct_names(right.schema()));
        let side_of = |e: &Expr| -> Option<usize> {
            let mut sides = e.column_refs().into_iter().map(|c| names.iter().position(|n| *n == c.name));
            let first = sides.next()?? >= width;
            sides.all(|at| at.is_some_and(|at| (at >= width) == first)).then_some(usize::from(first))
        };
        let own = |e: Expr| -> Result<Expr> {
            let renamed = e.transform_up(|e| match &e {
                Expr::Column(c) => {
                    let at = names.iter().position(|n| *n == c.name);
                    let name = at.and_then(|at| match at < width {
                        true => left_names.get(at),
                        false => right_names.get(at - width),
                    });
                    Ok(name.map_or(Transformed::no(e.clone()), |name| Transformed::yes(reference(name))))
                }
                _ => Ok(Transformed::no(e)),
            })?;
            Ok(renamed.data)
        };
        let mut found = Self::default();
        let mut keyed = None;
        for part in split_conjunction_owned(condition.clone()) {
            let alone = (!is_fallible(&part)).then(|| part.clone());
            for need in alone.into_iter().chain(compared(&part).into_iter().map(|column| column.clone().is_not_null()))
            {
                if let Some(needed) = side_of(&need).and_then(|side| found.needed.get_mut(side)) {
                    let need = own(need)?;
                    if !needed.contains(&need) {
                        needed.push(need);
                    }
                }
            }
            if let Expr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r }) = &part {
                let (l, r) = match (side_of(l), side_of(r)) {
                    (Some(0), Some(1)) => (own(l.as_ref().clone())?, own(r.as_ref().clone())?),
                    (Some(1), Some(0)) => (own(r.as_ref().clone())?, own(l.as_ref().clone())?),
                    _ => {
                        found.rest.push(part);
                        continue;
                    }
                };
                if has_watermark(&l, left.schema()) || has_watermark(&r, right.schema()) {
                    keyed.get_or_insert((l.clone(), r.clone()));
                }
                found.left_keys.push(l);
                found.right_keys.push(r);
                continue;
            }
            if let Some((own_time, other_time, offset, strict)) = upper_bound(&part) {
                // own_time <= other_time + offset: rows of the other side go when their sum has passed.
                for (side, plan, bound) in [(0usize, left, &mut found.right_bound), (1, right, &mut found.left_bound)] {
                    if side_of(&own_time) == Some(side)
                        && side_of(&other_time) == Some(1 - side)
                        && has_watermark(&own(own_time.clone())?, plan.schema())
                        && is_time(&other_time, scope.schema())
                        && bound.as_ref().is_none_or(|known| (offset, !strict) < (known.offset, !known.inclusive))
                    {
                        *bound = Some(Bound { time: own(other_time.clone())?, offset, inclusive: strict });
                    }
                }
            }
            found.rest.push(part);
        }
        if let Some((l, r)) = keyed {
            found.time_in_keys = true;
            found.left_bound = Some(Bound { time: l, offset: 0, inclusive: true });
            found.right_bound = Some(Bound { time: r, offset: 0, inclusive: true });
        }
        Ok(found)
    }
}

/// The columns whose NULL makes a comparison NULL, and so no pair.
fn compared(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq,
            right,
        }) => [values(left), values(right)].concat(),
        Expr::Between(between) if !between.negated => {
            [values(&between.expr), values(&between.low), values(&between.high)].concat()
        }
        _ => vec![],
    }
}

/// The columns whose NULL makes a value NULL: those that are only cast, added to, and the like.
fn values(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Column(_) => vec![expr],
        Expr::Cast(cast) => values(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus | Operator::Minus | Operator::Multiply, right }) => {
            [values(left), values(right)].concat()
        }
        Expr::ScalarFunction(call) => match SparkFunction::of(call).map(|function| &function.kind) {
            Some(Kind::Arithmetic { .. }) => call.args.iter().flat_map(values).collect(),
            _ => vec![],
        },
        _ => vec![],
    }
}

impl JoinCondition {
    /// What rows of a side (0 for the left one) must fulfil that are worth keeping; nothing where the join gives rows without a partner.
    pub fn needed(&self, side: usize, join_type: JoinType) -> &[Expr] {
        let all = match join_type {
            JoinType::Inner | JoinType::LeftSemi => true,
            JoinType::LeftOuter | JoinType::LeftAnti => side == 1,
            JoinType::RightOuter => side == 0,
            _ => false,
        };
        self.needed.get(side).filter(|_| all).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Whether an expression is a column with a watermark.
fn has_watermark(expr: &Expr, schema: &Schema) -> bool {
    let Expr::Column(column) = expr else { return false };
    let at = distinct_names(schema).iter().position(|name| *name == column.name);
    at.and_then(|at| schema.fields().get(at)).is_some_and(|field| watermark_delay_ms(field).is_some())
}

/// Whether an expression is a column of timestamps. A date that an interval makes a timestamp of is none.
fn is_time(expr: &Expr, schema: &Schema) -> bool {
    let Expr::Column(column) = expr else { return false };
    let at = distinct_names(schema).iter().position(|name| *name == column.name);
    at.and_then(|at| schema.fields().get(at)).is_some_and(|field| matches!(field.data_type(), DataType::Timestamp(..)))
}

/// `a <= b + offset`, or what is equivalent to it, as (a, b, offset in microseconds, whether it is `<`).
fn upper_bound(expr: &Expr) -> Option<(Expr, Expr, i64, bool)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (less, more) = match op {
        Operator::Lt | Operator::LtEq => (left, right),
        Operator::Gt | Operator::GtEq => (right, left),
        _ => return None,
    };
    let ((a, before), (b, after)) = (shifted(less)?, shifted(more)?);
    Some((a, b, after.checked_sub(before)?, matches!(op, Operator::Lt | Operator::Gt)))
}

/// A column, and the constant interval that is added to it, in microseconds.
fn shifted(expr: &Expr) -> Option<(Expr, i64)> {
    let (minus, left, right) = match expr {
        Expr::Column(_) => return Some((expr.clone(), 0)),
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(_, _)) => return shifted(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::Plus | Operator::Minus) => {
            (*op == Operator::Minus, left.as_ref(), right.as_ref())
        }
        Expr::ScalarFunction(call) => match (SparkFunction::of(call).map(|f| &f.kind), call.args.as_slice()) {
            (Some(Kind::Arithmetic { op: op @ (Math::Add | Math::Subtract), .. }), [left, right]) => {
                (*op == Math::Subtract, left, right)
            }
            _ => return None,
        },
        _ => return None,
    };
    let (base, interval) = match (micros(right), micros(left)) {
        (Some(interval), _) => (left, if minus { interval.checked_neg()? } else { interval }),
        (None, Some(interval)) if !minus => (right, interval),
        _ => return None,
    };
    let (base, offset) = shifted(base)?;
    Some((base, offset.checked_add(interval)?))
}

/// A constant interval without months, in microseconds.
fn micros(expr: &Expr) -> Option<i64> {
    const DAY: i64 = 24 * 3600 * 1_000_000;
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) if interval.months == 0 => {
            i64::from(interval.days).checked_mul(DAY)?.checked_add(interval.nanoseconds.div_euclid(1000))
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => {
            i64::from(interval.days).checked_mul(DAY)?.checked_add(i64::from(interval.milliseconds) * 1000)
        }
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(duration)), _) => Some(*duration),
        _ => None,
    }
}

/// The column of a side by which its rows are late: its first with a watermark; and whether that is a window, whose end counts.
pub fn event_time_of(schema: &Schema) -> Option<Expr> {
    let named = schema.fields().iter().zip(distinct_names(schema));
    named.into_iter().find(|(field, _)| watermark_delay_ms(field).is_some()).map(|(field, name)| {
        debug_assert!(
            field.metadata().contains_key(TIME_WINDOW_KEY) || !matches!(field.data_type(), DataType::Struct(_))
        );
        reference(&name)
    })
}

impl StreamJoinPlan {
    /// The join of two streams.
    ///
    /// # Errors
    /// `UnsupportedOperation` for a join without an equality between the sides.
    pub fn new(
        left: &LogicalPlan,
        right: &LogicalPlan,
        join_type: JoinType,
        condition: Option<&Expr>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let condition = JoinCondition::of(left, right, condition)?;
        if condition.left_keys.is_empty() {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "stream-stream join without equality predicate is not supported; compare a column of one stream with one of the other by ==",
            ));
        }
        let scope = join_scope(left, right, 0);
        let fields = scope.schema().fields().iter().zip(scope.names());
        let fields = fields.map(|(field, name)| field.as_ref().clone().with_name(name).with_nullable(true));
        Ok(Self {
            join_type,
            condition,
            sides: [left.schema().clone(), right.schema().clone()],
            pairs: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            schema: schema.clone(),
        })
    }
}

impl StaticJoinKind {
    /// What a join type means for the stream's rows, the stream being on the left or on the right.
    ///
    /// # Errors
    /// `UnsupportedOperation` for types that would have to wait for all of the stream.
    pub fn of(join_type: JoinType, stream_on_left: bool) -> Result<Self> {
        match (join_type, stream_on_left) {
            (JoinType::Inner | JoinType::Cross, _) => Ok(Self::Inner),
            (JoinType::LeftOuter, true) | (JoinType::RightOuter, false) => Ok(Self::Outer),
            (JoinType::LeftSemi, true) => Ok(Self::Semi),
            (JoinType::LeftAnti, true) => Ok(Self::Anti),
            (other, _) => Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "{} join with a streaming frame on the {} and a table on the other side is not supported: its table rows without a partner would never be known; use inner, or keep the stream's rows",
                    other.name(),
                    if stream_on_left { "left" } else { "right" }
                ),
            )),
        }
    }
}
