//! What a running query and the handles to it share.
//!
//! Comes in: the runner's news. Goes out: to every [`StreamingQuery`](crate::frame::StreamingQuery) handle, without ever blocking the runner.

use crate::error::Error;
use crate::progress::{StreamingQueryProgress, StreamingQueryStatus};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, oneshot, watch};

/// State of one run, behind an `Arc`.
pub struct Shared {
    status: Mutex<StreamingQueryStatus>,
    recent: Mutex<VecDeque<Arc<StreamingQueryProgress>>>,
    keep: usize,
    exception: Mutex<Option<Error>>,
    /// Set to end the run; workers look at it between chunks.
    pub stop: Arc<AtomicBool>,
    /// Wakes a runner that waits for data or for its trigger.
    pub wake: Notify,
    done: watch::Sender<bool>,
    drained: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Shared {
    /// State of a run that has just begun, which keeps the last `keep` progress records.
    pub fn new(keep: usize) -> Self {
        let status = StreamingQueryStatus {
            message: "Initializing sources".to_string(),
            is_data_available: false,
            is_trigger_active: false,
        };
        Self {
            status: Mutex::new(status),
            recent: Mutex::new(VecDeque::new()),
            keep: keep.max(1),
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

    /// Adds a progress record.
    pub fn push(&self, progress: StreamingQueryProgress) {
        let mut recent = self.recent.lock();
        if recent.len() == self.keep {
            recent.pop_front();
        }
        recent.push_back(Arc::new(progress));
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
