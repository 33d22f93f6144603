//! Planning of an aggregation by session windows: rows of a key that follow each other within a gap.
//!
//! Comes in: grouping keys, one of which is a `session_window`, and aggregate calls. Goes out: a [`SessionPlan`] for the operator that
//! owns the sessions, and the step that gives each row of a chunk the session that the chunk's rows of its key make. The sessions'
//! bounds are then keys like any other to the partial aggregation. Fails: aggregates that are not computed.

use super::aggregate::AggregatePlan;
use super::logical::{Named, watermark_delay_ms};
use super::lower::ExpandKind;
use super::scope::reference;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::session_window::session_parts;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Names of the columns that the step adds; no relation has such a column.
const BOUNDS: [&str; 2] = ["#session.start", "#session.end"];

/// The watermark that decides what is late, from the operator to the steps before it: set when a batch begins.
#[derive(Debug, Clone)]
pub struct LateWatermark(Arc<AtomicI64>);

impl LateWatermark {
    /// A watermark behind every time.
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MIN)))
    }

    /// Sets it, in microseconds; `i64::MIN` makes nothing late.
    pub fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::Release);
    }

    /// The watermark in microseconds.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
}

/// An aggregation by session windows.
#[derive(Debug, Clone)]
pub struct SessionPlan {
    /// The aggregation of which a session's start and end are the last two keys.
    pub inner: AggregatePlan,
    /// Position of the window among the output columns.
    pub window: usize,
    /// Whether the time carries a watermark, so that sessions end.
    pub watermarked: bool,
    /// Output columns: keys as grouped, then calls.
    pub schema: SchemaRef,
    /// What is late in the batch in progress.
    pub late: LateWatermark,
    keys: Vec<Expr>,
    session: Expr,
}

impl SessionPlan {
    /// A plan of a grouping whose key `window` is a session window.
    pub(super) fn new(
        window: usize,
        keys: &[Named],
        aggregates: &[Named],
        input: &SchemaRef,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let session = keys.get(window).ok_or_else(|| Error::internal("a session without a key"))?.expr.clone();
        let bounds = |name: &str| Named { expr: reference(name), name: name.to_string() };
        let plain: Vec<&Named> =
            keys.iter().enumerate().filter(|(index, _)| *index != window).map(|(_, k)| k).collect();
        let grouped: Vec<Named> = plain.iter().map(|key| (*key).clone()).chain(BOUNDS.map(bounds)).collect();
        // Bounds are numbers to the partial aggregation, and no key of it is one that a watermark moves past.
        let of_key = |field: &Arc<Field>| field.as_ref().clone().with_metadata(HashMap::new());
        let fields = schema.fields().iter().take(keys.len()).enumerate().filter(|(index, _)| *index != window);
        let fields = fields.map(|(_, field)| of_key(field)).chain(BOUNDS.map(bound));
        let fields = fields.chain(schema.fields().iter().skip(keys.len()).map(|field| field.as_ref().clone()));
        let inner_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let inner = AggregatePlan::new(&grouped, aggregates, &extended(input), &inner_schema)?;
        let watermarked = schema.fields().get(window).is_some_and(|field| watermark_delay_ms(field).is_some());
        Ok(Self {
            inner,
            window,
            watermarked,
            schema: schema.clone(),
            late: LateWatermark::new(),
            keys: plain.into_iter().map(|key| key.expr.clone()).collect(),
            session,
        })
    }

    /// The step before the partial aggregation, and the columns after it. `substitute` rewrites an expression over the columns that
    /// the branch reads.
    pub(super) fn step(&self, substitute: impl Fn(&Expr) -> Result<Expr>) -> Result<ExpandKind> {
        let session = substitute(&self.session)?;
        let (time, gap) = session_parts(&session).ok_or_else(|| {
            Error::new(
                ErrorCode::DatatypeMismatch,
                format!("the session window is {session} in one input of a union; group by one session_window()"),
            )
        })?;
        Ok(ExpandKind::Sessions {
            keys: self.keys.iter().map(&substitute).collect::<Result<_>>()?,
            time: time.clone(),
            gap: gap.clone(),
            late: self.late.clone(),
        })
    }
}

/// `input` with the columns that the step adds.
pub(super) fn extended(input: &SchemaRef) -> SchemaRef {
    let bounds = BOUNDS.map(|name| Arc::new(bound(name)));
    Arc::new(Schema::new(input.fields().iter().cloned().chain(bounds).collect::<Vec<_>>()))
}

fn bound(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}
