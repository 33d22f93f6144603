//! Tables: frames without a stream in them are computed at once, by DataFusion, over the same sources, decoders and functions.
//!
//! Comes in: a [`LogicalPlan`] whose sources are tables. Goes out: its rows. Fails: what reading, decoding and expressions fail with.
//!
//! ```text
//! source -> decode -> stateless steps (one branch, as in a stream) -> DataFusion: joins, aggregates, sort, limit -> rows
//! ```

mod lower;
mod prepare;
mod rows;
mod scan;
mod window;

use crate::error::{Error, ErrorCode, Result};
use crate::frame::Observed;
use crate::operator::clock::BatchClock;
use crate::plan::LogicalPlan;
use crate::plan::scope::distinct_names;
use crate::session::Session;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use futures::{Stream, TryStreamExt};
use prepare::Preparation;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What an action over a table came to.
#[derive(Debug)]
pub struct Computed {
    /// The rows, in order where the plan has one.
    pub batches: Vec<RecordBatch>,
    /// What the observations in the plan saw.
    pub observed: Vec<Observed>,
}

/// Computes a table. Observations see all rows of what they observe, also where the action needs a few of them.
///
/// # Errors
/// `UnsupportedOperation` for a plan with a stream in it; otherwise what reading and expressions fail with.
pub async fn run(session: &Session, plan: &LogicalPlan) -> Result<Computed> {
    let (observed, rows) = stream(session, plan).await?;
    Ok(Computed { batches: rows.try_collect().await?, observed })
}

/// The rows of a table, in order where the plan has one.
///
/// # Errors
/// As [`run`].
pub async fn collect(session: &Session, plan: &LogicalPlan) -> Result<Vec<RecordBatch>> {
    Ok(run(session, plan).await?.batches)
}

/// [`run`], with the rows as they are computed; no batch is empty.
///
/// # Errors
/// As [`run`].
pub async fn stream(
    session: &Session,
    plan: &LogicalPlan,
) -> Result<(Vec<Observed>, impl Stream<Item = Result<RecordBatch>> + Send + use<>)> {
    refuse_streams(plan)?;
    plan.check_observations()?;
    let clock = now();
    let mut preparation = Preparation::new(session, &clock);
    let prepared = preparation.prepare(plan).await?;
    let rows = compute(session, &prepared, &clock).await?;
    Ok((preparation.finish(), rows))
}

/// The rows of a prepared plan.
async fn compute(
    session: &Session,
    plan: &LogicalPlan,
    clock: &BatchClock,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + use<>> {
    let context = context();
    let lowered = lower::lower(session, plan, clock).await?;
    let physical = context.state().create_physical_plan(&lowered).await?;
    let rows = datafusion::physical_plan::execute_stream(physical, context.task_ctx())?;
    let schema = plan.schema().clone();
    Ok(rows.map_err(Error::from).try_filter_map(move |batch| {
        let rows = (batch.num_rows() > 0).then(|| conform(&batch, &schema)).transpose();
        std::future::ready(rows)
    }))
}

/// The rows of a table as one batch, whose columns go by their distinct names.
///
/// # Errors
/// As [`collect`].
pub async fn collect_one(session: &Session, plan: &LogicalPlan) -> Result<RecordBatch> {
    let batches = collect(session, plan).await?;
    let all = arrow::compute::concat_batches(plan.schema(), &batches)?;
    let names = distinct_names(plan.schema());
    let fields = plan.schema().fields().iter().zip(names);
    let fields = fields.map(|(field, name)| field.as_ref().clone().with_name(name).with_nullable(true));
    conform(&all, &Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// DataFusion's plan of a table, as text.
///
/// # Errors
/// As [`collect`].
pub async fn explain(session: &Session, plan: &LogicalPlan) -> Result<String> {
    refuse_streams(plan)?;
    let (context, clock) = (context(), now());
    let prepared = Preparation::new(session, &clock).prepare(plan).await?;
    let lowered = lower::lower(session, &prepared, &clock).await?;
    let physical = context.state().create_physical_plan(&lowered).await?;
    let shown = datafusion::physical_plan::displayable(physical.as_ref()).indent(false).to_string();
    Ok(format!("== Logical Plan ==\n{plan}\n== Physical Plan ==\n{shown}"))
}

/// The clock of one computation: `current_timestamp()` is the same in all of it.
fn now() -> BatchClock {
    let clock = BatchClock::default();
    clock.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64));
    clock
}

fn refuse_streams(plan: &LogicalPlan) -> Result<()> {
    match plan.is_streaming() {
        true => Err(Error::new(
            ErrorCode::UnsupportedOperation,
            "queries with streaming sources must be executed with write_stream().start(); a table is read with session.read()",
        )),
        false => Ok(()),
    }
}

/// One partition: rows keep their order, and a result is the same each time. Decoding uses every core all the same.
fn context() -> SessionContext {
    // The rule for leaf expressions pulls a struct's field below a sort or a limit and then has two columns of one name.
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .set_bool("datafusion.optimizer.enable_leaf_expression_pushdown", false);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::new(RuntimeEnv::default()))
        .with_default_features()
        .build();
    SessionContext::new_with_state(state)
}

/// The batch with the names and types of `schema`.
///
/// # Errors
/// Another number of columns, and types that cannot be cast.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => Ok(arrow::compute::cast(column, field.data_type())?),
        }
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
