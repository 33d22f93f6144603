//! The client's listener: events of the session's queries, on a stream that stays open until the client takes the listener away.
//!
//! Comes in: events of queries. Goes out: their JSON, progress and ends on the stream, and the start with the answer to the call that started the query, so
//! that it comes before everything else. Fails: nothing; a client that reads too slowly misses progress, as Spark's does.
//!
//! PySpark takes a listener away under the lock that it needs to tell the listener of an event, and waits for the end of the stream: an event
//! that comes in between is waited for for ever. So the calls that bring about events are answered after the events, and what was not sent by
//! the time a listener goes is not sent any more.

use super::execution::Execution;
use crate::progress::listener::{
    QueryIdleEvent, QueryProgressEvent, QueryStartedEvent, QueryTerminatedEvent, StreamingQueryListener,
};
use crate::session::Session;
use parking_lot::Mutex;
use spark_connect_proto::execute_plan_response::ResponseType;
use spark_connect_proto::{StreamingQueryEventType, StreamingQueryListenerEvent, StreamingQueryListenerEventsResult};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// How long an answer waits for the events before it; a client that does not read them for so long has other worries.
const EVENTS_FIRST: Duration = Duration::from_secs(1);

/// The place of a session's one listener.
#[derive(Default)]
pub struct Bus {
    inner: Mutex<Option<Listening>>,
}

struct Listening {
    forward: Arc<Forward>,
    /// Ends the stream when it is dropped.
    _stream: watch::Sender<()>,
}

/// Writes events to an execution.
struct Forward {
    execution: Arc<Execution>,
    /// Starts whose call has not been answered yet.
    started: Mutex<HashMap<Uuid, String>>,
    /// Whether the client has taken the listener away.
    removed: Mutex<bool>,
}

impl Forward {
    fn send(&self, event_json: String, kind: StreamingQueryEventType) {
        let event = StreamingQueryListenerEvent { event_json, event_type: kind.into() };
        let result = StreamingQueryListenerEventsResult { events: vec![event], listener_bus_listener_added: None };
        let removed = self.removed.lock();
        if !*removed {
            self.execution.offer(ResponseType::StreamingQueryListenerEventsResult(result));
        }
    }
}

impl StreamingQueryListener for Forward {
    fn on_query_started(&self, event: &QueryStartedEvent) {
        self.started.lock().insert(event.run_id, event.json());
    }

    fn on_query_progress(&self, event: &QueryProgressEvent) {
        self.send(event.json(), StreamingQueryEventType::QueryProgressEvent);
    }

    fn on_query_idle(&self, event: &QueryIdleEvent) {
        self.send(event.json(), StreamingQueryEventType::QueryIdleEvent);
    }

    fn on_query_terminated(&self, event: &QueryTerminatedEvent) {
        self.send(event.json(), StreamingQueryEventType::QueryTerminatedEvent);
    }
}

impl Bus {
    /// Sends the session's events to `execution` until [`Bus::remove`], another [`Bus::listen`], or the end of the execution.
    pub async fn listen(&self, session: &Session, execution: &Arc<Execution>) {
        let forward =
            Arc::new(Forward { execution: execution.clone(), started: Mutex::default(), removed: Mutex::default() });
        let listener: Arc<dyn StreamingQueryListener> = forward.clone();
        let (stream, mut ended) = watch::channel(());
        self.remove();
        // Taken away also where the execution is interrupted, which drops this call.
        let _registered = Registered { session, listener: listener.clone() };
        session.streams().add_listener(listener);
        *self.inner.lock() = Some(Listening { forward, _stream: stream });
        let added = StreamingQueryListenerEventsResult { events: vec![], listener_bus_listener_added: Some(true) };
        execution.push(ResponseType::StreamingQueryListenerEventsResult(added)).await;
        // Nothing is ever sent: the other side goes away.
        let _ = ended.changed().await;
    }

    /// Ends the stream, after what it has sent.
    pub fn remove(&self) {
        if let Some(listening) = self.inner.lock().take() {
            *listening.forward.removed.lock() = true;
            listening.forward.execution.withdraw();
        }
    }

    /// Waits until the events of what has happened until now are on their way to the client.
    pub async fn heard(&self, session: &Session) {
        let Some(forward) = self.inner.lock().as_ref().map(|listening| listening.forward.clone()) else { return };
        let heard = async {
            session.streams().listeners().told().await;
            forward.execution.sent().await;
        };
        // Late events are still events.
        let _ = tokio::time::timeout(EVENTS_FIRST, heard).await;
    }

    /// The event of a start that was just announced, for the answer to the call; None without a listener.
    pub fn started(&self, run_id: Uuid) -> Option<String> {
        let forward = self.inner.lock().as_ref()?.forward.clone();
        forward.started.lock().remove(&run_id)
    }
}

struct Registered<'s> {
    session: &'s Session,
    listener: Arc<dyn StreamingQueryListener>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.session.streams().remove_listener(&self.listener);
    }
}
