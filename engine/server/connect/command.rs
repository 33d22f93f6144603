//! Plans that are executed: rows of relations, and commands.
//!
//! Comes in: the plan of an ExecutePlan call. Goes out: the answers of its execution. Fails: what translating, computing and writing fail with; commands of Spark
//! that need its JVM or its catalogs, by name.

use super::execution::Execution;
use super::plan::types::to_proto;
use super::plan::{Planner, literal};
use super::rows::Encoder;
use super::session::ClientSession;
use super::{functions, message, streaming, write};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrame, Observed};
use crate::table;
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use spark_connect_proto::command::CommandType;
use spark_connect_proto::execute_plan_response::{ObservedMetrics, ResponseType, SqlCommandResult};
use spark_connect_proto::plan::OpType;
use spark_connect_proto::plan::compressed_operation::OpType as CompressedType;
use spark_connect_proto::relation::RelType;
use spark_connect_proto::streaming_query_listener_bus_command::Command as BusCommand;
use spark_connect_proto::{
    CachedRemoteRelation, CheckpointCommandResult, Command, CompressionCodec, ExecutePlanResponse,
    GetResourcesCommandResult, LocalRelation, Plan, Relation, SqlCommand,
};
use std::sync::Arc;
use uuid::Uuid;

/// A plan that was compressed comes out no larger than this.
const PLAN_BYTES: usize = 512 << 20;

/// What a plan is.
pub enum Operation {
    /// Rows.
    Relation(Box<Relation>),
    /// An effect.
    Command(Box<Command>),
}

/// Unpacks a plan.
///
/// # Errors
/// A plan that is neither rows nor a command, or is not what its compression says.
pub fn operation(plan: Option<Plan>) -> Result<Operation> {
    let invalid = |why: String| Error::new(ErrorCode::InvalidExpression, format!("the plan cannot be read: {why}"));
    match plan.and_then(|plan| plan.op_type) {
        Some(OpType::Root(relation)) => Ok(Operation::Relation(Box::new(relation))),
        Some(OpType::Command(command)) => Ok(Operation::Command(Box::new(command))),
        Some(OpType::CompressedOperation(packed)) => {
            if packed.compression_codec() != CompressionCodec::Zstd {
                return Err(invalid("its compression is not ZSTD".to_string()));
            }
            let bytes = zstd::bulk::decompress(&packed.data, PLAN_BYTES).map_err(|e| invalid(e.to_string()))?;
            let decoded = match packed.op_type() {
                CompressedType::Relation => {
                    message::decode::<Relation>(&bytes).map(|r| Operation::Relation(Box::new(r)))
                }
                CompressedType::Command => message::decode::<Command>(&bytes).map(|c| Operation::Command(Box::new(c))),
                CompressedType::Unspecified => return Err(invalid("it is neither rows nor a command".to_string())),
            };
            decoded.map_err(invalid)
        }
        None => Err(invalid("it is empty".to_string())),
    }
}

/// The relation of a plan that is rows.
///
/// # Errors
/// As [`operation`]; commands.
pub fn relation(plan: Option<Plan>) -> Result<Relation> {
    match operation(plan)? {
        Operation::Relation(relation) => Ok(*relation),
        Operation::Command(_) => {
            Err(Error::new(ErrorCode::InvalidExpression, "a command was given where rows are described"))
        }
    }
}

/// Executes a plan.
///
/// # Errors
/// As the module says.
pub async fn execute(client: &Arc<ClientSession>, execution: &Arc<Execution>, plan: Option<Plan>) -> Result<()> {
    match operation(plan)? {
        Operation::Relation(relation) => {
            let frame = frame_of(client, &relation).await?;
            rows(execution, frame).await
        }
        Operation::Command(command) => run(client, execution, *command).await,
    }
}

/// The frame of a relation. Boxed, as what follows it: the futures of everything that a plan can need would be one type.
pub fn frame_of<'a>(client: &'a ClientSession, relation: &'a Relation) -> BoxFuture<'a, Result<DataFrame>> {
    Box::pin(async { Planner::new(client).relation(relation).await })
}

/// Sends the rows of a frame.
fn rows(execution: &Arc<Execution>, frame: DataFrame) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move { send(execution, &frame).await })
}

async fn send(execution: &Arc<Execution>, frame: &DataFrame) -> Result<()> {
    let (observed, rows) = table::stream(frame.session(), frame.plan()).await?;
    let mut rows = std::pin::pin!(rows);
    let observed_metrics = observed.iter().map(metrics).collect::<Result<_>>()?;
    let schema = Some(to_proto(frame.schema()));
    execution.send(ExecutePlanResponse { schema, observed_metrics, ..Default::default() }).await;
    let mut encoder = Encoder::new(frame.schema());
    let mut none = true;
    while let Some(batch) = rows.try_next().await? {
        for piece in encoder.batches(&batch)? {
            none = false;
            execution.push(ResponseType::ArrowBatch(piece)).await;
        }
    }
    if none {
        execution.push(ResponseType::ArrowBatch(encoder.empty()?)).await;
    }
    Ok(())
}

/// What an observation saw.
fn metrics(observed: &Observed) -> Result<ObservedMetrics> {
    let columns = observed.row.columns().iter();
    let values = columns.map(|column| literal::to_proto(&ScalarValue::try_from_array(column, 0)?));
    Ok(ObservedMetrics {
        name: observed.name.clone(),
        values: values.collect::<Result<_>>()?,
        keys: observed.row.schema().fields().iter().map(|field| field.name().clone()).collect(),
        ..Default::default()
    })
}

async fn run(client: &Arc<ClientSession>, execution: &Arc<Execution>, command: Command) -> Result<()> {
    let frame = async |input: Option<Relation>| match input {
        Some(relation) => frame_of(client, &relation).await,
        None => Err(Error::new(ErrorCode::InvalidExpression, "a command came without the rows it is for")),
    };
    let refuse = |what: &str, way: &str| {
        Err(Error::new(ErrorCode::UnsupportedOperation, format!("{what} is not supported by this server; {way}")))
    };
    match command.command_type {
        Some(CommandType::WriteStreamOperationStart(mut start)) => {
            let input = frame(start.input.take()).await?;
            let started = Box::pin(streaming::start(client, input, start)).await?;
            execution.push(ResponseType::WriteStreamOperationStartResult(started)).await;
            Ok(())
        }
        Some(CommandType::StreamingQueryCommand(command)) => {
            let result = streaming::query(client, command).await?;
            execution.push(ResponseType::StreamingQueryCommandResult(result)).await;
            Ok(())
        }
        Some(CommandType::StreamingQueryManagerCommand(command)) => {
            let result = streaming::manage(client, command).await?;
            execution.push(ResponseType::StreamingQueryManagerCommandResult(result)).await;
            Ok(())
        }
        Some(CommandType::StreamingQueryListenerBusCommand(command)) => {
            match command.command {
                Some(BusCommand::AddListenerBusListener(_)) => client.bus.listen(&client.session, execution).await,
                Some(BusCommand::RemoveListenerBusListener(_)) | None => client.bus.remove(),
            }
            Ok(())
        }
        Some(CommandType::SqlCommand(command)) => sql(client, execution, command).await,
        Some(CommandType::CreateDataframeView(view)) => {
            let frame = frame(view.input).await?;
            // Global views are the session's own here: there is no other session that could see them.
            let name = if view.is_global { format!("global_temp.{}", view.name) } else { view.name };
            match view.replace {
                true => frame.create_or_replace_temp_view(&name),
                false => frame.create_temp_view(&name),
            }
        }
        Some(CommandType::WriteOperation(mut write)) => {
            let frame = frame(write.input.take()).await?;
            write::table(&frame, write).await
        }
        Some(CommandType::RegisterFunction(function)) => functions::register(client, &function),
        Some(CommandType::CheckpointCommand(checkpoint)) => {
            let rows = frame(checkpoint.relation).await?;
            let rows = DataFrame::from_batches(&client.session, rows.schema().clone(), rows.collect().await?)?;
            let relation_id = Uuid::new_v4().to_string();
            client.keep(&relation_id, rows);
            let relation = Some(CachedRemoteRelation { relation_id });
            execution.push(ResponseType::CheckpointCommandResult(CheckpointCommandResult { relation })).await;
            Ok(())
        }
        Some(CommandType::RemoveCachedRemoteRelationCommand(remove)) => {
            client.drop_kept(&remove.relation.unwrap_or_default().relation_id);
            Ok(())
        }
        Some(CommandType::GetResourcesCommand(_)) => {
            execution.push(ResponseType::GetResourcesCommandResult(GetResourcesCommandResult::default())).await;
            Ok(())
        }
        Some(CommandType::WriteOperationV2(mut write)) => {
            let frame = frame(write.input.take()).await?;
            write::table_v2(&frame, write).await
        }
        Some(CommandType::RegisterTableFunction(function)) => {
            refuse(&format!("the table function {}", function.function_name), "use explode or a scalar function")
        }
        Some(CommandType::RegisterDataSource(source)) => {
            refuse(&format!("the Python data source {}", source.name), "write a source in Rust, or use foreachBatch")
        }
        Some(CommandType::MergeIntoTableCommand(_)) => refuse("MERGE INTO", "join and write in foreachBatch"),
        Some(CommandType::MlCommand(_)) => refuse("pyspark.ml", "fit models in the client, on toPandas()"),
        Some(CommandType::PipelineCommand(_)) => refuse("pyspark.pipelines", "start queries with writeStream"),
        Some(CommandType::CreateResourceProfileCommand(_)) => {
            refuse("a resource profile", "leave it out: one machine does the work")
        }
        Some(CommandType::ExecuteExternalCommand(_)) => refuse("an external command", "run it in the client"),
        Some(CommandType::Extension(extension)) => {
            refuse(&format!("the extension {}", extension.type_url), "leave it out")
        }
        None => Err(Error::new(
            ErrorCode::InvalidExpression,
            "the command is empty, or of a later version of Spark Connect",
        )),
    }
}

/// `spark.sql(text)`: a query is handed back to be executed where its rows are asked for; anything else is done now.
async fn sql(client: &Arc<ClientSession>, execution: &Arc<Execution>, command: SqlCommand) -> Result<()> {
    let Some(input) = command.input else {
        return Err(Error::new(
            ErrorCode::InvalidExpression,
            "spark.sql of a client before Spark 4 is not understood; use PySpark 4 or later",
        ));
    };
    let text = sql_text(&input);
    let relation = match text.map(crate::sql::is_query).transpose()?.unwrap_or(true) {
        true => {
            // Mistakes are told now, as Spark tells them.
            frame_of(client, &input).await?;
            input
        }
        false => {
            let frame = frame_of(client, &input).await?;
            local(&frame).await?
        }
    };
    execution.push(ResponseType::SqlCommandResult(SqlCommandResult { relation: Some(relation) })).await;
    Ok(())
}

fn sql_text(relation: &Relation) -> Option<&str> {
    match relation.rel_type.as_ref()? {
        RelType::Sql(sql) => Some(&sql.query),
        RelType::WithRelations(with) => sql_text(with.root.as_deref()?),
        _ => None,
    }
}

/// The rows of a frame as a relation that holds them.
async fn local(frame: &DataFrame) -> Result<Relation> {
    let batches = frame.collect().await?;
    let all = arrow::compute::concat_batches(frame.schema(), &batches)?;
    let mut encoder = Encoder::new(frame.schema());
    let piece = match all.num_rows() {
        0 => encoder.empty()?,
        _ => encoder.whole(&all)?,
    };
    let local = LocalRelation { data: Some(piece.data), schema: None };
    Ok(Relation { common: None, rel_type: Some(RelType::LocalRelation(local)) })
}
