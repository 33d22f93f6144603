//! Where files lie: a directory of this machine, or a prefix of an object store.
//!
//! Comes in: the text of a path and the session's configuration. Goes out: a [`Location`]; an [`ObjectLocation`] lists, reads and writes
//! without anybody knowing which store it is. Fails: schemes that nothing answers to, `s3://` in a build without it, and what the
//! store says, always with the URL and the way out. Retries are the store's own.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::options::{file_uri, local_path};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "s3")]
mod s3;
#[cfg(test)]
mod tests;

/// A place for files.
#[derive(Debug, Clone)]
pub enum Location {
    /// On this machine: written with fsync and rename.
    Local(PathBuf),
    /// In an object store: written whole, seen at once.
    Object(ObjectLocation),
}

/// An object, or a prefix of objects, and the store that holds it; cheap to clone.
#[derive(Clone)]
pub struct ObjectLocation {
    /// The store; several locations of one bucket share it.
    pub store: Arc<dyn ObjectStore>,
    /// The same store for uploads that outlive the process that began them; None where it has none.
    pub multipart: Option<Arc<dyn MultipartStore>>,
    /// The key, or the prefix, without slashes at its ends.
    pub path: Path,
    /// The same for people: `s3a://bucket/prefix`.
    pub url: String,
}

/// What the entries of one level of an object store are.
#[derive(Debug, Clone, Default)]
pub struct Level {
    /// Objects, in the order of their keys.
    pub objects: Vec<ObjectMeta>,
    /// Prefixes that have objects below them, in order.
    pub prefixes: Vec<Path>,
}

impl Location {
    /// The location that a path names: a plain path or `file:` is local, `s3://` and `s3a://` are objects, with Spark's settings
    /// `fs.s3a.access.key`, `fs.s3a.secret.key`, `fs.s3a.endpoint` and so on, with or without `spark.hadoop.`, and after them the
    /// environment's `AWS_*`. Nothing is connected.
    ///
    /// ```
    /// use tidemill::config::Config;
    /// use tidemill::storage::Location;
    /// let location = Location::parse("file:///data/rides", &Config::default())?;
    /// assert_eq!(location.url(), "file:/data/rides");
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorCode::UnsupportedOperation`] for another scheme, [`ErrorCode::S3NotEnabled`] for S3 in a build without the feature `s3`,
    /// [`ErrorCode::InvalidOption`] for a URL without a bucket and for settings that S3 cannot use.
    pub fn parse(text: &str, config: &Config) -> Result<Self> {
        match object_url(text) {
            Some((scheme, rest)) => object(text, scheme, rest, config).map(Self::Object),
            None => local_path(text).map(Self::Local),
        }
    }

    /// The location for people: `file:/data/rides`, `s3a://bucket/rides`.
    pub fn url(&self) -> String {
        match self {
            Self::Local(path) => file_uri(path),
            Self::Object(object) => object.url.clone(),
        }
    }

    /// The location below this one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for a name that is no key.
    pub fn join(&self, name: &str) -> Result<Self> {
        Ok(match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Object(object) => Self::Object(object.join(name)?),
        })
    }
}

/// Scheme and rest of an S3 URL.
fn object_url(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    ["s3", "s3a"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some((scheme, rest))
}

fn object(text: &str, scheme: &str, rest: &str, config: &Config) -> Result<ObjectLocation> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?']) {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            format!(
                "'{}' names no bucket; write s3a://bucket/path, and give keys in fs.s3a.access.key",
                without_user(text)
            ),
        ));
    }
    let path = key_path(text, key)?;
    let root = format!("{}://{bucket}", scheme.to_ascii_lowercase());
    let (store, multipart) = open(text, bucket, config)?;
    Ok(ObjectLocation { store, multipart: Some(multipart), url: join_url(&root, &path), path })
}

/// The URL without what may be a password.
fn without_user(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        _ => text.to_string(),
    }
}

/// One store in both its roles.
type Opened = (Arc<dyn ObjectStore>, Arc<dyn MultipartStore>);

#[cfg(feature = "s3")]
fn open(text: &str, bucket: &str, config: &Config) -> Result<Opened> {
    s3::open(text, bucket, config)
}

#[cfg(not(feature = "s3"))]
fn open(text: &str, _: &str, _: &Config) -> Result<Opened> {
    Err(Error::new(
        ErrorCode::S3NotEnabled,
        format!("'{text}' is on S3, which this build leaves out; build tidemill with the feature \"s3\""),
    ))
}

/// A key as users write it: doubled slashes count once.
fn key_path(text: &str, key: &str) -> Result<Path> {
    let segments: Vec<&str> = key.split('/').filter(|segment| !segment.is_empty()).collect();
    Path::parse(segments.join("/"))
        .map_err(|cause| Error::caused_by(ErrorCode::InvalidOption, format!("'{text}' is not a path: {cause}"), cause))
}

fn join_url(root: &str, path: &Path) -> String {
    if path.as_ref().is_empty() { root.to_string() } else { format!("{root}/{path}") }
}

/// The URL alone: a store's settings hold keys.
impl fmt::Debug for ObjectLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectLocation").field(&self.url).finish()
    }
}

impl ObjectLocation {
    /// A location of a store that is open already. `root` is the URL of the store's top: `s3a://bucket`.
    pub fn new(store: Arc<dyn ObjectStore>, root: &str, path: Path) -> Self {
        let url = join_url(root.trim_end_matches('/'), &path);
        Self { store, multipart: None, path, url }
    }

    /// The same location, with the store's uploads.
    pub fn with_multipart(self, multipart: Arc<dyn MultipartStore>) -> Self {
        Self { multipart: Some(multipart), ..self }
    }

    /// Another location of the same store.
    pub fn at(&self, path: Path) -> Self {
        let url = self.url_of(&path);
        Self { store: self.store.clone(), multipart: self.multipart.clone(), path, url }
    }

    /// The location below this one: `name` may have slashes.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for a name with `.` or `..` in it, or control characters.
    pub fn join(&self, name: &str) -> Result<Self> {
        let path = key_path(name, &format!("{}/{name}", self.path))?;
        Ok(self.at(path))
    }

    /// The URL of another path of the same store.
    pub fn url_of(&self, path: &Path) -> String {
        let root = self.url.strip_suffix(self.path.as_ref()).unwrap_or(&self.url);
        join_url(root.trim_end_matches('/'), path)
    }

    /// What this location's last segment is.
    pub fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// Every object below this prefix, in the order of their keys.
    ///
    /// # Errors
    /// As all methods here: [`ErrorCode::StorageAccessDenied`], [`ErrorCode::PathNotFound`] for what is not there, else [`ErrorCode::Io`].
    pub async fn list(&self) -> Result<Vec<ObjectMeta>> {
        let mut objects: Vec<ObjectMeta> =
            self.store.list(Some(&self.path)).try_collect().await.map_err(|cause| self.failure("list", cause))?;
        objects.sort_by(|a, b| a.location.as_ref().cmp(b.location.as_ref()));
        Ok(objects)
    }

    /// Every object below this prefix whose key comes after `offset`, in order.
    pub async fn list_after(&self, offset: &Path) -> Result<Vec<ObjectMeta>> {
        let listed = self.store.list_with_offset(Some(&self.path), offset);
        let mut objects: Vec<ObjectMeta> = listed.try_collect().await.map_err(|cause| self.failure("list", cause))?;
        objects.sort_by(|a, b| a.location.as_ref().cmp(b.location.as_ref()));
        Ok(objects)
    }

    /// The objects and prefixes directly below this prefix.
    pub async fn level(&self) -> Result<Level> {
        let listed =
            self.store.list_with_delimiter(Some(&self.path)).await.map_err(|cause| self.failure("list", cause))?;
        let mut level = Level { objects: listed.objects, prefixes: listed.common_prefixes };
        level.objects.sort_by(|a, b| a.location.as_ref().cmp(b.location.as_ref()));
        level.prefixes.sort();
        Ok(level)
    }

    /// Size and time of the object; None when there is none.
    pub async fn head(&self) -> Result<Option<ObjectMeta>> {
        self.found(self.store.head(&self.path).await)
    }

    /// The whole object.
    pub async fn get(&self) -> Result<Bytes> {
        let got = self.store.get(&self.path).await.map_err(|cause| self.failure("read", cause))?;
        got.bytes().await.map_err(|cause| self.failure("read", cause))
    }

    /// The whole object; None when there is none.
    pub async fn get_if_exists(&self) -> Result<Option<Bytes>> {
        match self.found(self.store.get(&self.path).await)? {
            Some(got) => got.bytes().await.map(Some).map_err(|cause| self.failure("read", cause)),
            None => Ok(None),
        }
    }

    /// Some bytes of the object.
    pub async fn get_range(&self, range: Range<u64>) -> Result<Bytes> {
        self.store.get_range(&self.path, range).await.map_err(|cause| self.failure("read", cause))
    }

    /// Writes the object, over one that is there.
    pub async fn put(&self, bytes: Bytes) -> Result<()> {
        self.store.put(&self.path, bytes.into()).await.map(drop).map_err(|cause| self.failure("write", cause))
    }

    /// Writes the object if there is none, in one step that no other writer can come between; false when there is one.
    pub async fn create(&self, bytes: Bytes) -> Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&self.path, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(cause) => Err(self.failure("write", cause)),
        }
    }

    /// Removes the object; one that is not there is removed already.
    pub async fn delete(&self) -> Result<()> {
        self.found(self.store.delete(&self.path).await).map(drop)
    }

    /// Copies the object to another place of the same store.
    pub async fn copy(&self, to: &Path) -> Result<()> {
        self.store.copy(&self.path, to).await.map_err(|cause| self.failure("copy", cause))
    }

    fn found<T>(&self, result: object_store::Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(self.failure("reach", cause)),
        }
    }

    /// The error for what the store said when something was to be done here.
    pub fn failure(&self, doing: &str, cause: object_store::Error) -> Error {
        failure(&self.url, doing, cause)
    }
}

/// The error for what a store said when something was to be done with `url`.
pub(crate) fn failure(url: &str, doing: &str, cause: object_store::Error) -> Error {
    use object_store::Error as Cause;
    // What a listing fails with has a status in its text only.
    let says = |words: &str| matches!(&cause, Cause::Generic { .. }) && cause.to_string().contains(words);
    let (denied, no_bucket) = (says("403 Forbidden"), says("<Code>NoSuchBucket</Code>"));
    match &cause {
        _ if no_bucket => Error::caused_by(
            ErrorCode::PathNotFound,
            format!("the bucket of {url} does not exist; make it, or name another"),
            cause,
        ),
        Cause::NotFound { .. } => {
            Error::caused_by(ErrorCode::PathNotFound, format!("Path does not exist: {url}"), cause)
        }
        kind if denied || matches!(kind, Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. }) => {
            Error::caused_by(
                ErrorCode::StorageAccessDenied,
                format!(
                    "cannot {doing} {url}: {cause}; check fs.s3a.access.key and fs.s3a.secret.key (or the environment's AWS_*), and what \
                 the bucket allows them"
                ),
                cause,
            )
        }
        _ => Error::caused_by(ErrorCode::Io, format!("cannot {doing} {url}: {cause}"), cause),
    }
}
