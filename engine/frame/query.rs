//! [`StreamingQuery`] and [`StreamingQueryManager`]: handles to what runs.
//!
//! Comes in: calls from any thread. Goes out: status, progress, the end of the query. A handle never blocks the query, and dropping
//! it does not stop the query.

use crate::batch::shared::Shared;
use crate::error::{Error, ErrorCode, Result};
use crate::progress::listener::{ListenerBus, QueryStartedEvent, QueryTerminatedEvent, StreamingQueryListener};
use crate::progress::{StreamingQueryProgress, StreamingQueryStatus, iso_instant};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tracing::warn;
use uuid::Uuid;

/// A started query; clones are the same query.
#[derive(Clone)]
pub struct StreamingQuery {
    pub(crate) id: Uuid,
    pub(crate) run_id: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) explanation: Arc<str>,
    /// The logical plan in words.
    pub(crate) plan: Arc<str>,
    /// Where the checkpoint is, in one spelling.
    pub(crate) checkpoint: Arc<str>,
    pub(crate) shared: Arc<Shared>,
}

impl StreamingQuery {
    /// The query's id: kept in its checkpoint, the same after every restart.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// This start's id.
    pub fn run_id(&self) -> Uuid {
        self.run_id
    }

    /// The name given with `query_name`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the query runs.
    pub fn is_active(&self) -> bool {
        self.shared.is_active()
    }

    /// What the query is doing right now.
    pub fn status(&self) -> StreamingQueryStatus {
        self.shared.status()
    }

    /// The last batches' progress, oldest first, as many as `spark.sql.streaming.numRecentProgressUpdates` keeps.
    pub fn recent_progress(&self) -> Vec<Arc<StreamingQueryProgress>> {
        self.shared.recent()
    }

    /// The last batch's progress.
    pub fn last_progress(&self) -> Option<Arc<StreamingQueryProgress>> {
        self.shared.last()
    }

    /// The failure that ended the query, or None while it runs and after an orderly end.
    pub fn exception(&self) -> Option<Error> {
        self.shared.exception().map(|cause| self.failed(cause))
    }

    /// The failure that ended the query as Spark writes it: the message, then the query, its offsets and its plan.
    pub fn exception_text(&self) -> Option<String> {
        let error = self.exception()?;
        let identifier = match &self.name {
            Some(name) => format!("{name} [id = {}, runId = {}]", self.id, self.run_id),
            None => format!("[id = {}, runId = {}]", self.id, self.run_id),
        };
        Some(format!("{error} SQLSTATE: XXKST\n{}", self.shared.describe(&identifier, &self.plan)))
    }

    /// Waits until everything that is available now has been processed and committed. For tests: a source that always has
    /// more never lets it return. It does not hurry a trigger: with a long interval, it returns after the next tick that finds
    /// nothing to do.
    ///
    /// # Errors
    /// The query's failure.
    pub async fn process_all_available(&self) -> Result<()> {
        self.shared.drained().await;
        self.result()
    }

    /// Waits for the query to end.
    ///
    /// # Errors
    /// The query's failure.
    pub async fn await_termination(&self) -> Result<()> {
        self.shared.ended().await;
        self.result()
    }

    /// Waits for the query to end, or for the time to pass; tells whether it ended.
    ///
    /// # Errors
    /// The query's failure.
    pub async fn await_termination_timeout(&self, limit: Duration) -> Result<bool> {
        let ended = tokio::time::timeout(limit, self.shared.ended()).await.is_ok();
        self.result().map(|()| ended)
    }

    /// Stops the query and waits until it has stopped. A batch that still computes is given up and runs again at the next
    /// start; one that is being written is finished first. Not to be awaited in the query's own `foreach_batch`, whose
    /// batch it would wait for.
    ///
    /// With `spark.sql.streaming.stopTimeout` it waits no longer than that; a warning tells of a query that goes on, and
    /// [`StreamingQuery::is_active`] stays true until it ends.
    pub async fn stop(&self) {
        self.shared.request_stop();
        let Some(limit) = self.shared.stop_timeout() else { return self.shared.ended().await };
        if tokio::time::timeout(limit, self.shared.ended()).await.is_err() {
            warn!(query = %self.id, ?limit, "the query was told to stop and has not stopped in time");
        }
    }

    /// The plan, its stages and the device.
    pub fn explain(&self) -> &str {
        &self.explanation
    }

    /// [`StreamingQuery::explain`] as Spark's `explain(extended)`: the stages and the device, and before them the logical
    /// plan if `extended`.
    pub fn explain_string(&self, extended: bool) -> &str {
        let stages = self.explanation.find("== Stages ==").filter(|_| !extended);
        stages.and_then(|at| self.explanation.get(at..)).unwrap_or(&self.explanation)
    }

    fn result(&self) -> Result<()> {
        self.exception().map_or(Ok(()), Err)
    }

    fn failed(&self, cause: Error) -> Error {
        let text = format!("Query [id = {}, runId = {}] terminated with exception: {cause}", self.id, self.run_id);
        Error::caused_by(ErrorCode::StreamFailed, text, cause)
    }
}

/// A session's queries.
#[derive(Clone, Default)]
pub struct StreamingQueryManager {
    inner: Arc<Registry>,
}

#[derive(Default)]
struct Registry {
    queries: Mutex<Queries>,
    changed: Notify,
    listeners: ListenerBus,
}

#[derive(Default)]
struct Queries {
    active: Vec<StreamingQuery>,
    /// Names and runs that are being started.
    starting: Vec<(Uuid, Option<String>)>,
    /// Whether a query has ended since the last reset, and how.
    ended: Option<Option<Error>>,
}

impl StreamingQueryManager {
    /// Queries that run.
    pub fn active(&self) -> Vec<StreamingQuery> {
        self.inner.queries.lock().active.clone()
    }

    /// The active query with this id.
    pub fn get(&self, id: Uuid) -> Option<StreamingQuery> {
        self.inner.queries.lock().active.iter().find(|q| q.id == id).cloned()
    }

    /// Adds a listener, which is told of every query of the session from now on.
    pub fn add_listener(&self, listener: Arc<dyn StreamingQueryListener>) {
        self.inner.listeners.add(listener);
    }

    /// Removes a listener.
    pub fn remove_listener(&self, listener: &Arc<dyn StreamingQueryListener>) {
        self.inner.listeners.remove(listener);
    }

    /// The listeners, in the order in which they were added.
    pub fn list_listeners(&self) -> Vec<Arc<dyn StreamingQueryListener>> {
        self.inner.listeners.list()
    }

    /// Progress events that slow listeners have missed.
    pub fn dropped_events(&self) -> u64 {
        self.inner.listeners.dropped()
    }

    pub(crate) fn listeners(&self) -> &ListenerBus {
        &self.inner.listeners
    }

    /// Makes the checkpoint free for another run: stops the active query that runs on it, as
    /// `spark.sql.streaming.stopActiveRunOnRestart` wants it.
    pub(crate) async fn stop_run_on(&self, checkpoint: &str) {
        for query in self.active() {
            if *query.checkpoint == *checkpoint {
                warn!(query = %query.id, run = %query.run_id, "stopping the active run of a query that is started again");
                query.stop().await;
            }
        }
    }

    /// Waits until any query has ended since the session began, or since [`StreamingQueryManager::reset_terminated`].
    ///
    /// # Errors
    /// The failure of the first query that failed among those that have ended.
    pub async fn await_any_termination(&self) -> Result<()> {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that an end between look and wait is not missed.
            changed.as_mut().enable();
            if let Some(ended) = self.inner.queries.lock().ended.clone() {
                return ended.map_or(Ok(()), Err);
            }
            changed.await;
        }
    }

    /// [`StreamingQueryManager::await_any_termination`] with a limit; tells whether a query has ended.
    ///
    /// # Errors
    /// That query's failure.
    pub async fn await_any_termination_timeout(&self, limit: Duration) -> Result<bool> {
        match tokio::time::timeout(limit, self.await_any_termination()).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Forgets queries that have ended, so that the next wait waits for another.
    pub fn reset_terminated(&self) {
        self.inner.queries.lock().ended = None;
    }

    /// Reserves a name for a query that is being started, for as long as the reservation lives.
    pub(crate) fn reserve(&self, run_id: Uuid, name: Option<&str>) -> Result<Reservation> {
        let mut queries = self.inner.queries.lock();
        let taken = name.is_some()
            && (queries.active.iter().any(|q| q.name() == name)
                || queries.starting.iter().any(|(_, other)| other.as_deref() == name));
        if taken {
            let name = name.unwrap_or_default();
            return Err(Error::new(
                ErrorCode::QueryNameInUse,
                format!(
                    "cannot start query with name {name} as a query with that name is already active in this session"
                ),
            ));
        }
        queries.starting.push((run_id, name.map(str::to_string)));
        Ok(Reservation { manager: self.clone(), run_id })
    }

    /// Takes in a query that has started, in place of its reservation.
    pub(crate) fn started(&self, query: &StreamingQuery) {
        let mut queries = self.inner.queries.lock();
        queries.starting.retain(|(run, _)| *run != query.run_id);
        queries.active.push(query.clone());
    }

    /// Tells the listeners of a query that has started, and returns when they have heard.
    pub(crate) async fn announce(&self, query: &StreamingQuery) {
        let event = QueryStartedEvent {
            id: query.id,
            run_id: query.run_id,
            name: query.name.clone(),
            timestamp: iso_instant(chrono::Utc::now().timestamp_millis()),
            job_tags: Vec::new(),
        };
        self.inner.listeners.started(event).await;
    }

    /// Ends a query whose end has been noted: for the session and for those who wait for it, at the same moment, so that
    /// whoever is woken by either finds both done.
    pub(crate) fn ended(&self, query: &StreamingQuery) {
        let failure = query.shared.exception();
        self.inner.listeners.terminated(QueryTerminatedEvent {
            id: query.id,
            run_id: query.run_id,
            exception: failure.as_ref().map(ToString::to_string),
            error_class_on_exception: failure.as_ref().map(|error| error.condition().into_owned()),
        });
        let mut queries = self.inner.queries.lock();
        queries.active.retain(|q| q.run_id != query.run_id);
        // An orderly end does not hide an earlier failure that nobody has asked for yet.
        if !matches!(queries.ended, Some(Some(_))) {
            queries.ended = Some(query.exception());
        }
        query.shared.end();
        drop(queries);
        self.inner.changed.notify_waiters();
    }
}

/// A name that is taken while its query starts; dropping it, whether the start failed or was abandoned, frees the name.
pub(crate) struct Reservation {
    manager: StreamingQueryManager,
    run_id: Uuid,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.manager.inner.queries.lock().starting.retain(|(run, _)| *run != self.run_id);
    }
}
