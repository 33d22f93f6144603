//! The calls of the protocol, each handed to the module that answers it.
//!
//! Comes in: requests. Goes out: responses, or a status with the exception that the client raises. Fails: as the modules that answer.

use super::artifact::Upload;
use super::errors::Failure;
use super::generated::spark_connect_service_server::SparkConnectService;
use super::session::{ClientSession, Sessions};
use super::{analyze, command, config};
use futures::Stream;
use spark_connect_proto as proto;
use spark_connect_proto::get_status_response::OperationStatus;
use spark_connect_proto::get_status_response::operation_status::OperationState;
use spark_connect_proto::interrupt_request::{Interrupt, InterruptType};
use spark_connect_proto::release_execute_request::Release;
use spark_connect_proto::{ExecutePlanResponse, UserContext};
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;
type Answers = Pin<Box<dyn Stream<Item = Result<ExecutePlanResponse, Status>> + Send>>;

/// The service over a server's sessions.
pub struct Service {
    /// Of all clients.
    pub sessions: Arc<Sessions>,
}

/// A failure without a session that could keep it.
fn status(failure: Failure) -> Status {
    failure.status(None)
}

fn user(context: Option<&UserContext>) -> &str {
    context.map_or("", |context| context.user_id.as_str())
}

impl Service {
    /// The client's session, which begins with its first call.
    fn session(
        &self,
        context: Option<&UserContext>,
        id: &str,
        known: Option<&String>,
    ) -> Result<Arc<ClientSession>, Status> {
        self.sessions.get(user(context), id, known.map(String::as_str)).map_err(status)
    }

    /// The client's session, which must have begun.
    fn begun(
        &self,
        context: Option<&UserContext>,
        id: &str,
        known: Option<&String>,
    ) -> Result<Arc<ClientSession>, Status> {
        self.sessions.find(user(context), id, known.map(String::as_str)).map_err(status)
    }
}

fn answers(
    client: Arc<ClientSession>,
    execution: &Arc<super::execution::Execution>,
    last: Option<&str>,
) -> Answer<Answers> {
    let failed = {
        let client = client.clone();
        move |failure| client.status(failure)
    };
    match execution.stream(last, failed) {
        Ok(stream) => Ok(Response::new(Box::pin(stream))),
        Err(failure) => Err(client.status(failure)),
    }
}

#[tonic::async_trait]
impl SparkConnectService for Service {
    type ExecutePlanStream = Answers;
    type ReattachExecuteStream = Answers;

    async fn execute_plan(&self, request: Request<proto::ExecutePlanRequest>) -> Answer<Self::ExecutePlanStream> {
        use proto::execute_plan_request::request_option::RequestOption;
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.session(request.user_context.as_ref(), &request.session_id, known)?;
        let reattachable = request.request_options.iter().any(|option| {
            matches!(&option.request_option, Some(RequestOption::ReattachOptions(options)) if options.reattachable)
        });
        let execution = client
            .execution(request.operation_id, request.tags, reattachable)
            .map_err(|failure| client.status(failure))?;
        let stream = answers(client.clone(), &execution, None)?;
        let (running, plan) = (execution.clone(), request.plan);
        execution.start(async move {
            let done = command::execute(&client, &running, plan).await;
            if !reattachable {
                // Nobody can ask for it again.
                client.detach(running.id());
            }
            done.map_err(Failure::from)
        });
        Ok(stream)
    }

    async fn reattach_execute(
        &self,
        request: Request<proto::ReattachExecuteRequest>,
    ) -> Answer<Self::ReattachExecuteStream> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.begun(request.user_context.as_ref(), &request.session_id, known)?;
        let execution = client.find(&request.operation_id).map_err(|failure| client.status(failure))?;
        answers(client, &execution, request.last_response_id.as_deref())
    }

    async fn release_execute(
        &self,
        request: Request<proto::ReleaseExecuteRequest>,
    ) -> Answer<proto::ReleaseExecuteResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.begun(request.user_context.as_ref(), &request.session_id, known)?;
        // One that is gone already is as the client wants it.
        let found = client.find(&request.operation_id).ok();
        if let Some(execution) = &found {
            match &request.release {
                Some(Release::ReleaseUntil(until)) => execution.release_until(&until.response_id),
                Some(Release::ReleaseAll(_)) | None => client.forget(&request.operation_id),
            }
        }
        Ok(Response::new(proto::ReleaseExecuteResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            operation_id: found.map(|_| request.operation_id),
        }))
    }

    async fn analyze_plan(&self, request: Request<proto::AnalyzePlanRequest>) -> Answer<proto::AnalyzePlanResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.session(request.user_context.as_ref(), &request.session_id, known)?;
        let question = request.analyze.ok_or_else(|| client.status(analyze::unknown().into()))?;
        let result = analyze::run(&client, question).await.map_err(|error| client.status(error.into()))?;
        Ok(Response::new(proto::AnalyzePlanResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            result: Some(result),
        }))
    }

    async fn config(&self, request: Request<proto::ConfigRequest>) -> Answer<proto::ConfigResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.session(request.user_context.as_ref(), &request.session_id, known)?;
        let operation = request.operation.and_then(|operation| operation.op_type);
        let done = operation.map(|operation| config::run(client.session.conf(), operation)).transpose();
        let (pairs, warnings) = done.map_err(|error| client.status(error.into()))?.unwrap_or_default();
        Ok(Response::new(proto::ConfigResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            pairs,
            warnings,
        }))
    }

    async fn add_artifacts(
        &self,
        request: Request<Streaming<proto::AddArtifactsRequest>>,
    ) -> Answer<proto::AddArtifactsResponse> {
        let mut requests = request.into_inner();
        let Some(first) = requests.message().await? else {
            return Err(Status::invalid_argument("no artifact was sent"));
        };
        let known = first.client_observed_server_side_session_id.as_ref();
        let client = self.session(first.user_context.as_ref(), &first.session_id, known)?;
        let artifacts = Upload::default().run(first, requests, &client.artifacts).await;
        Ok(Response::new(proto::AddArtifactsResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            artifacts: artifacts.map_err(|error| client.status(error.into()))?,
        }))
    }

    async fn artifact_status(
        &self,
        request: Request<proto::ArtifactStatusesRequest>,
    ) -> Answer<proto::ArtifactStatusesResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.session(request.user_context.as_ref(), &request.session_id, known)?;
        let statuses = request.names.into_iter().map(|name| {
            let exists = client.artifacts.get(&name).is_some();
            (name, proto::artifact_statuses_response::ArtifactStatus { exists })
        });
        Ok(Response::new(proto::ArtifactStatusesResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            statuses: statuses.collect(),
        }))
    }

    async fn interrupt(&self, request: Request<proto::InterruptRequest>) -> Answer<proto::InterruptResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.session(request.user_context.as_ref(), &request.session_id, known)?;
        let interrupted_ids = match (request.interrupt_type(), &request.interrupt) {
            (InterruptType::All, _) => client.interrupt(|_| true),
            (InterruptType::Tag, Some(Interrupt::OperationTag(tag))) => client.interrupt(|e| e.has_tag(tag)),
            (InterruptType::OperationId, Some(Interrupt::OperationId(id))) => client.interrupt(|e| e.id() == id),
            _ => return Err(Status::invalid_argument("interrupt: neither all, nor a tag, nor an operation was named")),
        };
        Ok(Response::new(proto::InterruptResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            interrupted_ids,
        }))
    }

    async fn release_session(
        &self,
        request: Request<proto::ReleaseSessionRequest>,
    ) -> Answer<proto::ReleaseSessionResponse> {
        let request = request.into_inner();
        let user = user(request.user_context.as_ref());
        let released = self.sessions.release(user, &request.session_id, request.allow_reconnect).await;
        Ok(Response::new(proto::ReleaseSessionResponse {
            session_id: request.session_id,
            server_side_session_id: released.map(|session| session.server_id().to_string()).unwrap_or_default(),
        }))
    }

    async fn fetch_error_details(
        &self,
        request: Request<proto::FetchErrorDetailsRequest>,
    ) -> Answer<proto::FetchErrorDetailsResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.begun(request.user_context.as_ref(), &request.session_id, known)?;
        let failure = client.failure(&request.error_id);
        Ok(Response::new(proto::FetchErrorDetailsResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            root_error_idx: failure.is_some().then_some(0),
            errors: failure.iter().map(Failure::details).collect(),
        }))
    }

    async fn clone_session(&self, request: Request<proto::CloneSessionRequest>) -> Answer<proto::CloneSessionResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.begun(request.user_context.as_ref(), &request.session_id, known)?;
        let copy = self
            .sessions
            .clone_of(&client, request.new_session_id.as_deref())
            .map_err(|failure| client.status(failure))?;
        Ok(Response::new(proto::CloneSessionResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            new_session_id: copy.id().to_string(),
            new_server_side_session_id: copy.server_id().to_string(),
        }))
    }

    async fn get_status(&self, request: Request<proto::GetStatusRequest>) -> Answer<proto::GetStatusResponse> {
        let request = request.into_inner();
        let known = request.client_observed_server_side_session_id.as_ref();
        let client = self.begun(request.user_context.as_ref(), &request.session_id, known)?;
        let asked = request.operation_status.unwrap_or_default().operation_ids;
        let executions = client.executions();
        let chosen = executions.iter().filter(|e| asked.is_empty() || asked.iter().any(|id| id == e.id()));
        let mut operation_statuses: Vec<OperationStatus> = chosen
            .map(|execution| {
                let state = match execution.outcome() {
                    None => OperationState::Running,
                    Some(Ok(())) => OperationState::Succeeded,
                    Some(Err(failure)) if failure.class() == "OPERATION_CANCELED" => OperationState::Cancelled,
                    Some(Err(_)) => OperationState::Failed,
                };
                OperationStatus { operation_id: execution.id().to_string(), state: state.into(), extensions: vec![] }
            })
            .collect();
        for id in asked {
            if !operation_statuses.iter().any(|status| status.operation_id == id) {
                operation_statuses.push(OperationStatus {
                    operation_id: id,
                    state: OperationState::Unknown.into(),
                    extensions: vec![],
                });
            }
        }
        Ok(Response::new(proto::GetStatusResponse {
            session_id: client.id().to_string(),
            server_side_session_id: client.server_id().to_string(),
            operation_statuses,
            extensions: vec![],
        }))
    }
}
