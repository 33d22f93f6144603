//! State files of a [`Checkpoint`]: opaque bytes of an operator, framed, hashed and never changed.
//!
//! Comes in: an operator's delta or snapshot. Goes out: a [`StateFile`] to be named by the prepared record, and the bytes
//! again once length, hash, frames and description agree with it. Fails: CHECKPOINT_CORRUPT with the file, what was
//! expected and what is there; CHECKPOINT_IO.

use super::entry::StateFile;
use super::envelope::corrupt;
use super::fail;
use super::frames;
use super::layout;
use super::open::{Checkpoint, place};
use super::records::sha256;
use crate::error::{Error, ErrorCode, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const STATE: &str = "state";

#[derive(Serialize, Deserialize)]
struct StateHeader {
    query_id: Uuid,
    operator: String,
    batch: u64,
    attempt: Uuid,
    snapshot: bool,
    rows: u64,
}

impl Checkpoint {
    /// Makes a state file durable. `batch` and `attempt` are those of the prepared record that first names the file: the
    /// garbage collector takes a file of a committed batch that no retained record names.
    ///
    /// # Errors
    /// CHECKPOINT_IO.
    pub async fn write_state(
        &self,
        operator: &str,
        batch: u64,
        attempt: Uuid,
        snapshot: bool,
        rows: u64,
        bytes: Bytes,
    ) -> Result<StateFile> {
        let inner = &self.inner;
        let path = layout::state(operator, batch, attempt, snapshot);
        let operator = operator.to_string();
        let header = StateHeader { query_id: inner.query_id, operator, batch, attempt, snapshot, rows };
        let (framed, sha256) = computed(move || {
            let framed = frames::encode(STATE, &header, &bytes)?;
            let sha256 = sha256(&framed);
            Ok((framed, sha256))
        })
        .await?;
        let length = framed.len() as u64;
        if inner.create(&path, framed).await?.is_some() {
            return Err(Error::internal(format!("{path} was written twice")));
        }
        inner.fail.hit(fail::AFTER_STATE)?;
        Ok(StateFile { path, bytes: length, sha256, rows, snapshot })
    }

    /// Reads a state file and verifies every byte of it.
    ///
    /// # Errors
    /// CHECKPOINT_CORRUPT where it is missing, damaged or another's; CHECKPOINT_VERSION; CHECKPOINT_IO.
    pub async fn read_state(&self, file: &StateFile) -> Result<Bytes> {
        let inner = &self.inner;
        let bytes = inner.store.get(&file.path).await?.ok_or_else(|| inner.corrupt(&file.path, "missing"))?;
        let (file, query_id) = (file.clone(), inner.query_id);
        computed(move || verify(&file, query_id, &bytes)).await.map_err(|e| place(&inner.location, e))
    }
}

fn verify(file: &StateFile, query_id: Uuid, bytes: &Bytes) -> Result<Bytes> {
    let path = file.path.as_str();
    let decoded = frames::decode::<StateHeader>(path, STATE, bytes);
    let hash = sha256(bytes);
    if bytes.len() as u64 != file.bytes || hash != file.sha256 {
        // The frames know more closely where the damage is.
        decoded?;
        let what = format!(
            "expected {} bytes with SHA-256 {}, found {} bytes with SHA-256 {hash}",
            file.bytes,
            file.sha256,
            bytes.len()
        );
        return Err(corrupt(path, what));
    }
    let (header, payload) = decoded?;
    if header.query_id != query_id {
        return Err(corrupt(path, format!("belongs to query {}, this is {query_id}", header.query_id)));
    }
    let own = layout::state(&header.operator, header.batch, header.attempt, header.snapshot);
    if own != path {
        return Err(corrupt(path, format!("holds {own}")));
    }
    if (header.rows, header.snapshot) != (file.rows, file.snapshot) {
        return Err(corrupt(path, format!("expected {} rows, found {}", file.rows, header.rows)));
    }
    Ok(payload)
}

/// Hashing a gigabyte takes a second, which is too long for a thread that serves other tasks.
async fn computed<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::caused_by(ErrorCode::Internal, format!("a checkpoint task did not finish: {e}"), e)),
    }
}
