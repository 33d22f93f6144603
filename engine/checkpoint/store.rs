//! What a checkpoint needs of the place it lives in: a few operations on immutable objects.
//!
//! Comes in: object names (`commits/00000000000000000007`, parts joined by `/`) and bytes. Goes out: bytes, and whether
//! a create was the first. Fails with CHECKPOINT_IO, naming the object.

use crate::error::{Error, ErrorCode, Result};
use async_trait::async_trait;
use bytes::Bytes;

/// What a create found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is new, complete and durable.
    New,
    /// The name was taken. It may have been taken by an earlier try of the same call, so the caller compares contents.
    Exists,
}

/// A flat store of immutable objects. Nothing is ever overwritten, so a reader sees an object whole or not at all.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Creates the object unless the name is taken. When this returns `New`, the object survives a power failure.
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Created>;

    /// The object's bytes, or None where there is no such object.
    async fn get(&self, path: &str) -> Result<Option<Bytes>>;

    /// Names of all objects under `prefix` (which ends in `/`), ascending.
    async fn list(&self, prefix: &str) -> Result<Vec<String>>;

    /// Deletes the objects, in order and durably. Those that do not exist are passed over.
    async fn delete(&self, paths: &[String]) -> Result<()>;
}

/// Refuses names that could leave the store or that hide in it: only plain parts of letters, digits and `. _ - %`.
pub(crate) fn check_name(path: &str) -> Result<()> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.len() <= 255
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-%".contains(&b))
    };
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::CheckpointCorrupt,
        format!("`{}` is not the name of a checkpoint file", path.escape_debug()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for good in ["FORMAT", "commits/00000000000000000007", "state/a%20b/1.delta"] {
            check_name(good).unwrap();
        }
        for bad in ["", "/", "/etc/passwd", "a/../b", "..", "a//b", "a/", ".tmp", "a\0b", "a b", "ä", &"x".repeat(256)]
        {
            assert_eq!(check_name(bad).unwrap_err().code(), ErrorCode::CheckpointCorrupt, "{bad}");
        }
    }
}
