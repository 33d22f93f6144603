//! A source's log before its checkpoint is open: sources are checked first, and only then is anything written.

use super::SourceLog;
use crate::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// A [`SourceLog`] that is given its place later. A source may use it from its first call after `open`.
#[derive(Default)]
pub struct DeferredLog(OnceLock<Arc<dyn SourceLog>>);

impl DeferredLog {
    /// Gives the log its place; the first place stays.
    pub fn set(&self, log: Arc<dyn SourceLog>) {
        // A second place would be a second checkpoint; there is one.
        let _ = self.0.set(log);
    }

    fn place(&self) -> Result<&Arc<dyn SourceLog>> {
        self.0.get().ok_or_else(|| Error::internal("a source used its log in open(), before the checkpoint was open"))
    }
}

#[async_trait]
impl SourceLog for DeferredLog {
    async fn put(&self, index: u64, entry: Bytes) -> Result<()> {
        self.place()?.put(index, entry).await
    }

    async fn entries(&self) -> Result<Vec<(u64, Bytes)>> {
        self.place()?.entries().await
    }
}
