//! [`BatchClock`]: the time that `current_timestamp()` and its like give in a batch.
//!
//! Comes in: the batch's logged time, which a replay of the batch has again. Goes out: that time, to every compiled expression of the
//! query. Nothing fails.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds since the epoch, shared by the runner, which sets it before a batch, and the query's expressions.
#[derive(Debug, Clone, Default)]
pub struct BatchClock(Arc<AtomicI64>);

impl BatchClock {
    /// Sets the time of the batch that begins.
    pub fn set(&self, timestamp_ms: i64) {
        self.0.store(timestamp_ms, Ordering::Relaxed);
    }

    /// The batch's time.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Clocks are equal when they are the same.
impl PartialEq for BatchClock {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BatchClock {}

impl Hash for BatchClock {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self.0.as_ref()).hash(state);
    }
}
