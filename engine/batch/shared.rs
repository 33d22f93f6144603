//! What a running query and the handles to it share.
//!
//! Comes in: the runner's news. Goes out: to every [`StreamingQuery`](crate::frame::StreamingQuery) handle, without ever blocking the runner.

use crate::error::Error;
use crate::progress::listener::ListenerBus;
use crate::progress::{StreamingQueryProgress, StreamingQueryStatus};
use crate::source::Offset;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidemill_kernels::device::Device;
use tokio::sync::{Notify, oneshot, watch};

/// What a run is told about being watched.
pub struct Monitoring {
    /// Progress records kept.
    pub keep: usize,
    /// Who is told of progress.
    pub listeners: ListenerBus,
    /// How long a stop waits; None waits until the run has ended.
    pub stop_timeout: Option<Duration>,
    /// The device, for its own counters.
    pub device: Device,
}

/// State of one run, behind an `Arc`.
pub struct Shared {
    status: Mutex<StreamingQueryStatus>,
    recent: Mutex<VecDeque<Arc<StreamingQueryProgress>>>,
    monitoring: Monitoring,
    reached: Mutex<Reached>,
    exception: Mutex<Option<Error>>,
    /// Set to end the run; workers look at it between chunks.
    pub stop: Arc<AtomicBool>,
    /// Wakes a runner that waits for data or for its trigger.
    pub wake: Notify,
    done: watch::Sender<bool>,
    drained: Mutex<Vec<oneshot::Sender<()>>>,
}

/// How far a run has come, by source, for the text of a failure.
#[derive(Default)]
struct Reached {
    committed: String,
    available: String,
    active: bool,
}

impl Shared {
    /// State of a run that has just begun.
    pub fn new(monitoring: Monitoring) -> Self {
        let status = StreamingQueryStatus {
            message: "Initializing sources".to_string(),
            is_data_available: false,
            is_trigger_active: false,
        };
        Self {
            status: Mutex::new(status),
            recent: Mutex::new(VecDeque::new()),
            monitoring,
            reached: Mutex::default(),
            exception: Mutex::new(None),
            stop: Arc::new(AtomicBool::new(false)),
            wake: Notify::new(),
            done: watch::Sender::new(false),
            drained: Mutex::new(Vec::new()),
        }
    }

    /// Tells what the run is doing.
    pub fn set_status(&self, message: impl Into<String>, is_data_available: bool, is_trigger_active: bool) {
        *self.status.lock() = StreamingQueryStatus { message: message.into(), is_data_available, is_trigger_active };
    }

    /// What the run is doing.
    pub fn status(&self) -> StreamingQueryStatus {
        self.status.lock().clone()
    }

    /// Adds the progress record of a batch, and tells the listeners.
    pub fn push(&self, progress: StreamingQueryProgress) {
        let progress = self.remember(progress);
        self.monitoring.listeners.progress(progress);
    }

    /// Adds the progress record of a look that found nothing, and tells the listeners that the query is idle.
    pub fn push_idle(&self, progress: StreamingQueryProgress) {
        let progress = self.remember(progress);
        self.monitoring.listeners.idle(&progress);
    }

    fn remember(&self, progress: StreamingQueryProgress) -> Arc<StreamingQueryProgress> {
        let progress = Arc::new(progress);
        let mut recent = self.recent.lock();
        if recent.len() >= self.monitoring.keep.max(1) {
            recent.pop_front();
        }
        recent.push_back(progress.clone());
        progress
    }

    /// Chunks that ran on the CPU because the GPU could not take them.
    pub fn gpu_fallbacks(&self) -> u64 {
        self.monitoring.device.fallbacks()
    }

    /// How long a stop waits; None waits until the run has ended.
    pub fn stop_timeout(&self) -> Option<Duration> {
        self.monitoring.stop_timeout
    }

    /// Notes how far the run has come: by source, what is committed, and what is planned or was planned last.
    pub fn set_reached<'a>(&self, offsets: impl Iterator<Item = (String, Option<&'a Offset>, Option<&'a Offset>)>) {
        let (mut committed, mut available) = (Vec::new(), Vec::new());
        for (source, done, planned) in offsets {
            committed.extend(done.map(|offset| format!("{source}: {offset}")));
            available.extend(planned.map(|offset| format!("{source}: {offset}")));
        }
        let braces = |offsets: Vec<String>| format!("{{{}}}", offsets.join(","));
        *self.reached.lock() = Reached { committed: braces(committed), available: braces(available), active: true };
    }

    /// The lines that Spark puts under a failure's message: who failed, where, and over which plan.
    pub fn describe(&self, identifier: &str, plan: &str) -> String {
        let mut text = format!("=== Streaming Query ===\nIdentifier: {identifier}\n");
        let reached = self.reached.lock();
        let offsets = |text: &str| if text.is_empty() { "{}".to_string() } else { text.to_string() };
        let state = if reached.active { "ACTIVE" } else { "INITIALIZING" };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "Current Committed Offsets: {}\nCurrent Available Offsets: {}\n\nCurrent State: {state}\nThread State: RUNNABLE\n\nLogical Plan:\n{plan}",
            offsets(&reached.committed),
            offsets(&reached.available),
        );
        text
    }

    /// The progress records kept, oldest first.
    pub fn recent(&self) -> Vec<Arc<StreamingQueryProgress>> {
        self.recent.lock().iter().cloned().collect()
    }

    /// The newest progress record.
    pub fn last(&self) -> Option<Arc<StreamingQueryProgress>> {
        self.recent.lock().back().cloned()
    }

    /// Asks the run to end.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether the run was asked to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Notes how the run ended. Those who wait for its end still wait: see [`Shared::end`].
    pub fn conclude(&self, failure: Option<Error>) {
        let message = match &failure {
            Some(error) => format!("Terminated with exception: {error}"),
            None => "Stopped".to_string(),
        };
        *self.exception.lock() = failure;
        self.set_status(message, false, false);
    }

    /// Ends the run for everybody who waits for it, after [`Shared::conclude`] and after its name and checkpoint are free again.
    pub fn end(&self) {
        self.done.send_replace(true);
        self.drained.lock().clear();
    }

    /// The failure that ended the run.
    pub fn exception(&self) -> Option<Error> {
        self.exception.lock().clone()
    }

    /// Whether the run goes on.
    pub fn is_active(&self) -> bool {
        !*self.done.borrow()
    }

    /// Returns when the run has ended.
    pub async fn ended(&self) {
        let mut done = self.done.subscribe();
        // The sender lives in `self`, so it cannot be gone.
        let _ = done.wait_for(|done| *done).await;
    }

    /// Returns when the run has worked through everything that was available, or has ended.
    pub async fn drained(&self) {
        let (sender, receiver) = oneshot::channel();
        self.drained.lock().push(sender);
        if self.is_active() {
            self.wake.notify_one();
            if receiver.await.is_err() {
                // The run is ending, and has perhaps not noted yet how.
                self.ended().await;
            }
        }
    }

    /// Those who wait for the run to have worked through everything. Taken before a look at the sources, answered if it finds
    /// nothing, so that what was available when they asked has been seen.
    pub fn take_waiting(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut *self.drained.lock())
    }

    /// Puts back those whom a look did not answer.
    pub fn requeue(&self, waiting: Vec<oneshot::Sender<()>>) {
        self.drained.lock().extend(waiting);
    }
}
