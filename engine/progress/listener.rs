//! Listeners: user code that is told what a session's queries do.
//!
//! Comes in: starts, progress, idle looks and ends of queries. Goes out: calls of [`StreamingQueryListener`]. Fails: never a query. A
//! listener that panics is logged and called again with the next event. A slow one has a queue of its own, worked off by a
//! thread of its own: when [`QUEUE_CAPACITY`] events wait, further progress and idle events are dropped and counted, as Spark's
//! listener bus does; ends are never dropped. `on_query_started` alone is called by `start()` itself, which waits for it.

use super::StreamingQueryProgress;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tracing::{error, warn};
use uuid::Uuid;

/// Events that wait for a slow listener before progress is dropped; the capacity of Spark's queue.
pub const QUEUE_CAPACITY: usize = 10_000;

/// Is told what a session's queries do. Every method does nothing unless it is written.
///
/// ```
/// use std::sync::Arc;
/// use tidemill::prelude::*;
/// use tidemill::progress::listener::{QueryTerminatedEvent, StreamingQueryListener};
///
/// struct Alarm;
/// impl StreamingQueryListener for Alarm {
///     fn on_query_terminated(&self, event: &QueryTerminatedEvent) {
///         if let Some(class) = &event.error_class_on_exception {
///             eprintln!("query {} failed with {class}", event.id);
///         }
///     }
/// }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::builder().config("tidemill.device", "cpu").build().await?;
/// let alarm: Arc<dyn StreamingQueryListener> = Arc::new(Alarm);
/// session.streams().add_listener(alarm.clone());
/// assert_eq!(session.streams().list_listeners().len(), 1);
/// session.streams().remove_listener(&alarm);
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
pub trait StreamingQueryListener: Send + Sync {
    /// A query has started. Called before `start()` returns, and before any other event of the query.
    fn on_query_started(&self, _event: &QueryStartedEvent) {}

    /// A batch is committed.
    fn on_query_progress(&self, _event: &QueryProgressEvent) {}

    /// A query has found nothing to do for a while, every `spark.sql.streaming.noDataProgressEventInterval`.
    fn on_query_idle(&self, _event: &QueryIdleEvent) {}

    /// A query has ended, in order or with an exception.
    fn on_query_terminated(&self, _event: &QueryTerminatedEvent) {}
}

/// A query has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryStartedEvent {
    /// The query's id.
    pub id: Uuid,
    /// This start's id.
    pub run_id: Uuid,
    /// The query's name.
    pub name: Option<String>,
    /// When, UTC with milliseconds.
    pub timestamp: String,
    /// Spark's tags of the job; there are none here.
    pub job_tags: Vec<String>,
}

/// A batch is committed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryProgressEvent {
    /// What the batch came to.
    #[serde(serialize_with = "shared")]
    pub progress: Arc<StreamingQueryProgress>,
}

/// A query has found nothing to do for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryIdleEvent {
    /// The query's id.
    pub id: Uuid,
    /// This start's id.
    pub run_id: Uuid,
    /// When, UTC with milliseconds.
    pub timestamp: String,
}

/// A query has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryTerminatedEvent {
    /// The query's id.
    pub id: Uuid,
    /// This start's id.
    pub run_id: Uuid,
    /// The failure in words; None after an orderly end.
    pub exception: Option<String>,
    /// The failure's error class, such as `DIVIDE_BY_ZERO`.
    pub error_class_on_exception: Option<String>,
}

fn shared<S: Serializer>(progress: &Arc<StreamingQueryProgress>, serializer: S) -> Result<S::Ok, S::Error> {
    progress.as_ref().serialize(serializer)
}

macro_rules! as_json {
    ($($event:ty),*) => {$(
        impl $event {
            /// The event as Spark's JSON.
            pub fn json(&self) -> String {
                serde_json::to_string(self).unwrap_or_default()
            }
        }
    )*};
}
as_json!(QueryStartedEvent, QueryProgressEvent, QueryIdleEvent, QueryTerminatedEvent);

#[derive(Clone)]
enum Event {
    Progress(QueryProgressEvent),
    Idle(QueryIdleEvent),
    Terminated(QueryTerminatedEvent),
}

/// A session's listeners; clones are the same.
#[derive(Clone, Default)]
pub struct ListenerBus {
    lines: Arc<Mutex<Vec<Arc<Line>>>>,
    dropped: Arc<AtomicU64>,
}

/// One listener and the events that wait for it.
struct Line {
    listener: Arc<dyn StreamingQueryListener>,
    queue: Mutex<Queue>,
    /// An event was told or forgotten.
    told: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Whether a thread works the queue off.
    working: bool,
    /// Events that were ever put in, and those of them that the listener has heard or never will.
    posted: u64,
    done: u64,
}

impl ListenerBus {
    /// Adds a listener. It hears of everything from now on.
    pub fn add(&self, listener: Arc<dyn StreamingQueryListener>) {
        self.lines.lock().push(Arc::new(Line { listener, queue: Mutex::default(), told: Notify::new() }));
    }

    /// Removes a listener wherever it was added; what waits for it is forgotten.
    pub fn remove(&self, listener: &Arc<dyn StreamingQueryListener>) {
        self.lines.lock().retain(|line| {
            let other = !std::ptr::addr_eq(Arc::as_ptr(&line.listener), Arc::as_ptr(listener));
            if !other {
                let mut queue = line.queue.lock();
                queue.done += queue.events.len() as u64;
                queue.events.clear();
                line.told.notify_waiters();
            }
            other
        });
    }

    /// The listeners, in the order in which they were added.
    pub fn list(&self) -> Vec<Arc<dyn StreamingQueryListener>> {
        self.lines.lock().iter().map(|line| line.listener.clone()).collect()
    }

    /// Waits until every listener has heard of what has happened until now.
    #[cfg(feature = "connect")]
    pub(crate) async fn told(&self) {
        let lines: Vec<_> = self.lines.lock().iter().map(|line| (line.clone(), line.queue.lock().posted)).collect();
        for (line, posted) in lines {
            loop {
                let told = line.told.notified();
                tokio::pin!(told);
                // Registered before the look, so that an event between look and wait is not missed.
                told.as_mut().enable();
                if line.queue.lock().done >= posted {
                    break;
                }
                told.await;
            }
        }
    }

    /// Progress and idle events that slow listeners have missed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Tells of a start, and returns when every listener has heard it.
    pub(crate) async fn started(&self, event: QueryStartedEvent) {
        let event = Arc::new(event);
        for listener in self.list() {
            let event = event.clone();
            // A listener may block, and may panic.
            let told = tokio::task::spawn_blocking(move || guarded(|| listener.on_query_started(&event)));
            if let Err(error) = told.await {
                warn!(%error, "a listener was not told of a start");
            }
        }
    }

    pub(crate) fn progress(&self, progress: Arc<StreamingQueryProgress>) {
        self.post(&Event::Progress(QueryProgressEvent { progress }));
    }

    pub(crate) fn idle(&self, progress: &StreamingQueryProgress) {
        let StreamingQueryProgress { id, run_id, timestamp, .. } = progress;
        let event = QueryIdleEvent { id: *id, run_id: *run_id, timestamp: timestamp.clone() };
        self.post(&Event::Idle(event));
    }

    pub(crate) fn terminated(&self, event: QueryTerminatedEvent) {
        self.post(&Event::Terminated(event));
    }

    fn post(&self, event: &Event) {
        for line in self.lines.lock().iter() {
            let mut queue = line.queue.lock();
            if queue.events.len() >= QUEUE_CAPACITY && !matches!(event, Event::Terminated(_)) {
                if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    warn!("a listener is slower than the queries; progress events for it are dropped");
                }
                continue;
            }
            queue.events.push_back(event.clone());
            queue.posted += 1;
            if !queue.working {
                let worker = line.clone();
                let thread = std::thread::Builder::new().name("listener".to_string());
                // Where there is no thread to be had, the next event tries again.
                queue.working = match thread.spawn(move || worker.work()) {
                    Ok(_) => true,
                    Err(error) => {
                        error!(%error, "no thread for a listener");
                        false
                    }
                };
            }
        }
    }
}

impl Line {
    fn work(&self) {
        loop {
            let event = {
                let mut queue = self.queue.lock();
                let Some(event) = queue.events.pop_front() else {
                    queue.working = false;
                    return;
                };
                event
            };
            guarded(|| match &event {
                Event::Progress(event) => self.listener.on_query_progress(event),
                Event::Idle(event) => self.listener.on_query_idle(event),
                Event::Terminated(event) => self.listener.on_query_terminated(event),
            });
            self.queue.lock().done += 1;
            self.told.notify_waiters();
        }
    }
}

/// Calls a listener, whose panics are its own.
fn guarded(call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        warn!("a listener panicked: {text}");
    }
}

#[cfg(test)]
mod tests;
