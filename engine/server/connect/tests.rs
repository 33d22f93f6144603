//! The server over its wire: a client of the protocol against a server on a port of its own.

use super::*;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use futures::StreamExt;
use spark_connect_proto as proto;
use spark_connect_proto::command::CommandType;
use spark_connect_proto::execute_plan_response::ResponseType;
use spark_connect_proto::plan::OpType;
use spark_connect_proto::relation::RelType;
use spark_connect_proto::spark_connect_service_client::SparkConnectServiceClient;
use spark_connect_proto::streaming_query_command::Command as QueryCommand;
use spark_connect_proto::streaming_query_command_result::ResultType as QueryResult;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_types::StatusExt;
use uuid::Uuid;

struct Running {
    address: SocketAddr,
    sessions: Arc<Sessions>,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<Result<()>>,
}

async fn server(options: ConnectOptions) -> Running {
    server_with(&[], options).await
}

async fn server_with(settings: &[(&str, &str)], options: ConnectOptions) -> Running {
    let session = Session::builder().config("tidemill.device", "cpu");
    let session = settings.iter().fold(session, |session, (key, value)| session.config(key, *value));
    let session = session.build().await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = ConnectServer::bind(session, ConnectOptions { address, ..options }).await.unwrap();
    let (address, sessions) = (server.address(), server.sessions.clone());
    let (shutdown, ended) = oneshot::channel();
    let served = tokio::spawn(server.serve(async move {
        let _ = ended.await;
    }));
    Running { address, sessions, shutdown, served }
}

impl Running {
    async fn client(&self) -> Client {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let service = SparkConnectServiceClient::new(endpoint.connect().await.unwrap());
        Client { service: service.max_decoding_message_size(MESSAGE_BYTES), session: Uuid::new_v4().to_string() }
    }

    async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }
}

#[derive(Clone)]
struct Client {
    service: SparkConnectServiceClient<Channel>,
    session: String,
}

fn context() -> Option<proto::UserContext> {
    Some(proto::UserContext { user_id: "ada".into(), ..Default::default() })
}

fn relation(rel_type: RelType) -> proto::Relation {
    proto::Relation { common: None, rel_type: Some(rel_type) }
}

fn range(end: i64) -> OpType {
    OpType::Root(relation(RelType::Range(proto::Range { start: Some(0), end, step: 1, num_partitions: None })))
}

fn command(command_type: CommandType) -> OpType {
    OpType::Command(proto::Command { command_type: Some(command_type) })
}

fn query_command(id: &proto::StreamingQueryInstanceId, asked: QueryCommand) -> OpType {
    let command_ = proto::StreamingQueryCommand { query_id: Some(id.clone()), command: Some(asked) };
    command(CommandType::StreamingQueryCommand(command_))
}

/// Every row of a stream of longs, and whether it was complete.
#[derive(Default, Debug, PartialEq)]
struct Read {
    values: Vec<i64>,
    last: String,
    complete: bool,
}

impl Read {
    fn take(&mut self, answer: ExecutePlanResponse) -> Option<ResponseType> {
        self.last = answer.response_id;
        match &answer.response_type {
            Some(ResponseType::ArrowBatch(batch)) => {
                for rows in StreamReader::try_new(batch.data.as_ref(), None).unwrap() {
                    // What a definition answers has no columns.
                    if let Some(first) = rows.unwrap().columns().first() {
                        self.values.extend(first.as_primitive::<Int64Type>().values());
                    }
                }
            }
            Some(ResponseType::ResultComplete(_)) => self.complete = true,
            _ => {}
        }
        answer.response_type
    }
}

use spark_connect_proto::ExecutePlanResponse;

impl Client {
    async fn execute(
        &mut self,
        operation: &str,
        plan: OpType,
    ) -> Result<tonic::Streaming<ExecutePlanResponse>, Status> {
        use proto::execute_plan_request::RequestOption;
        use proto::execute_plan_request::request_option::RequestOption as Which;
        let reattach = Which::ReattachOptions(proto::ReattachOptions { reattachable: true });
        let request = proto::ExecutePlanRequest {
            session_id: self.session.clone(),
            user_context: context(),
            operation_id: Some(operation.to_string()),
            plan: Some(proto::Plan { op_type: Some(plan) }),
            request_options: vec![RequestOption { request_option: Some(reattach) }],
            ..Default::default()
        };
        Ok(self.service.execute_plan(request).await?.into_inner())
    }

    async fn reattach(
        &mut self,
        operation: &str,
        last: Option<&str>,
    ) -> Result<tonic::Streaming<ExecutePlanResponse>, Status> {
        let request = proto::ReattachExecuteRequest {
            session_id: self.session.clone(),
            user_context: context(),
            operation_id: operation.to_string(),
            last_response_id: last.map(str::to_string),
            ..Default::default()
        };
        Ok(self.service.reattach_execute(request).await?.into_inner())
    }

    /// Executes to the end; gives the answers that are no rows, and the rows.
    async fn run(&mut self, plan: OpType) -> Result<(Vec<ResponseType>, Read), Status> {
        let mut stream = self.execute(&Uuid::new_v4().to_string(), plan).await?;
        let (mut answers, mut read) = (Vec::new(), Read::default());
        while let Some(answer) = stream.next().await {
            answers.extend(read.take(answer?));
        }
        assert!(read.complete);
        Ok((answers, read))
    }

    async fn release_session(&mut self) {
        let request = proto::ReleaseSessionRequest {
            session_id: self.session.clone(),
            user_context: context(),
            ..Default::default()
        };
        self.service.release_session(request).await.unwrap();
    }

    /// Starts a query over the source `rate`, whose rows go nowhere.
    async fn start(&mut self, options: &[(&str, &str)]) -> proto::StreamingQueryInstanceId {
        let read = proto::Read {
            is_streaming: true,
            read_type: Some(proto::read::ReadType::DataSource(proto::read::DataSource {
                format: Some("rate-micro-batch".into()),
                options: [("rowsPerBatch", "10")]
                    .iter()
                    .chain(options)
                    .map(|(k, v)| (k.to_string(), v.to_string()))
                    .collect(),
                ..Default::default()
            })),
        };
        let start = proto::WriteStreamOperationStart {
            input: Some(relation(RelType::Read(read))),
            format: "noop".into(),
            query_name: "ticks".into(),
            ..Default::default()
        };
        let (answers, _) = self.run(command(CommandType::WriteStreamOperationStart(start))).await.unwrap();
        match &answers[0] {
            ResponseType::WriteStreamOperationStartResult(started) => {
                assert_eq!(started.name, "ticks");
                started.query_id.clone().unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn rows_come_whole_also_over_a_connection_that_breaks() {
    let server = server(ConnectOptions::default()).await;
    let mut client = server.client().await;
    let (_, read) = client.run(range(3)).await.unwrap();
    assert_eq!((read.values, read.complete), (vec![0, 1, 2], true));

    let operation = Uuid::new_v4().to_string();
    let rows = 3_000_000;
    let mut read = Read::default();
    let mut stream = client.execute(&operation, range(rows)).await.unwrap();
    while read.values.is_empty() {
        read.take(stream.next().await.unwrap().unwrap());
    }
    drop(stream);
    // Another connection, as after a network that was away.
    let mut other = server.client().await;
    other.session.clone_from(&client.session);
    let mut stream = other.reattach(&operation, Some(&read.last)).await.unwrap();
    while let Some(answer) = stream.next().await {
        read.take(answer.unwrap());
    }
    assert!(read.complete);
    assert_eq!(read.values.len() as i64, rows);
    assert!(read.values.iter().enumerate().all(|(i, v)| i as i64 == *v));
    let release = proto::ReleaseExecuteRequest {
        session_id: client.session.clone(),
        user_context: context(),
        operation_id: operation.clone(),
        ..Default::default()
    };
    client.service.release_execute(release).await.unwrap();
    let gone = client.reattach(&operation, None).await.unwrap_err();
    assert!(gone.message().starts_with("[INVALID_HANDLE.OPERATION_NOT_FOUND]"), "{gone}");
    server.stop().await;
}

#[tokio::test]
async fn a_wait_for_the_end_outlives_its_connection() {
    let server = server(ConnectOptions::default()).await;
    let mut client = server.client().await;
    let query = client.start(&[]).await;
    let operation = Uuid::new_v4().to_string();
    let wait = || QueryCommand::AwaitTermination(Default::default());
    drop(client.execute(&operation, query_command(&query, wait())).await.unwrap());
    let mut stream = client.reattach(&operation, None).await.unwrap();
    let mut other = client.clone();
    let (answers, _) = other.run(query_command(&query, QueryCommand::Status(true))).await.unwrap();
    let active = |answers: &[ResponseType]| match &answers[0] {
        ResponseType::StreamingQueryCommandResult(result) => match &result.result_type {
            Some(QueryResult::Status(status)) => status.is_active,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert!(active(&answers));
    other.run(query_command(&query, QueryCommand::Stop(true))).await.unwrap();
    let ended = stream.next().await.unwrap().unwrap();
    match ended.response_type {
        Some(ResponseType::StreamingQueryCommandResult(result)) => match result.result_type {
            Some(QueryResult::AwaitTermination(result)) => assert!(result.terminated),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    let (answers, _) = other.run(query_command(&query, QueryCommand::Status(true))).await.unwrap();
    assert!(!active(&answers));
    server.stop().await;
}

#[tokio::test]
async fn a_listener_hears_progress_and_the_end_and_the_start_comes_with_its_call() {
    use proto::streaming_query_listener_bus_command::Command as Bus;
    let server = server(ConnectOptions::default()).await;
    let mut client = server.client().await;
    let bus = |which| {
        command(CommandType::StreamingQueryListenerBusCommand(proto::StreamingQueryListenerBusCommand {
            command: Some(which),
        }))
    };
    let mut events = client.execute(&Uuid::new_v4().to_string(), bus(Bus::AddListenerBusListener(true))).await.unwrap();
    let mut next = async || match events.next().await?.unwrap().response_type {
        Some(ResponseType::StreamingQueryListenerEventsResult(result)) => Some(Some(result)),
        _ => Some(None),
    };
    assert_eq!(next().await.unwrap().unwrap().listener_bus_listener_added, Some(true));
    let query = client.start(&[]).await;
    let kind = |result: &proto::StreamingQueryListenerEventsResult| result.events[0].event_type();
    assert_eq!(kind(&next().await.unwrap().unwrap()), proto::StreamingQueryEventType::QueryProgressEvent);
    client.run(query_command(&query, QueryCommand::Stop(true))).await.unwrap();
    let end = loop {
        let event = next().await.unwrap().unwrap();
        if kind(&event) != proto::StreamingQueryEventType::QueryProgressEvent {
            break event;
        }
    };
    assert_eq!(kind(&end), proto::StreamingQueryEventType::QueryTerminatedEvent);
    let end: serde_json::Value = serde_json::from_str(&end.events[0].event_json).unwrap();
    assert_eq!((&end["runId"], &end["exception"]), (&query.run_id.clone().into(), &serde_json::Value::Null));
    client.run(bus(Bus::RemoveListenerBusListener(true))).await.unwrap();
    // The end of the stream, and then nothing.
    assert!(next().await.unwrap().is_none());
    assert!(next().await.is_none());
    let session = server.sessions.find("ada", &client.session, None).unwrap();
    assert!(session.session.streams().list_listeners().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_mistake_has_sparks_exception_and_its_details_can_be_asked_for() {
    let server = server(ConnectOptions::default()).await;
    let mut client = server.client().await;
    let sql = RelType::Sql(proto::Sql { query: "SELECT nope FROM range(3)".into(), ..Default::default() });
    let status = client.run(OpType::Root(relation(sql))).await.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["errorClass"], "UNRESOLVED_COLUMN.WITH_SUGGESTION");
    assert_eq!(
        (info.reason.as_str(), info.metadata["sqlState"].as_str()),
        ("org.apache.spark.sql.AnalysisException", "42703")
    );
    let request = proto::FetchErrorDetailsRequest {
        session_id: client.session.clone(),
        user_context: context(),
        error_id: info.metadata["errorId"].clone(),
        ..Default::default()
    };
    let details = client.service.fetch_error_details(request).await.unwrap().into_inner();
    assert_eq!((details.root_error_idx, details.errors.len()), (Some(0), 1));
    assert_eq!(details.errors[0].message, status.message());
    server.stop().await;
}

/// `spark.sql` of a text that is done at once, or of a query whose first column is of longs.
async fn sql(client: &mut Client, text: &str) -> Vec<i64> {
    let input = Some(relation(RelType::Sql(proto::Sql { query: text.into(), ..Default::default() })));
    let asked = proto::SqlCommand { input, ..Default::default() };
    let (answers, _) = client.run(command(CommandType::SqlCommand(asked))).await.unwrap();
    let Some(ResponseType::SqlCommandResult(result)) = answers.into_iter().next() else { panic!("no result") };
    client.run(OpType::Root(result.relation.unwrap())).await.unwrap().1.values
}

#[tokio::test]
async fn tables_of_sql_are_tables_with_a_place_of_their_own() {
    let place = tempfile::tempdir().unwrap();
    let server = server(ConnectOptions::default()).await;
    let mut client = server.client().await;
    let session = server.sessions.get("ada", &client.session, None).unwrap();
    session.session.conf().initialize("spark.sql.warehouse.dir", place.path().display()).unwrap();
    assert_eq!(sql(&mut client, "CREATE TABLE t (n BIGINT, s STRING) USING parquet").await, [0i64; 0]);
    assert_eq!(sql(&mut client, "SELECT n FROM t").await, [0i64; 0]);
    sql(&mut client, "INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    sql(&mut client, "INSERT INTO t SELECT 3, 'c'").await;
    assert_eq!(sql(&mut client, "SELECT n FROM t ORDER BY n").await, [1, 2, 3]);
    sql(&mut client, "INSERT OVERWRITE t VALUES (4, 'd')").await;
    assert_eq!(sql(&mut client, "SELECT n FROM t").await, [4]);
    assert!(place.path().join("t").is_dir());
    sql(&mut client, "DROP TABLE t").await;
    // A name leads nowhere else.
    let outside = OpType::Root(relation(RelType::Sql(proto::Sql {
        query: "CREATE TABLE `../t` (n BIGINT) USING parquet".into(),
        ..Default::default()
    })));
    let status = client.run(outside).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().metadata["errorClass"], "INVALID_OPTION");
    // Its rows went with it: another table of the name has none.
    sql(&mut client, "CREATE TABLE t (n BIGINT, s STRING) USING parquet").await;
    assert_eq!(sql(&mut client, "SELECT n FROM t").await, [0i64; 0]);
    server.stop().await;
}

#[tokio::test]
async fn rows_that_are_kept_are_computed_once() {
    use proto::analyze_plan_request::{Analyze, GetStorageLevel, Persist, Unpersist};
    use proto::analyze_plan_response::Result as Answer;
    let server = server(ConnectOptions::default()).await;
    let mut client = server.client().await;
    let numbered = |plan_id: i64, rel_type: RelType| {
        let common = proto::RelationCommon { plan_id: Some(plan_id), ..Default::default() };
        proto::Relation { common: Some(common), rel_type: Some(rel_type) }
    };
    let drawn = "SELECT CAST(rand() * 1e15 AS BIGINT) AS n FROM range(3)";
    let base = numbered(1, RelType::Sql(proto::Sql { query: drawn.into(), ..Default::default() }));
    let kept = numbered(2, RelType::Limit(Box::new(proto::Limit { input: Some(Box::new(base.clone())), limit: 3 })));
    // A column of a frame below the one that is kept.
    let attribute = proto::expression::UnresolvedAttribute {
        unparsed_identifier: "n".into(),
        plan_id: Some(1),
        ..Default::default()
    };
    let column = proto::expression::ExprType::UnresolvedAttribute(attribute);
    let column = proto::Expression { expr_type: Some(column), ..Default::default() };
    let above = proto::Project { input: Some(Box::new(kept.clone())), expressions: vec![column] };
    let above = numbered(3, RelType::Project(Box::new(above)));
    let relation = Some(kept.clone());
    let level = proto::StorageLevel { use_memory: true, replication: 1, ..Default::default() };
    let ask = async |client: &mut Client, analyze: Analyze| {
        let request = proto::AnalyzePlanRequest {
            session_id: client.session.clone(),
            user_context: context(),
            analyze: Some(analyze),
            ..Default::default()
        };
        client.service.analyze_plan(request).await.unwrap().into_inner().result.unwrap()
    };
    let level_now = async |client: &mut Client| match ask(
        client,
        Analyze::GetStorageLevel(GetStorageLevel { relation: relation.clone() }),
    )
    .await
    {
        Answer::GetStorageLevel(answer) => answer.storage_level.unwrap().use_memory,
        other => panic!("{other:?}"),
    };
    let rows =
        async |client: &mut Client, of: &proto::Relation| client.run(OpType::Root(of.clone())).await.unwrap().1.values;

    assert_ne!(rows(&mut client, &kept).await, rows(&mut client, &kept).await);
    assert!(!level_now(&mut client).await);
    let persist = Persist { relation: relation.clone(), storage_level: Some(level) };
    ask(&mut client, Analyze::Persist(persist)).await;
    assert!(level_now(&mut client).await);
    let first = rows(&mut client, &kept).await;
    assert_eq!(first.len(), 3);
    assert_eq!(rows(&mut client, &kept).await, first);
    assert_eq!(rows(&mut client, &above).await, first);
    // What it is made of is not kept.
    assert_ne!(rows(&mut client, &base).await, first);
    ask(&mut client, Analyze::Unpersist(Unpersist { relation: relation.clone(), blocking: None })).await;
    assert!(!level_now(&mut client).await);
    assert_ne!(rows(&mut client, &above).await, first);
    server.stop().await;
}

#[tokio::test]
async fn a_token_is_asked_for_and_other_machines_need_one() {
    let open = ConnectOptions { address: SocketAddr::from(([0, 0, 0, 0], 0)), ..ConnectOptions::default() };
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let error = ConnectServer::bind(session, open).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::InvalidOption);
    let server = server(ConnectOptions { token: Some("s3cret".into()), ..ConnectOptions::default() }).await;
    let version = |token: Option<&str>| {
        let mut request = Request::new(proto::AnalyzePlanRequest {
            session_id: Uuid::new_v4().to_string(),
            user_context: context(),
            analyze: Some(proto::analyze_plan_request::Analyze::SparkVersion(Default::default())),
            ..Default::default()
        });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        request
    };
    let mut client = server.client().await;
    for wrong in [None, Some("Bearer s3cre"), Some("Bearer s3cret2"), Some("s3cret")] {
        let refused = client.service.analyze_plan(version(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{wrong:?}");
    }
    client.service.analyze_plan(version(Some("Bearer s3cret"))).await.unwrap();
    server.stop().await;
}

/// Clients that come, compute, start a query and are never heard of again, or take their leave: nothing of them stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_leave_nothing_behind() {
    let server = server(ConnectOptions::default()).await;
    let clients = futures::stream::iter(0..1000).map(|number| {
        let server = &server;
        async move {
            let mut client = server.client().await;
            let (_, read) = client.run(range(number % 7)).await.unwrap();
            assert_eq!(read.values.len() as i64, number % 7);
            match number % 3 {
                // Leaves in order.
                0 => client.release_session().await,
                // Is cut off in the middle of a read.
                1 => drop(client.execute(&Uuid::new_v4().to_string(), range(1000)).await.unwrap()),
                _ => {}
            }
        }
    });
    clients.buffer_unordered(32).collect::<Vec<()>>().await;
    // What is left is let go by the sweep, once its executions have ended.
    while server.sessions.len() > 0 {
        server.sessions.sweep(Duration::ZERO).await;
        tokio::task::yield_now().await;
    }
    let mut client = server.client().await;
    client.start(&[]).await;
    let session = server.sessions.find("ada", &client.session, None).unwrap();
    // A session with a query that runs is not idle.
    server.sessions.sweep(Duration::ZERO).await;
    assert_eq!(server.sessions.len(), 1);
    let queries = session.session.streams().active();
    client.release_session().await;
    assert!(queries.iter().all(|query| !query.is_active()) && server.sessions.len() == 0);
    server.stop().await;
}

/// A function of `foreachBatch` has views of its own, and tables in common with its client; its session goes with the query.
#[tokio::test(flavor = "multi_thread")]
async fn foreach_batch_runs_in_a_session_of_its_querys_own() {
    use crate::server::python::{Workers, tests::skip};
    let Ok(python) = Workers::new(std::env::var("TIDEMILL_TEST_PYTHON").ok()).interpreter() else {
        return skip::skipped("foreach_batch_runs_in_a_session_of_its_querys_own", "no Python with PySpark");
    };
    let place = tempfile::tempdir().unwrap();
    let (program, warehouse) = (python.program().to_string(), place.path().to_string_lossy().to_string());
    let settings = [("spark.pyspark.python", program.as_str()), ("spark.sql.warehouse.dir", warehouse.as_str())];
    let server = server_with(&settings, ConnectOptions::default()).await;
    let mut client = server.client().await;
    sql(&mut client, "CREATE TABLE before (n BIGINT) USING parquet").await;
    sql(&mut client, "INSERT INTO before VALUES (7)").await;
    let source = "\
import sys
from pyspark.serializers import CloudPickleSerializer
def f(frame, batch):
    frame.createOrReplaceTempView('seen')
    frame.sparkSession.sql('SELECT value + n AS n FROM seen CROSS JOIN before').write.saveAsTable('after')
CloudPickleSerializer()._write_with_length(f, sys.stdout.buffer)
";
    let pickled = std::process::Command::new(&program).args(["-c", source]).output().unwrap().stdout;
    let udf = proto::PythonUdf {
        command: pickled[4..].to_vec().into(),
        python_ver: python.version().to_string(),
        ..Default::default()
    };
    let function = proto::streaming_foreach_function::Function::PythonFunction(udf);
    let source = proto::read::DataSource {
        format: Some("rate-micro-batch".into()),
        options: [("rowsPerBatch".to_string(), "3".to_string())].into(),
        ..Default::default()
    };
    let read = proto::Read { is_streaming: true, read_type: Some(proto::read::ReadType::DataSource(source)) };
    let start = proto::WriteStreamOperationStart {
        input: Some(relation(RelType::Read(read))),
        trigger: Some(proto::write_stream_operation_start::Trigger::Once(true)),
        foreach_batch: Some(proto::StreamingForeachFunction { function: Some(function) }),
        ..Default::default()
    };
    let (answers, _) = client.run(command(CommandType::WriteStreamOperationStart(start))).await.unwrap();
    let ResponseType::WriteStreamOperationStartResult(started) = &answers[0] else { panic!("{answers:?}") };
    let wait = query_command(&started.query_id.clone().unwrap(), QueryCommand::AwaitTermination(Default::default()));
    client.run(wait).await.unwrap();
    assert_eq!(sql(&mut client, "SELECT n FROM after ORDER BY n").await, [7, 8, 9]);
    let seen = RelType::Sql(proto::Sql { query: "SELECT * FROM seen".into(), ..Default::default() });
    let status = client.run(OpType::Root(relation(seen))).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().metadata["errorClass"], "TABLE_OR_VIEW_NOT_FOUND");
    assert_eq!((server.sessions.len(), server.sessions.clones().len()), (1, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_frame_of_another_session_is_not_found() {
    let server = server(ConnectOptions::default()).await;
    let mut client = server.client().await;
    let frame = relation(RelType::CachedRemoteRelation(proto::CachedRemoteRelation { relation_id: "far".into() }));
    let status = client.run(OpType::Root(frame)).await.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["errorClass"], "CONNECT_INVALID_PLAN.DATAFRAME_NOT_FOUND");
    assert_eq!(
        (info.reason.as_str(), info.metadata["sqlState"].as_str()),
        ("org.apache.spark.sql.connect.common.InvalidPlanInput", "56K00")
    );
    server.stop().await;
}
