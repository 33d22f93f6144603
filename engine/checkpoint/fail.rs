//! Named points of the commit protocol at which a test can stop, kill or fail a query.
//!
//! Comes in: the name of the point that was reached. Goes out: nothing, or the error that a test registered there.
//! Without the feature `failpoints` there is no registry and [`FailPoints::hit`] compiles to nothing.

use crate::error::Result;
#[cfg(feature = "failpoints")]
use fail_parallel::FailPointRegistry;
#[cfg(feature = "failpoints")]
use std::sync::Arc;

/// The epoch is claimed; nothing else has happened.
pub const AFTER_CLAIM: &str = "after-claim";
/// `offsets/N` is durable; nothing has been read.
pub const AFTER_OFFSETS: &str = "after-offsets";
/// A state file is durable.
pub const AFTER_STATE: &str = "after-state";
/// The sink has staged the batch's rows.
pub const AFTER_STAGE: &str = "after-stage";
/// Everything that the prepared record names is durable, the record is not.
pub const BEFORE_PREPARED: &str = "before-prepared";
/// `prepared/N` is durable; nothing is visible.
pub const AFTER_PREPARED: &str = "after-prepared";
/// The sink is in the middle of its publication.
pub const DURING_PUBLISH: &str = "during-publish";
/// In the file sinks: a file has its name; others of the batch may not.
pub const FILE_PUBLISHED: &str = "file-published";
/// The rows are visible; `commits/N` is not written.
pub const AFTER_PUBLISH: &str = "after-publish";
/// `commits/N` is durable.
pub const AFTER_COMMIT: &str = "after-commit";
/// Between two groups of deletions of the garbage collector.
pub const DURING_GC: &str = "during-gc";
/// In the local store: the temporary file is written and not synced.
pub const STORE_AFTER_WRITE: &str = "store-after-write";
/// In the local store: the temporary file is synced, the object's name does not exist.
pub const STORE_AFTER_SYNC: &str = "store-after-sync";
/// In the Kafka sink: every record of a transaction is sent, the transaction is not committed.
pub const KAFKA_SENT: &str = "kafka.sent";
/// In the Kafka sink: a transaction is committed.
pub const KAFKA_COMMITTED: &str = "kafka.committed";
/// In the local store: the object's name exists, its directory is not synced.
pub const STORE_AFTER_LINK: &str = "store-after-link";

/// Every point, in the order in which a batch passes them, then the local store's.
pub const ALL: &[&str] = &[
    AFTER_CLAIM,
    AFTER_OFFSETS,
    AFTER_STATE,
    AFTER_STAGE,
    BEFORE_PREPARED,
    AFTER_PREPARED,
    DURING_PUBLISH,
    AFTER_PUBLISH,
    AFTER_COMMIT,
    DURING_GC,
    STORE_AFTER_WRITE,
    STORE_AFTER_SYNC,
    STORE_AFTER_LINK,
    KAFKA_SENT,
    KAFKA_COMMITTED,
    FILE_PUBLISHED,
];

/// The fail points of one query. The default has none, and costs nothing.
#[derive(Debug, Clone, Default)]
pub struct FailPoints {
    #[cfg(feature = "failpoints")]
    registry: Option<Arc<FailPointRegistry>>,
}

impl FailPoints {
    /// Points that do what `registry` says: a callback runs there (and may kill the process), `return(text)` makes
    /// [`hit`](Self::hit) fail.
    #[cfg(feature = "failpoints")]
    pub fn new(registry: Arc<FailPointRegistry>) -> Self {
        Self { registry: Some(registry) }
    }

    /// Says that the query has reached `name`.
    ///
    /// # Errors
    /// CHECKPOINT_IO where a test has registered `return` for this point.
    #[cfg(feature = "failpoints")]
    pub fn hit(&self, name: &'static str) -> Result<()> {
        use crate::error::{Error, ErrorCode};
        let Some(registry) = &self.registry else { return Ok(()) };
        match fail_parallel::eval(registry.clone(), name, |text| text.unwrap_or_default()) {
            None => Ok(()),
            Some(text) => Err(Error::new(ErrorCode::CheckpointIo, format!("fail point {name}: {text}"))),
        }
    }

    /// The points as a function, for the Kafka sink, which is told of them by name.
    #[cfg(all(feature = "failpoints", feature = "kafka"))]
    pub fn hook(&self) -> Option<crate::sink::kafka::Hook> {
        let registry = self.registry.clone()?;
        Some(Arc::new(move |name| {
            // These points only call back; they return nothing.
            let _ = fail_parallel::eval(registry.clone(), name, |_| ());
        }))
    }

    /// The points as a function: none in this build.
    #[cfg(all(not(feature = "failpoints"), feature = "kafka"))]
    pub fn hook(&self) -> Option<crate::sink::kafka::Hook> {
        None
    }

    /// Says that the query has reached `name`.
    ///
    /// # Errors
    /// None in this build: it has no fail points.
    #[cfg(not(feature = "failpoints"))]
    #[inline(always)]
    pub fn hit(&self, _name: &'static str) -> Result<()> {
        Ok(())
    }
}
