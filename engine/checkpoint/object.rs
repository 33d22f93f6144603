//! Checkpoints in an object store.
//!
//! Comes in: names and bytes. Goes out: objects that were created once, with `If-None-Match: *`. Fails: CHECKPOINT_IO with the URL and
//! what the store said.
//!
//! The store repeats a request that failed, and a request that seemed to fail may have been done. So a create that is refused because
//! the name is taken says [`Created::Exists`], and the caller compares contents; a create of unknown outcome is read back
//! here. There is no lock: epochs fence (see the head of `open.rs`).

use super::layout;
use super::store::{CheckpointStore, Created, check_name};
use crate::error::{Error, ErrorCode, Result};
use crate::storage::ObjectLocation;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as Cause, ObjectStoreExt, PutMode, PutOptions};
use std::time::{Duration, Instant};

/// How often a create is sent whose outcome nobody can tell; each time the store's client has repeated it on its own.
const TRIES: u32 = 4;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// A create that took longer has been repeated enough.
const PATIENCE: Duration = Duration::from_secs(20);

/// A prefix of a bucket.
pub struct ObjectCheckpoint {
    root: ObjectLocation,
}

impl ObjectCheckpoint {
    /// The checkpoint at a prefix. Nothing is sent yet.
    pub fn new(root: ObjectLocation) -> Self {
        Self { root }
    }

    fn at(&self, path: &str) -> Result<ObjectLocation> {
        check_name(path)?;
        self.root.join(path)
    }

    async fn read(&self, object: &ObjectLocation) -> object_store::Result<Option<Bytes>> {
        match object.store.get(&object.path).await {
            Ok(got) => got.bytes().await.map(Some),
            Err(Cause::NotFound { .. }) => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

#[async_trait]
impl CheckpointStore for ObjectCheckpoint {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Created> {
        let object = self.at(path)?;
        let began = Instant::now();
        let mut tries = 1;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let cause = match object.store.put_opts(&object.path, bytes.clone().into(), options).await {
                Ok(_) => return Ok(Created::New),
                Err(cause @ (Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. })) => {
                    return Err(failed("write", &object.url, cause));
                }
                // Taken; or, with no object to be found, another create of the name is under way.
                Err(cause) => cause,
            };
            match self.read(&object).await {
                Ok(Some(_)) => return Ok(Created::Exists),
                Ok(None) | Err(_) if tries < TRIES && began.elapsed() < PATIENCE => {
                    tracing::debug!(object = %object.url, %cause, "a create of unknown outcome is sent again");
                    tokio::time::sleep(PAUSE * 2_u32.pow(tries)).await;
                    tries += 1;
                }
                _ => return Err(failed("write", &object.url, cause)),
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let object = self.at(path)?;
        self.read(&object).await.map_err(|cause| failed("read", &object.url, cause))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let below = self.at(prefix.trim_end_matches('/'))?;
        let listed: Vec<_> = below
            .store
            .list(Some(&below.path))
            .try_collect()
            .await
            .map_err(|cause| failed("list", &below.url, cause))?;
        let name = |path: &Path| {
            let path: &str = path.as_ref();
            let name = path.strip_prefix(self.root.path.as_ref())?.trim_start_matches('/');
            Some(name.to_string())
        };
        let mut names: Vec<String> = listed.iter().filter_map(|found| name(&found.location)).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn delete(&self, paths: &[String]) -> Result<()> {
        // A bulk request may be half done, and commits must go oldest first, so that those left have no gap.
        let (ordered, rest): (Vec<&String>, _) = paths.iter().partition(|path| path.starts_with(layout::COMMITS));
        for path in ordered {
            let object = self.at(path)?;
            match object.store.delete(&object.path).await {
                Ok(()) | Err(Cause::NotFound { .. }) => {}
                Err(cause) => return Err(failed("remove", &object.url, cause)),
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        let rest = rest.into_iter().map(|path| Ok(self.at(path)?.path)).collect::<Result<Vec<_>>>()?;
        let rest = futures::stream::iter(rest.into_iter().map(Ok)).boxed();
        let mut gone = self.root.store.delete_stream(rest);
        while let Some(path) = gone.next().await {
            match path {
                Ok(_) | Err(Cause::NotFound { .. }) => {}
                Err(cause) => return Err(failed("remove from", &self.root.url, cause)),
            }
        }
        Ok(())
    }
}

fn failed(doing: &str, url: &str, cause: Cause) -> Error {
    let way_out = match cause {
        Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } => {
            "check fs.s3a.access.key and fs.s3a.secret.key (or the environment's AWS_*): a checkpoint is listed, read, written and \
             deleted from"
        }
        _ if cause.to_string().contains("NoSuchBucket") => {
            "make the bucket, or set checkpointLocation to one that exists"
        }
        _ => "check fs.s3a.endpoint and the store, then start the query again: it goes on where it stopped",
    };
    Error::caused_by(ErrorCode::CheckpointIo, format!("cannot {doing} {url}: {cause}; {way_out}"), cause)
}
