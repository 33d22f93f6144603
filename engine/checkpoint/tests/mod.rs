//! Tests of the checkpoint: what they share. [`MemoryStore`] is a store that can be made to fail, overwrite or lie.

mod damage;
mod gc;
mod objects;
#[cfg(feature = "failpoints")]
mod points;
mod protocol;
mod recovery;
mod source_log;

use super::entry::{OffsetRange, OffsetsEntry, PreparedEntry, StateChain};
use super::store::{CheckpointStore, Created};
use super::{Checkpoint, FailPoints, open};
use crate::error::{Error, ErrorCode, Result};
use crate::sink::Prepared;
use crate::storage::Location;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Objects in memory, with faults.
#[derive(Default)]
pub struct MemoryStore {
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    /// Changes until every further one fails; None: none fails.
    pub changes_left: Mutex<Option<u64>>,
    /// Creates replace what is there, as a store without create-if-absent does.
    pub overwrites: Mutex<bool>,
    /// Creates say that the object exists even when they made it, as a retried request does.
    pub ambiguous: Mutex<bool>,
}

impl MemoryStore {
    fn change(&self) -> Result<()> {
        match self.changes_left.lock().as_mut() {
            Some(0) => Err(Error::new(ErrorCode::CheckpointIo, "the store is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }
}

#[async_trait]
impl CheckpointStore for MemoryStore {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Created> {
        super::store::check_name(path)?;
        let mut objects = self.objects.lock();
        if objects.contains_key(path) && !*self.overwrites.lock() {
            return Ok(Created::Exists);
        }
        self.change()?;
        objects.insert(path.to_string(), bytes);
        Ok(if *self.ambiguous.lock() { Created::Exists } else { Created::New })
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        Ok(self.objects.lock().get(path).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.objects.lock().keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    async fn delete(&self, paths: &[String]) -> Result<()> {
        for path in paths {
            self.change()?;
            self.objects.lock().remove(path);
        }
        Ok(())
    }
}

/// A checkpoint in a [`MemoryStore`], without a lock, so that two runs can overlap.
pub async fn open_memory(store: &Arc<MemoryStore>) -> Result<Checkpoint> {
    let identity = open::identify(store.as_ref(), "memory").await?;
    Checkpoint::open_on(store.clone(), None, "memory".into(), identity, Uuid::new_v4(), FailPoints::default()).await
}

pub async fn open_at(directory: &std::path::Path) -> Result<Checkpoint> {
    Checkpoint::open(&Location::Local(directory.to_path_buf()), Uuid::new_v4(), FailPoints::default()).await
}

pub fn offsets(checkpoint: &Checkpoint, batch: u64) -> OffsetsEntry {
    OffsetsEntry {
        batch,
        epoch: checkpoint.epoch(),
        run_id: checkpoint.inner.run_id,
        ranges: vec![OffsetRange {
            start: json!({"rides": {"0": batch * 10}}),
            end: json!({"rides": {"0": batch * 10 + 10}}),
        }],
        watermark_ms: -1,
        late_watermark_ms: i64::MIN,
        timestamp_ms: i64::MAX,
        conf: BTreeMap::from([("spark.sql.session.timeZone".to_string(), "Europe/Zürich".to_string())]),
        plan: "abc123".into(),
    }
}

pub fn prepared(batch: u64, attempt: Uuid, state: Vec<StateChain>) -> PreparedEntry {
    PreparedEntry {
        sink: Prepared { batch, attempt, payload: json!({"files": ["part\n0"], "ratio": 0.1}) },
        state,
        next_watermark_ms: 5,
        node_watermarks_ms: vec![None, Some(i64::MIN)],
    }
}

/// Runs a whole batch without state.
pub async fn run_batch(checkpoint: &Checkpoint, batch: u64) -> Result<Uuid> {
    let attempt = Uuid::new_v4();
    checkpoint.write_offsets(&offsets(checkpoint, batch)).await?;
    checkpoint.write_prepared(&prepared(batch, attempt, vec![])).await?;
    checkpoint.commit(batch, attempt).await?;
    Ok(attempt)
}
