//! Files in an object store.
//!
//! Comes in: planned files. Goes out: objects that appear whole. Fails: IO and STORAGE_ACCESS_DENIED, naming the URL;
//! CHECKPOINT_CORRUPT where a staged upload is gone.
//!
//! **How it is exactly once.** A bucket has no rename, and no name that every reader passes over: whoever lists the prefix
//! sees all objects. What no reader can see is a multipart upload before its completion. So staging uploads the parts; the upload's id
//! and the tags of its parts go into the checkpoint's prepared record; publication completes the upload, which makes the object appear in
//! one step. The completion is as good as idempotent:
//! - killed before it: the next start completes the same upload, with what the record says;
//! - killed after it, or told nothing of its outcome: the object is there under its name, which holds the attempt and is used once, with
//!   the length that was staged;
//! - asked for twice, by two runs or by a repeated request: the first makes the object, the second finds no upload and then the object.
//!   An upload that was completed is used up, so a run that wakes up much later can bring nothing back.
//!
//! A run that another has taken over from publishes nothing, or the attempt that the other adopts: see the head of the checkpoint's
//! `open.rs`.
//!
//! **What it leaves.** An upload whose run is killed between staging and its prepared record is never completed. Nobody sees it, but the store keeps
//! (and bills) its parts: give the bucket a lifecycle rule that aborts incomplete uploads after some days. A rule that strikes between the
//! prepared record and the next start takes staged rows away, which is reported, never passed over.

use super::format::Format;
use super::{Part, Planned, Upload, corrupt, rows_of};
use crate::checkpoint::{FailPoints, fail};
use crate::error::{Error, ErrorCode, Result};
use crate::storage::ObjectLocation;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::Error as Cause;
use object_store::multipart::{MultipartStore, PartId};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a part; some stores want all but the last of one size, of at least 5 MiB.
const PART: usize = 8 << 20;
/// Files on their way at once.
const AT_ONCE: usize = 8;
/// How often an object is looked for whose upload is used up: the store may still be putting it together.
const LOOKS: u32 = 6;
/// The pause before the second look; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest key that S3 takes.
const LONGEST: usize = 1024;

/// A prefix of a bucket as one query writes it.
pub(super) struct Prefix {
    root: ObjectLocation,
    uploads: Arc<dyn MultipartStore>,
    format: Arc<Format>,
    schema: SchemaRef,
    fail: FailPoints,
}

/// Finds out whether the bucket is there and may be listed.
pub(super) async fn check(root: &ObjectLocation) -> Result<()> {
    match root.store.list(Some(&root.path)).next().await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(cause)) => Err(root.failure("list", cause)),
    }
}

impl Prefix {
    pub fn new(root: ObjectLocation, format: Arc<Format>, schema: SchemaRef, fail: FailPoints) -> Result<Self> {
        let uploads = root.multipart.clone().ok_or_else(|| {
            Error::new(
                ErrorCode::UnsupportedOperation,
                format!("the store of {} has no multipart uploads, which file sinks stage their rows in", root.url),
            )
        })?;
        Ok(Self { root, uploads, format, schema, fail })
    }

    /// Uploads the files, so that each needs only its completion.
    pub async fn stage(self: &Arc<Self>, planned: Vec<Planned>) -> Result<Vec<Part>> {
        let staged: Vec<Result<Option<Part>>> =
            futures::stream::iter(planned).map(|planned| self.upload(planned)).buffered(AT_ONCE).collect().await;
        if staged.iter().all(Result::is_ok) {
            return staged.into_iter().filter_map(Result::transpose).collect();
        }
        let mut failure = Error::internal("an upload failed without an error");
        for result in staged.into_iter().rev() {
            match result {
                Ok(Some(part)) => self.abort(&part).await,
                Ok(None) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn upload(self: &Arc<Self>, planned: Planned) -> Result<Option<Part>> {
        let object = self.root.join(&planned.name)?;
        if object.path.as_ref().len() > LONGEST {
            return Err(Error::new(
                ErrorCode::Io,
                format!(
                    "the key of {} is longer than {LONGEST} bytes; partition by a shorter column, such as a prefix or a hash of it",
                    object.url
                ),
            ));
        }
        let Planned { name, rows: batches } = planned;
        let (prefix, url, rows) = (self.clone(), object.url.clone(), rows_of(&batches));
        let encoded = tokio::task::spawn_blocking(move || {
            prefix.format.write(&prefix.schema, &batches, Vec::new()).map_err(|failure| failure.naming(&url))
        });
        let encoded =
            encoded.await.map_err(|cause| Error::internal(format!("encoding a file ended early: {cause}")))??;
        if encoded.is_empty() {
            return Ok(None);
        }
        let encoded = Bytes::from(encoded);
        let failed = |cause| object.failure("write", cause);
        let id = self.uploads.create_multipart(&object.path).await.map_err(failed)?;
        let mut part = Part { name, bytes: encoded.len() as u64, rows, sha256: String::new(), upload: None };
        let mut tags = Vec::new();
        for (index, start) in (0..encoded.len()).step_by(PART).enumerate() {
            let piece = encoded.slice(start..encoded.len().min(start + PART));
            match self.uploads.put_part(&object.path, &id, index, piece.into()).await {
                Ok(tag) => tags.push(tag.content_id),
                Err(cause) => {
                    part.upload = Some(Upload { id, parts: tags });
                    self.abort(&part).await;
                    return Err(failed(cause));
                }
            }
        }
        part.upload = Some(Upload { id, parts: tags });
        Ok(Some(part))
    }

    /// Gives up an upload of an attempt that failed. Where that fails too, the upload stays, unseen.
    async fn abort(&self, part: &Part) {
        let (Ok(object), Some(upload)) = (self.root.join(&part.name), &part.upload) else { return };
        if let Err(cause) = self.uploads.abort_multipart(&object.path, &upload.id).await {
            tracing::debug!(object = %object.url, %cause, "an upload could not be aborted");
        }
    }

    /// Makes every file of a batch appear; `look` first, as after a restart, where most may be there.
    pub async fn complete(&self, batch: u64, files: &[Part], look: bool) -> Result<()> {
        futures::stream::iter(files.to_vec())
            .map(|part| async move {
                self.complete_one(batch, &part, look).await?;
                self.fail.hit(fail::FILE_PUBLISHED)
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn complete_one(&self, batch: u64, part: &Part, look: bool) -> Result<()> {
        let object = self.root.join(&part.name)?;
        let Some(upload) = &part.upload else {
            return Err(corrupt(&object.url, format!("the record of batch {batch} names no upload")));
        };
        if look && self.is_there(&object, part).await? {
            return Ok(());
        }
        let tags = upload.parts.iter().map(|tag| PartId { content_id: tag.clone() }).collect();
        let Err(cause) = self.uploads.complete_multipart(&object.path, &upload.id, tags).await else { return Ok(()) };
        // Done by an earlier try, or by another run that had the same record, perhaps at this moment.
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(PAUSE * 2_u32.pow(look - 1)).await;
            }
            if self.is_there(&object, part).await? {
                return Ok(());
            }
        }
        Err(match cause {
            Cause::NotFound { .. } => corrupt(
                &object.url,
                format!(
                    "the upload that holds the {} rows of this file of batch {batch} is gone and the object is not there; a lifecycle rule \
                     may have aborted it (give it more days than a query may stand still); start with a new checkpoint",
                    part.rows
                ),
            ),
            cause => object.failure("publish", cause),
        })
    }

    /// Whether the object is there, as it was staged.
    async fn is_there(&self, object: &ObjectLocation, part: &Part) -> Result<bool> {
        match object.head().await? {
            None => Ok(false),
            Some(found) if found.size == part.bytes => Ok(true),
            Some(found) => Err(corrupt(
                &object.url,
                format!(
                    "is not the file that was staged ({} bytes, {} expected); restore it, or start with a new checkpoint",
                    found.size, part.bytes
                ),
            )),
        }
    }
}
