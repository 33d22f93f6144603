//! Streaming queries of a client: `writeStream.start()`, the query's methods, and the query manager's.
//!
//! Comes in: commands. Goes out: their results. Fails: what starting a query fails with; a query that ended with an exception, where its end is waited for.

use super::session::ClientSession;
use crate::batch::Trigger;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrame, StreamingQuery};
use crate::plan::lower::lower;
use parking_lot::Mutex;
use spark_connect_proto::streaming_query_command as command;
use spark_connect_proto::streaming_query_command_result as result;
use spark_connect_proto::streaming_query_manager_command::Command as ManagerCommand;
use spark_connect_proto::streaming_query_manager_command_result as manager;
use spark_connect_proto::write_stream_operation_start::{SinkDestination, Trigger as ProtoTrigger};
use spark_connect_proto::{
    StreamingQueryCommand, StreamingQueryCommandResult, StreamingQueryInstanceId, StreamingQueryManagerCommand,
    StreamingQueryManagerCommandResult, WriteStreamOperationStart, WriteStreamOperationStartResult,
};
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a query that has ended can be asked about; Spark's time.
const ENDED_LIMIT: Duration = Duration::from_secs(3600);

/// Queries that a client has started, by their runs.
#[derive(Default)]
pub struct Queries {
    known: Mutex<HashMap<Uuid, Known>>,
}

struct Known {
    query: StreamingQuery,
    ended: Option<Instant>,
}

impl Queries {
    fn put(&self, query: &StreamingQuery) {
        self.known.lock().insert(query.run_id(), Known { query: query.clone(), ended: None });
    }

    fn get(&self, id: &StreamingQueryInstanceId) -> Option<StreamingQuery> {
        let run_id = Uuid::parse_str(&id.run_id).ok()?;
        self.known.lock().get(&run_id).map(|known| known.query.clone())
    }

    /// Forgets queries that ended long ago.
    pub fn sweep(&self) {
        self.known.lock().retain(|_, known| match known.ended {
            _ if known.query.is_active() => true,
            None => {
                known.ended = Some(Instant::now());
                true
            }
            Some(since) => since.elapsed() < ENDED_LIMIT,
        });
    }
}

/// Starts a query over `frame`.
///
/// # Errors
/// As [`DataStreamWriter::start`]; functions of other languages than Python.
pub async fn start(
    client: &Arc<ClientSession>,
    frame: DataFrame,
    asked: WriteStreamOperationStart,
) -> Result<WriteStreamOperationStartResult> {
    let mut writer = frame.write_stream();
    if !asked.format.is_empty() {
        writer = writer.format(&asked.format);
    }
    for (key, value) in &asked.options {
        writer = writer.option(key, value.as_str());
    }
    if !asked.partitioning_column_names.is_empty() {
        writer = writer.partition_by(asked.partitioning_column_names);
    }
    if !asked.clustering_column_names.is_empty() {
        return Err(Error::new(
            ErrorCode::UnsupportedOperation,
            "clusterBy is not supported by file sinks; use partitionBy",
        ));
    }
    if let Some(trigger) = &asked.trigger {
        writer = writer.trigger(trigger_of(trigger)?);
    }
    if !asked.output_mode.is_empty() {
        writer = writer.output_mode(asked.output_mode.as_str());
    }
    if !asked.query_name.is_empty() {
        writer = writer.query_name(&asked.query_name);
    }
    if let Some(function) = asked.foreach_batch {
        // What is wrong with a plan is said where the query starts.
        let stateful = lower(frame.plan()).is_ok_and(|plan| plan.stateful().next().is_some());
        writer = super::functions::foreach_batch(client, writer, function, stateful).await?;
    }
    if let Some(function) = asked.foreach_writer {
        writer = super::functions::foreach(client, writer, function)?;
    }
    let query = match asked.sink_destination {
        None => writer.start().await?,
        Some(SinkDestination::Path(path)) => writer.start_path(&path).await?,
        Some(SinkDestination::TableName(name)) => writer.to_table(&name).await?,
    };
    client.queries.put(&query);
    Ok(WriteStreamOperationStartResult {
        query_id: Some(id_of(&query)),
        name: query.name().unwrap_or_default().to_string(),
        query_started_event_json: client.bus.started(query.run_id()),
    })
}

fn trigger_of(trigger: &ProtoTrigger) -> Result<Trigger> {
    match trigger {
        ProtoTrigger::ProcessingTimeInterval(interval) => Trigger::processing_time(interval),
        ProtoTrigger::AvailableNow(_) => Ok(Trigger::AvailableNow),
        ProtoTrigger::Once(_) => Ok(Trigger::Once),
        ProtoTrigger::ContinuousCheckpointInterval(interval) => Trigger::continuous(interval),
        ProtoTrigger::RealTimeBatchDuration(duration) => Trigger::real_time(duration),
    }
}

fn id_of(query: &StreamingQuery) -> StreamingQueryInstanceId {
    StreamingQueryInstanceId { id: query.id().to_string(), run_id: query.run_id().to_string() }
}

/// A method of a query.
///
/// # Errors
/// A query that this session has not started; the query's exception.
pub async fn query(client: &ClientSession, asked: StreamingQueryCommand) -> Result<StreamingQueryCommandResult> {
    use command::Command;
    let ends = matches!(
        asked.command,
        Some(Command::Stop(_) | Command::ProcessAllAvailable(_) | Command::AwaitTermination(_))
    );
    let answer = method(client, asked).await;
    if ends {
        client.bus.heard(&client.session).await;
    }
    answer
}

async fn method(client: &ClientSession, asked: StreamingQueryCommand) -> Result<StreamingQueryCommandResult> {
    use command::Command;
    use result::ResultType;
    let id = asked.query_id.unwrap_or_default();
    let query = client.queries.get(&id).ok_or_else(|| {
        Error::new(
            ErrorCode::InvalidParameterValue,
            format!("there is no streaming query with id {} and run id {} in this session", id.id, id.run_id),
        )
    })?;
    let progress =
        |json: Vec<String>| ResultType::RecentProgress(result::RecentProgressResult { recent_progress_json: json });
    let answer = match asked.command {
        Some(Command::Status(_)) => {
            let status = query.status();
            Some(ResultType::Status(result::StatusResult {
                status_message: status.message,
                is_data_available: status.is_data_available,
                is_trigger_active: status.is_trigger_active,
                is_active: query.is_active(),
            }))
        }
        Some(Command::LastProgress(_)) => Some(progress(query.last_progress().iter().map(|p| p.json()).collect())),
        Some(Command::RecentProgress(_)) => Some(progress(query.recent_progress().iter().map(|p| p.json()).collect())),
        Some(Command::Stop(_)) => {
            query.stop().await;
            None
        }
        Some(Command::ProcessAllAvailable(_)) => {
            query.process_all_available().await?;
            None
        }
        Some(Command::Explain(explain)) => {
            let result = query.explain_string(explain.extended).to_string();
            Some(ResultType::Explain(result::ExplainResult { result }))
        }
        Some(Command::Exception(_)) => Some(ResultType::Exception(exception(&query))),
        Some(Command::AwaitTermination(wait)) => {
            let terminated = match limit(wait.timeout_ms) {
                Some(limit) => query.await_termination_timeout(limit).await?,
                None => query.await_termination().await.map(|()| true)?,
            };
            Some(ResultType::AwaitTermination(result::AwaitTerminationResult { terminated }))
        }
        None => None,
    };
    Ok(StreamingQueryCommandResult { query_id: Some(id), result_type: answer })
}

fn limit(timeout_ms: Option<i64>) -> Option<Duration> {
    timeout_ms.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

fn exception(query: &StreamingQuery) -> result::ExceptionResult {
    let Some(error) = query.exception() else { return result::ExceptionResult::default() };
    let cause = error.source().and_then(|cause| cause.downcast_ref::<Error>()).unwrap_or(&error);
    result::ExceptionResult {
        exception_message: query.exception_text(),
        error_class: Some(cause.condition().into_owned()),
        stack_trace: Some(error.to_string()),
    }
}

/// A method of the query manager.
///
/// # Errors
/// The exception of a query that ended with one, where an end is waited for; listeners that live on the server.
pub async fn manage(
    client: &ClientSession,
    asked: StreamingQueryManagerCommand,
) -> Result<StreamingQueryManagerCommandResult> {
    use manager::ResultType;
    let streams = client.session.streams();
    let instance = |query: &StreamingQuery| manager::StreamingQueryInstance {
        id: Some(id_of(query)),
        name: query.name().map(str::to_string),
    };
    let answer = match asked.command {
        Some(ManagerCommand::Active(_)) => {
            let active_queries = streams.active().iter().map(instance).collect();
            Some(ResultType::Active(manager::ActiveResult { active_queries }))
        }
        Some(ManagerCommand::GetQuery(id)) => {
            let found = Uuid::parse_str(&id).ok().and_then(|id| streams.get(id));
            found.inspect(|query| client.queries.put(query)).map(|query| ResultType::Query(instance(&query)))
        }
        Some(ManagerCommand::AwaitAnyTermination(wait)) => {
            let terminated = match limit(wait.timeout_ms) {
                Some(limit) => streams.await_any_termination_timeout(limit).await,
                None => streams.await_any_termination().await.map(|()| true),
            };
            client.bus.heard(&client.session).await;
            let terminated = terminated?;
            Some(ResultType::AwaitAnyTermination(manager::AwaitAnyTerminationResult { terminated }))
        }
        Some(ManagerCommand::ResetTerminated(_)) => {
            streams.reset_terminated();
            Some(ResultType::ResetTerminated(true))
        }
        Some(ManagerCommand::ListListeners(_)) => {
            Some(ResultType::ListListeners(manager::ListStreamingQueryListenerResult { listener_ids: vec![] }))
        }
        Some(ManagerCommand::AddListener(_) | ManagerCommand::RemoveListener(_)) => {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "listeners of a client of Spark 3.5 run on the server, which this one does not do; use PySpark 4 or later, whose listeners run in the client",
            ));
        }
        None => None,
    };
    Ok(StreamingQueryManagerCommandResult { result_type: answer })
}
