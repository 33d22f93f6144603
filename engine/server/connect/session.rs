//! Sessions of clients: what one client has made here, until it leaves or is not heard of any more.
//!
//! Comes in: a user's name and the client's id of its session. Goes out: [`ClientSession`], with an engine session of its own. Fails: ids that are
//! no UUIDs, sessions that are closed, and a client that has seen an earlier life of this server.

use super::artifact::Artifacts;
use super::errors::Failure;
use super::execution::{Execution, Ids};
use super::listener::Bus;
use super::persisted::Persisted;
use super::plan::{Kept, Resources};
use super::streaming::Queries;
use crate::error::Result;
use crate::frame::DataFrame;
use crate::plan::rows_function::RowsFunction;
use crate::server::python::{GroupedInput, Workers, local_url};
use crate::session::Session;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::logical_expr::Expr;
use parking_lot::Mutex;
use spark_connect_proto::{CommonInlineUserDefinedFunction, Relation};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tonic::Status;
use tracing::info;
use uuid::Uuid;

mod batch;

pub use batch::BatchSession;
use batch::Clones;

/// Failures that a session can be asked about.
const FAILURES: usize = 100;
/// Closed sessions that are remembered as such; Spark's number.
const CLOSED: usize = 1000;

/// What one client has made.
pub struct ClientSession {
    id: String,
    user: String,
    server_id: String,
    /// The engine's session.
    pub session: Session,
    /// Files and rows that the client has sent.
    pub artifacts: Artifacts,
    /// Streaming queries that run or have run.
    pub queries: Queries,
    /// The client's listener of queries.
    pub bus: Bus,
    workers: Workers,
    door: Door,
    home: Weak<Mutex<Inner>>,
    executions: Mutex<HashMap<String, Arc<Execution>>>,
    remote: Mutex<HashMap<String, DataFrame>>,
    /// Relations that the client has asked to be kept.
    pub persisted: Persisted,
    failures: Mutex<VecDeque<(Uuid, Failure)>>,
    seen: Mutex<Instant>,
}

impl ClientSession {
    fn new(user: &str, id: &str, session: Session, door: &Door, home: Weak<Mutex<Inner>>) -> Self {
        Self {
            workers: Workers::new(session.conf().get("spark.pyspark.python")),
            door: door.clone(),
            home,
            id: id.to_string(),
            user: user.to_string(),
            server_id: Uuid::new_v4().to_string(),
            session,
            artifacts: Artifacts::default(),
            queries: Queries::default(),
            bus: Bus::default(),
            executions: Mutex::default(),
            remote: Mutex::default(),
            persisted: Persisted::default(),
            failures: Mutex::default(),
            seen: Mutex::new(Instant::now()),
        }
    }

    /// A session under another id, which begins with `session` and the artifacts of this one.
    fn copy(&self, id: &str, session: Session) -> Arc<Self> {
        let copy = Self::new(&self.user, id, session, &self.door, self.home.clone());
        copy.artifacts.copy_from(&self.artifacts);
        Arc::new(copy)
    }

    fn key(&self) -> Key {
        (self.user.clone(), self.id.clone())
    }

    /// The client's id of the session.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whose it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The id that tells this life of the session from others under the client's id.
    pub fn server_id(&self) -> &str {
        &self.server_id
    }

    /// The Python workers of the session, with its configuration as it is now.
    pub fn workers(&self) -> Workers {
        self.workers.with_configuration(|key| self.session.conf().get(key))
    }

    /// Where a worker on this machine reaches the server, as the session's user.
    pub fn worker_url(&self) -> String {
        self.door.url(&self.user)
    }

    /// A new execution under the client's id for it, or one of ours.
    ///
    /// # Errors
    /// `OPERATION_ALREADY_EXISTS` and `FORMAT`.
    pub fn execution(
        &self,
        operation: Option<String>,
        tags: Vec<String>,
        reattachable: bool,
    ) -> Result<Arc<Execution>, Failure> {
        let operation = match operation {
            Some(id) if Uuid::parse_str(&id).is_err() => {
                return Err(Failure::handle(
                    "FORMAT",
                    &id,
                    "Handle must be an UUID string of the format '00112233-4455-6677-8899-aabbccddeeff'.",
                ));
            }
            Some(id) => id,
            None => Uuid::new_v4().to_string(),
        };
        let ids =
            Ids { session: self.id.clone(), server_session: self.server_id.clone(), operation: operation.clone() };
        let mut executions = self.executions.lock();
        if executions.contains_key(&operation) {
            return Err(Failure::handle("OPERATION_ALREADY_EXISTS", &operation, "Operation already exists."));
        }
        let execution = Execution::new(ids, tags, reattachable);
        executions.insert(operation, execution.clone());
        Ok(execution)
    }

    /// The execution of this id.
    ///
    /// # Errors
    /// `OPERATION_NOT_FOUND`.
    pub fn find(&self, operation: &str) -> Result<Arc<Execution>, Failure> {
        let found = self.executions.lock().get(operation).cloned();
        found.ok_or_else(|| Failure::handle("OPERATION_NOT_FOUND", operation, "Operation not found."))
    }

    /// Lets an execution go, whether it runs or not.
    pub fn forget(&self, operation: &str) {
        let gone = self.executions.lock().remove(operation);
        if let Some(execution) = gone {
            execution.interrupt();
        }
    }

    /// Lets an execution that has ended go; who reads it reads on.
    pub fn detach(&self, operation: &str) {
        self.executions.lock().remove(operation);
    }

    /// Interrupts the executions that `which` chooses; gives their ids.
    pub fn interrupt(&self, which: impl Fn(&Execution) -> bool) -> Vec<String> {
        let chosen: Vec<_> = self.executions.lock().values().filter(|e| which(e)).cloned().collect();
        chosen.iter().filter(|e| e.interrupt()).map(|e| e.id().to_string()).collect()
    }

    /// Every execution.
    pub fn executions(&self) -> Vec<Arc<Execution>> {
        self.executions.lock().values().cloned().collect()
    }

    /// Keeps a frame under an id, for plans that refer to it.
    pub fn keep(&self, id: &str, frame: DataFrame) {
        self.remote.lock().insert(id.to_string(), frame);
    }

    /// The frame that is kept under `id`.
    pub fn kept(&self, id: &str) -> Option<DataFrame> {
        self.remote.lock().get(id).cloned()
    }

    /// Lets a kept frame go.
    pub fn drop_kept(&self, id: &str) {
        self.remote.lock().remove(id);
    }

    /// The status for a failure, which is kept for a client that asks for its details.
    pub fn status(&self, failure: Failure) -> Status {
        let id = Uuid::new_v4();
        let status = failure.status(Some(id));
        let mut failures = self.failures.lock();
        if failures.len() >= FAILURES {
            failures.pop_front();
        }
        failures.push_back((id, failure));
        status
    }

    /// A failure of which the client was told, once.
    pub fn failure(&self, id: &str) -> Option<Failure> {
        let id = Uuid::parse_str(id).ok()?;
        let mut failures = self.failures.lock();
        let at = failures.iter().position(|(kept, _)| *kept == id)?;
        failures.remove(at).map(|(_, failure)| failure)
    }

    fn touch(&self) {
        *self.seen.lock() = Instant::now();
    }

    /// Lets go what nobody has come back for; tells whether the session as a whole is that.
    fn sweep(&self, idle_limit: Duration) -> bool {
        let mut executions = self.executions.lock();
        executions.retain(|_, execution| {
            let stays = !execution.is_abandoned();
            if !stays {
                execution.interrupt();
            }
            stays
        });
        let busy = executions.values().any(|e| e.is_running()) || !self.session.streams().active().is_empty();
        drop(executions);
        self.queries.sweep();
        !busy && self.seen.lock().elapsed() > idle_limit
    }

    async fn close(&self) {
        self.interrupt(|_| true);
        self.executions.lock().clear();
        self.session.stop().await;
        self.workers.stop();
        self.remote.lock().clear();
        self.persisted.clear();
    }
}

impl Resources for ClientSession {
    fn session(&self) -> &Session {
        &self.session
    }

    fn artifact(&self, hash: &str) -> Option<Bytes> {
        self.artifacts.get(&format!("cache/{hash}"))
    }

    fn remote_relation(&self, id: &str) -> Option<DataFrame> {
        self.kept(id)
    }

    fn persisted(&self, relation: &Relation) -> Option<Kept> {
        self.persisted.find(relation)
    }

    fn python_udf(&self, function: &CommonInlineUserDefinedFunction, arguments: Vec<Expr>) -> Result<Expr> {
        super::functions::call(self, function, arguments)
    }

    fn rows_function(
        &self,
        function: &CommonInlineUserDefinedFunction,
        inputs: Vec<GroupedInput>,
    ) -> Result<(Arc<dyn RowsFunction>, SchemaRef)> {
        super::functions::rows(self, function, inputs)
    }
}

/// Where Python workers of the server, which are its clients, come in.
#[derive(Debug, Clone)]
pub struct Door {
    /// An address of this machine.
    pub address: SocketAddr,
    /// What is asked for there.
    pub token: Option<String>,
}

impl Door {
    fn url(&self, user: &str) -> String {
        match &self.token {
            None => local_url(self.address, user),
            // PySpark sends a token without TLS to this name only.
            Some(token) => {
                let url = local_url(self.address, user).replacen("127.0.0.1", "localhost", 1);
                format!("{url};token={token}")
            }
        }
    }
}

/// A user and the client's id of a session.
type Key = (String, String);

/// The sessions of a server.
pub struct Sessions {
    /// What new sessions begin with.
    base: Session,
    door: Door,
    limit: usize,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<Key, Arc<ClientSession>>,
    /// Sessions of queries with `foreachBatch`.
    clones: Clones,
    closed: VecDeque<Key>,
}

impl Inner {
    fn get(&self, key: &Key) -> Option<&Arc<ClientSession>> {
        self.open.get(key).or_else(|| self.clones.get(key))
    }

    /// Takes out a session and those of its queries.
    fn take(&mut self, key: &Key, may_come_back: bool) -> Option<(Arc<ClientSession>, Vec<Arc<ClientSession>>)> {
        let session = self.open.remove(key).or_else(|| self.clones.remove(key))?;
        let below = self.clones.remove_below(key);
        if !may_come_back {
            self.remember_closed(key);
        }
        below.iter().for_each(|(key, _)| self.remember_closed(key));
        Some((session, below.into_iter().map(|(_, session)| session).collect()))
    }

    fn remember_closed(&mut self, key: &Key) {
        if self.closed.len() >= CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(key.clone());
    }
}

/// Closes a session that is not found any more, and the sessions of its queries. What runs in these is interrupted first: the queries wait for it.
async fn close(session: &ClientSession, clones: &[Arc<ClientSession>]) {
    for clone in clones {
        clone.interrupt(|_| true);
    }
    session.close().await;
    for clone in clones {
        clone.close().await;
    }
}

impl Sessions {
    /// No sessions; at most `limit` may be open.
    pub fn new(base: Session, door: Door, limit: usize) -> Self {
        Self { base, door, limit, inner: Arc::default() }
    }

    /// The client's session, which begins with its first call.
    ///
    /// # Errors
    /// `INVALID_HANDLE`: an id that is no UUID, a session that is closed, or one that is not the one that the client knows; too many sessions.
    pub fn get(&self, user: &str, id: &str, known: Option<&str>) -> Result<Arc<ClientSession>, Failure> {
        if Uuid::parse_str(id).is_err() {
            return Err(Failure::handle(
                "FORMAT",
                id,
                "Handle must be an UUID string of the format '00112233-4455-6677-8899-aabbccddeeff'.",
            ));
        }
        let key = (user.to_string(), id.to_string());
        let mut inner = self.inner.lock();
        if inner.closed.contains(&key) {
            return Err(Failure::handle("SESSION_CLOSED", id, "Session was closed."));
        }
        let session = match inner.get(&key) {
            Some(session) => session.clone(),
            // What the client knows was here before the server was started again.
            None if known.is_some() => {
                return Err(Failure::handle(
                    "SESSION_CHANGED",
                    id,
                    "The existing Spark server driver instance has restarted. Please reconnect.",
                ));
            }
            None if inner.open.len() >= self.limit => {
                let why = format!(
                    "The server has {} sessions open, which is its limit; end one with spark.stop(), or start the server with a higher --max-sessions.",
                    self.limit
                );
                return Err(Failure::handle("SESSION_NOT_FOUND", id, why));
            }
            None => {
                let session = self.base.new_session(&self.base.conf().get_all()).map_err(Failure::from)?;
                let home = Arc::downgrade(&self.inner);
                let session = Arc::new(ClientSession::new(user, id, session, &self.door, home));
                inner.open.insert(key, session.clone());
                session
            }
        };
        drop(inner);
        check_known(&session, known)?;
        session.touch();
        Ok(session)
    }

    /// The client's session if it has begun.
    ///
    /// # Errors
    /// `INVALID_HANDLE`: as [`Sessions::get`], and `SESSION_NOT_FOUND`.
    pub fn find(&self, user: &str, id: &str, known: Option<&str>) -> Result<Arc<ClientSession>, Failure> {
        let key = (user.to_string(), id.to_string());
        let inner = self.inner.lock();
        if inner.closed.contains(&key) {
            return Err(Failure::handle("SESSION_CLOSED", id, "Session was closed."));
        }
        let found = inner.get(&key).cloned();
        drop(inner);
        let session = found.ok_or_else(|| Failure::handle("SESSION_NOT_FOUND", id, "Session not found."))?;
        check_known(&session, known)?;
        session.touch();
        Ok(session)
    }

    /// Opens a session that begins with what `session` has.
    ///
    /// # Errors
    /// `INVALID_HANDLE` for an id that is none, or is taken.
    pub fn clone_of(&self, session: &ClientSession, id: Option<&str>) -> Result<Arc<ClientSession>, Failure> {
        let id = id.map_or_else(|| Uuid::new_v4().to_string(), str::to_string);
        if Uuid::parse_str(&id).is_err() {
            return Err(Failure::handle(
                "FORMAT",
                &id,
                "Handle must be an UUID string of the format '00112233-4455-6677-8899-aabbccddeeff'.",
            ));
        }
        let key = (session.user.clone(), id.clone());
        let mut inner = self.inner.lock();
        if inner.get(&key).is_some() || inner.closed.contains(&key) {
            return Err(Failure::handle("SESSION_ALREADY_EXISTS", &id, "Session already exists."));
        }
        let copy = session.copy(&id, session.session.clone_session().map_err(Failure::from)?);
        inner.open.insert(key, copy.clone());
        Ok(copy)
    }

    /// Closes the client's session: its queries stop, its executions end.
    pub async fn release(&self, user: &str, id: &str, may_come_back: bool) -> Option<Arc<ClientSession>> {
        let key = (user.to_string(), id.to_string());
        let taken = self.inner.lock().take(&key, may_come_back);
        let (session, clones) = taken?;
        close(&session, &clones).await;
        Some(session)
    }

    /// Lets go what nobody has come back for.
    pub async fn sweep(&self, idle_limit: Duration) {
        let open: Vec<(Key, Arc<ClientSession>)> =
            self.inner.lock().open.iter().map(|(key, session)| (key.clone(), session.clone())).collect();
        for (key, session) in open {
            if session.sweep(idle_limit) {
                info!(session = session.id(), user = session.user(), "a session that nobody uses is closed");
                self.release(&key.0, &key.1, false).await;
            }
        }
        let clones = self.inner.lock().clones.all();
        for clone in clones {
            // Only what runs there is let go: it lives as long as its query.
            clone.sweep(idle_limit);
        }
    }

    /// Closes every session.
    pub async fn close(&self) {
        let keys: Vec<Key> = self.inner.lock().open.keys().cloned().collect();
        let closing = keys.iter().map(|(user, id)| self.release(user, id, true));
        futures::future::join_all(closing).await;
    }

    /// How many sessions are open.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.inner.lock().open.len()
    }

    /// Sessions of queries with `foreachBatch`.
    #[cfg(test)]
    pub fn clones(&self) -> Vec<Arc<ClientSession>> {
        self.inner.lock().clones.all()
    }
}

fn check_known(session: &ClientSession, known: Option<&str>) -> Result<(), Failure> {
    match known {
        Some(known) if known != session.server_id => Err(Failure::handle(
            "SESSION_CHANGED",
            &session.id,
            "The existing Spark server driver instance has restarted. Please reconnect.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233-4455-6677-8899-aabbccddeeff";

    async fn sessions(limit: usize) -> Sessions {
        let base = Session::builder()
            .config("tidemill.device", "cpu")
            .config("spark.sql.ansi.enabled", "false")
            .build()
            .await
            .unwrap();
        Sessions::new(base, Door { address: SocketAddr::from(([127, 0, 0, 1], 15002)), token: None }, limit)
    }

    fn class<T>(result: Result<T, Failure>) -> String {
        result.err().map(|failure| failure.class().to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_session_is_its_users_from_the_first_call_until_it_is_released() {
        let sessions = sessions(2).await;
        let ada = sessions.get("ada", ID, None).unwrap();
        assert_eq!(ada.session.conf().get("spark.sql.ansi.enabled").as_deref(), Some("false"));
        assert_eq!(sessions.get("ada", ID, Some(ada.server_id())).unwrap().server_id(), ada.server_id());
        let bob = sessions.get("bob", ID, None).unwrap();
        assert_ne!(bob.server_id(), ada.server_id());
        assert_eq!(class(sessions.get("eve", ID, None)), "INVALID_HANDLE.SESSION_NOT_FOUND");
        assert_eq!(class(sessions.get("ada", "x", None)), "INVALID_HANDLE.FORMAT");
        assert_eq!(class(sessions.get("ada", ID, Some("an earlier life"))), "INVALID_HANDLE.SESSION_CHANGED");
        sessions.release("ada", ID, false).await.unwrap();
        assert_eq!(class(sessions.get("ada", ID, None)), "INVALID_HANDLE.SESSION_CLOSED");
        sessions.release("bob", ID, true).await.unwrap();
        assert_eq!(class(sessions.find("bob", ID, None)), "INVALID_HANDLE.SESSION_NOT_FOUND");
        assert_eq!(class(sessions.get("bob", ID, Some(bob.server_id()))), "INVALID_HANDLE.SESSION_CHANGED");
        assert_ne!(sessions.get("bob", ID, None).unwrap().server_id(), bob.server_id());
        assert_eq!(sessions.len(), 1);
    }

    #[tokio::test]
    async fn a_copy_begins_with_what_there_is_and_goes_its_own_way() {
        let sessions = sessions(9).await;
        let first = sessions.get("ada", ID, None).unwrap();
        first.session.conf().set("my.key", "1").unwrap();
        let other = "10112233-4455-6677-8899-aabbccddeeff";
        let second = sessions.clone_of(&first, Some(other)).unwrap();
        second.session.conf().set("my.key", "2").unwrap();
        assert_eq!(
            (first.session.conf().get("my.key").as_deref(), second.session.conf().get("my.key").as_deref()),
            (Some("1"), Some("2"))
        );
        assert_eq!(class(sessions.clone_of(&first, Some(other))), "INVALID_HANDLE.SESSION_ALREADY_EXISTS");
    }

    #[tokio::test]
    async fn a_querys_session_lives_as_long_as_the_query_and_counts_for_nobody() {
        let sessions = sessions(2).await;
        let ada = sessions.get("ada", ID, None).unwrap();
        ada.session.conf().set("my.key", "1").unwrap();
        let (place, stateless) = (BatchSession::new(&ada, true).unwrap(), BatchSession::new(&ada, false).unwrap());
        let own = place.session().unwrap();
        assert!(Arc::ptr_eq(&sessions.get("ada", own.id(), None).unwrap(), &own) && own.id() != ID);
        assert_eq!(class(sessions.find("bob", own.id(), None)), "INVALID_HANDLE.SESSION_NOT_FOUND");
        let adaptive = |session: &ClientSession| session.session.conf().get("spark.sql.adaptive.enabled").unwrap();
        assert_eq!(own.session.conf().get("my.key").as_deref(), Some("1"));
        assert_eq!([&ada, &own, &stateless.session().unwrap()].map(|s| adaptive(s)), ["true", "false", "true"]);
        drop(stateless);
        // There is still room for another client.
        sessions.get("bob", ID, None).unwrap();
        assert_eq!((sessions.len(), sessions.clones().len()), (2, 1));
        // What is idle is closed; what belongs to a query is not, nor what runs something.
        ada.execution(Some(ID.to_string()), vec![], true).unwrap().start(std::future::pending());
        sessions.sweep(Duration::ZERO).await;
        assert_eq!((sessions.len(), sessions.clones().len()), (1, 1));
        drop(place);
        assert_eq!(class(sessions.get("ada", own.id(), None)), "INVALID_HANDLE.SESSION_CLOSED");
        assert_eq!((sessions.len(), sessions.clones().len()), (1, 0));
    }

    #[tokio::test]
    async fn the_sessions_of_queries_are_closed_with_the_one_that_started_them() {
        let sessions = sessions(9).await;
        let ada = sessions.get("ada", ID, None).unwrap();
        let place = BatchSession::new(&ada, false).unwrap();
        let own = place.session().unwrap();
        // A query that was started by the function of a query.
        let below = BatchSession::new(&own, false).unwrap();
        let execution = below.session().unwrap().execution(Some(ID.to_string()), vec![], true).unwrap();
        execution.start(std::future::pending());
        let bob = sessions.get("bob", ID, None).unwrap();
        let other = BatchSession::new(&bob, false).unwrap();
        assert_eq!(sessions.clones().len(), 3);
        sessions.release("ada", ID, false).await.unwrap();
        assert!(!execution.is_running());
        assert_eq!(class(sessions.get("ada", own.id(), None)), "INVALID_HANDLE.SESSION_CLOSED");
        assert_eq!(BatchSession::new(&ada, false).err().unwrap().code(), crate::ErrorCode::UserCode);
        assert!(Arc::ptr_eq(&sessions.clones()[0], &other.session().unwrap()));
        sessions.close().await;
        assert_eq!((sessions.len(), sessions.clones().len()), (0, 0));
    }

    #[tokio::test]
    async fn a_query_can_be_told_to_use_its_clients_session() {
        let sessions = sessions(9).await;
        let ada = sessions.get("ada", ID, None).unwrap();
        ada.session.conf().set("spark.sql.connect.streaming.foreachBatch.useClonedSession", "false").unwrap();
        let place = BatchSession::new(&ada, true).unwrap();
        assert!(Arc::ptr_eq(&place.session().unwrap(), &ada) && sessions.clones().is_empty());
        assert_eq!(ada.session.conf().get("spark.sql.adaptive.enabled").as_deref(), Some("true"));
        sessions.release("ada", ID, false).await.unwrap();
        drop(ada);
        assert_eq!(place.session().err().unwrap().code(), crate::ErrorCode::UserCode);
    }

    #[tokio::test]
    async fn executions_are_found_interrupted_and_forgotten() {
        let sessions = sessions(9).await;
        let session = sessions.get("ada", ID, None).unwrap();
        let execution = session.execution(Some(ID.to_string()), vec!["slow".into()], true).unwrap();
        execution.start(std::future::pending());
        assert_eq!(
            class(session.execution(Some(ID.to_string()), vec![], true)),
            "INVALID_HANDLE.OPERATION_ALREADY_EXISTS"
        );
        assert_eq!(class(session.execution(Some("x".into()), vec![], true)), "INVALID_HANDLE.FORMAT");
        assert_eq!(session.interrupt(|e| e.has_tag("fast")), Vec::<String>::new());
        assert_eq!(session.interrupt(|e| e.has_tag("slow")), [ID]);
        session.forget(ID);
        assert_eq!(class(session.find(ID)), "INVALID_HANDLE.OPERATION_NOT_FOUND");
        let status = session.status(Failure::cancelled(ID));
        use tonic_types::StatusExt;
        let id = status.get_details_error_info().unwrap().metadata["errorId"].clone();
        assert_eq!(session.failure(&id).unwrap().class(), "OPERATION_CANCELED");
        assert!(session.failure(&id).is_none());
    }
}
