//! A source log in memory, for tests: create-once, shared by its clones as a checkpoint is by two runs.

use crate::error::{Error, Result};
use crate::source::SourceLog;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Default)]
pub(crate) struct MemoryLog(pub Arc<Mutex<BTreeMap<u64, Bytes>>>);

#[async_trait]
impl SourceLog for MemoryLog {
    async fn put(&self, index: u64, entry: Bytes) -> Result<()> {
        let mut entries = self.0.lock();
        match entries.get(&index) {
            Some(old) if *old != entry => Err(Error::internal(format!("entry {index} exists with other bytes"))),
            _ => {
                entries.insert(index, entry);
                Ok(())
            }
        }
    }

    async fn entries(&self) -> Result<Vec<(u64, Bytes)>> {
        Ok(self.0.lock().iter().map(|(index, entry)| (*index, entry.clone())).collect())
    }
}
