//! A source's log that nobody needs after the process: for tables, which are read once and have no checkpoint.
//!
//! Comes in: entries. Goes out: the same. Fails: other bytes under an index that is used.

use super::SourceLog;
use crate::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// A log in memory.
#[derive(Debug, Default)]
pub struct TransientLog {
    entries: Mutex<BTreeMap<u64, Bytes>>,
}

#[async_trait]
impl SourceLog for TransientLog {
    async fn put(&self, index: u64, entry: Bytes) -> Result<()> {
        let mut entries = self.entries.lock();
        let held = entries.entry(index).or_insert_with(|| entry.clone());
        if *held == entry {
            return Ok(());
        }
        Err(Error::internal(format!("entry {index} of a source's log is there already, with other bytes")))
    }

    async fn entries(&self) -> Result<Vec<(u64, Bytes)>> {
        Ok(self.entries.lock().iter().map(|(index, entry)| (*index, entry.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_are_written_once() {
        let log = TransientLog::default();
        for (index, bytes) in [(1, "b"), (0, "a"), (1, "b")] {
            log.put(index, Bytes::from_static(bytes.as_bytes())).await.unwrap();
        }
        assert_eq!(log.put(1, Bytes::from_static(b"c")).await.unwrap_err().code(), crate::ErrorCode::Internal);
        assert_eq!(log.entries().await.unwrap(), [(0, Bytes::from_static(b"a")), (1, Bytes::from_static(b"b"))]);
    }
}
