//! Opening a checkpoint: its identity, its one holder, and the fence against earlier holders.
//!
//! Comes in: a location and a run id. Goes out: a [`Checkpoint`] whose epoch is higher than any before. Fails:
//! CHECKPOINT_IO before anything is written where the location cannot be used; CHECKPOINT_FENCED at once where another
//! process of this machine holds it.
//!
//! **Two runs at once.** A lock keeps them apart on one machine, and nothing does in an object store. There the epochs do: a run
//! creates its prepared record, looks for a higher epoch, and publishes only if there is none. If it finds none, whoever claims
//! the next epoch does so later and reads that record, and so completes the same attempt instead of running another. If it
//! finds one, it stops with nothing visible; the record that it leaves is older than any of the newer run's, and recovery
//! takes the newest first.

use super::envelope::{self, corrupt};
use super::fail::{self, FailPoints};
use super::gc::Collector;
use super::layout;
use super::local::{LocalLock, LocalStore};
use super::object::ObjectCheckpoint;
use super::store::{CheckpointStore, Created};
use crate::error::{Error, ErrorCode, Result};
use crate::storage::Location;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// The checkpoint of one query, held by one run of it. Dropping it lets the next run in.
pub struct Checkpoint {
    pub(super) inner: Arc<Inner>,
    _lock: Option<LocalLock>,
}

pub(super) struct Inner {
    pub store: Arc<dyn CheckpointStore>,
    /// For messages.
    pub location: String,
    pub query_id: Uuid,
    pub run_id: Uuid,
    pub epoch: u64,
    pub fail: FailPoints,
    /// Batch, attempt and hash of the prepared record written last, which is the one to be committed.
    pub prepared: Mutex<Option<(u64, Uuid, String)>>,
    /// The batch that this run committed last.
    pub committed: Mutex<Option<u64>>,
    pub collector: tokio::sync::Mutex<Collector>,
}

/// `FORMAT`: whose checkpoint this is.
#[derive(Debug, Serialize, Deserialize)]
struct FormatEntry {
    engine: String,
    query_id: Uuid,
    created: String,
}

/// `epochs/N`: who started the query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochEntry {
    pub epoch: u64,
    pub run_id: Uuid,
    pub host: String,
    pub pid: u32,
    pub started: String,
}

impl Checkpoint {
    /// Opens the checkpoint at a location, and makes it where there is none. On this machine, a checkpoint that another
    /// process holds is refused; in an object store there is no lock, and the newer run fences the older.
    ///
    /// # Errors
    /// CHECKPOINT_IO where the directory or the store cannot be used; CHECKPOINT_FENCED where another query holds it;
    /// CHECKPOINT_VERSION and CHECKPOINT_CORRUPT for what is there.
    pub async fn open(location: &Location, run_id: Uuid, fail: FailPoints) -> Result<Self> {
        let path = match location {
            Location::Local(path) => path.clone(),
            Location::Object(object) => {
                let (store, url) = (Arc::new(ObjectCheckpoint::new(object.clone())), object.url.clone());
                let identity = identify(store.as_ref(), &url).await?;
                return Self::open_on(store, None, url, identity, run_id, fail).await;
            }
        };
        let opened = path.clone();
        let points = fail.clone();
        let store = tokio::task::spawn_blocking(move || LocalStore::open(&opened, points)).await.map_err(|e| {
            Error::caused_by(ErrorCode::Internal, format!("opening a checkpoint did not finish: {e}"), e)
        })??;
        Self::open_local(store, path.display().to_string(), run_id, fail).await
    }

    pub(super) async fn open_local(
        store: LocalStore,
        location: String,
        run_id: Uuid,
        fail: FailPoints,
    ) -> Result<Self> {
        let (query_id, format) = identify(&store, &location).await?;
        let Some(lock) = store.try_lock(layout::FORMAT)? else {
            return Err(fenced(&store, &location, highest_epoch(&store).await?).await);
        };
        store.sweep().await?;
        Self::open_on(Arc::new(store), Some(lock), location, (query_id, format), run_id, fail).await
    }

    pub(super) async fn open_on(
        store: Arc<dyn CheckpointStore>,
        lock: Option<LocalLock>,
        location: String,
        (query_id, format): (Uuid, Bytes),
        run_id: Uuid,
        fail: FailPoints,
    ) -> Result<Self> {
        probe(store.as_ref(), &location, format).await?;
        let epoch = claim(store.as_ref(), run_id).await.map_err(|e| place(&location, e))?;
        fail.hit(fail::AFTER_CLAIM)?;
        let inner = Inner {
            store,
            location,
            query_id,
            run_id,
            epoch,
            fail,
            prepared: Mutex::new(None),
            committed: Mutex::new(None),
            collector: tokio::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), _lock: lock })
    }

    /// The query's id: the same for every run on this checkpoint.
    pub fn query_id(&self) -> Uuid {
        self.inner.query_id
    }

    /// This run's epoch, greater than every earlier run's.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }
}

impl Inner {
    /// Stops a run that another has taken over from.
    pub async fn check_epoch(&self) -> Result<()> {
        match highest_epoch(self.store.as_ref()).await? {
            Some(newer) if newer > self.epoch => Err(self.fenced_by(newer).await),
            _ => Ok(()),
        }
    }

    pub async fn fenced_by(&self, epoch: u64) -> Error {
        fenced(self.store.as_ref(), &self.location, Some(epoch)).await
    }

    /// Creates an object; where the name is taken and the content is another's, gives that.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<Option<Bytes>> {
        match self.store.create(path, bytes.clone()).await? {
            Created::New => Ok(None),
            // An earlier try of this very call may have succeeded without our knowing.
            Created::Exists => match self.store.get(path).await? {
                Some(found) if found == bytes => Ok(None),
                Some(found) => Ok(Some(found)),
                None => Err(place(&self.location, corrupt(path, "exists and cannot be found"))),
            },
        }
    }

    /// Reads and verifies a record, with its bytes.
    pub async fn read<T: DeserializeOwned>(&self, path: &str, kind: &str) -> Result<Option<(T, Bytes)>> {
        let Some(bytes) = self.store.get(path).await? else { return Ok(None) };
        let record = self.decode(path, kind, &bytes)?;
        Ok(Some((record, bytes)))
    }

    /// Reads and verifies a record that must be there.
    pub async fn require<T: DeserializeOwned>(&self, path: &str, kind: &str) -> Result<(T, Bytes)> {
        let found = self.read(path, kind).await?;
        found.ok_or_else(|| self.corrupt(path, "missing"))
    }

    pub fn decode<T: DeserializeOwned>(&self, path: &str, kind: &str, bytes: &[u8]) -> Result<T> {
        envelope::decode(path, kind, bytes).map_err(|e| place(&self.location, e))
    }

    pub fn corrupt(&self, path: &str, what: impl std::fmt::Display) -> Error {
        place(&self.location, corrupt(path, what))
    }
}

/// Says in which checkpoint a record's error is.
pub(super) fn place(location: &str, error: Error) -> Error {
    match error.code() {
        ErrorCode::CheckpointCorrupt | ErrorCode::CheckpointVersion => error.within(format!("checkpoint {location}")),
        _ => error,
    }
}

/// The query id, and the bytes of `FORMAT`, which is made where the checkpoint is new.
pub(super) async fn identify(store: &dyn CheckpointStore, location: &str) -> Result<(Uuid, Bytes)> {
    let decode = |bytes: Bytes| -> Result<(Uuid, Bytes)> {
        let entry: FormatEntry =
            envelope::decode(layout::FORMAT, "checkpoint", &bytes).map_err(|e| place(location, e))?;
        Ok((entry.query_id, bytes))
    };
    if let Some(bytes) = store.get(layout::FORMAT).await? {
        return decode(bytes);
    }
    for log in [layout::OFFSETS, layout::COMMITS] {
        if let Some(found) = store.list(log).await?.first() {
            let what = format!("missing, although {found} exists (a checkpoint of another engine cannot be used)");
            return Err(place(location, corrupt(layout::FORMAT, what)));
        }
    }
    let entry = FormatEntry {
        engine: concat!("tidemill ", env!("CARGO_PKG_VERSION")).to_string(),
        query_id: Uuid::new_v4(),
        created: chrono::Utc::now().to_rfc3339(),
    };
    let bytes = envelope::encode("checkpoint", &entry)?;
    match store.create(layout::FORMAT, bytes.clone()).await? {
        Created::New => Ok((entry.query_id, bytes)),
        Created::Exists => match store.get(layout::FORMAT).await? {
            Some(found) => decode(found),
            None => Err(place(location, corrupt(layout::FORMAT, "exists and cannot be found"))),
        },
    }
}

/// Makes sure that the store can create an object once. The object is `FORMAT`, created again with the bytes it has, so
/// that nothing changes even on a store that overwrites.
async fn probe(store: &dyn CheckpointStore, location: &str, format: Bytes) -> Result<()> {
    match store.create(layout::FORMAT, format).await? {
        Created::Exists => Ok(()),
        Created::New => Err(Error::new(
            ErrorCode::CheckpointIo,
            format!(
                "{location} lets an existing file be created again, so two runs of a query could overwrite each other's \
                 commits; use a file system, or an object store that answers PUT with If-None-Match (Amazon S3, MinIO, Ceph and R2 of \
                 2024 and later do), or a checkpointLocation on a local disk"
            ),
        )),
    }
}

async fn claim(store: &dyn CheckpointStore, run_id: Uuid) -> Result<u64> {
    loop {
        let epoch = match highest_epoch(store).await? {
            None => 0,
            Some(last) => last.checked_add(1).ok_or_else(|| corrupt(&layout::epoch(last), "no epoch can follow it"))?,
        };
        let entry = EpochEntry {
            epoch,
            run_id,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            started: chrono::Utc::now().to_rfc3339(),
        };
        let path = layout::epoch(epoch);
        let bytes = envelope::encode("epoch", &entry)?;
        let ours = match store.create(&path, bytes.clone()).await? {
            Created::New => true,
            Created::Exists => store.get(&path).await?.is_some_and(|found| found == bytes),
        };
        if ours {
            return Ok(epoch);
        }
    }
}

async fn highest_epoch(store: &dyn CheckpointStore) -> Result<Option<u64>> {
    let names = store.list(layout::EPOCHS).await?;
    Ok(names.iter().rev().find_map(|name| layout::parse_numbered(layout::EPOCHS, name)))
}

/// CHECKPOINT_FENCED, with whatever is known about the holder of `epoch`.
async fn fenced(store: &dyn CheckpointStore, location: &str, epoch: Option<u64>) -> Error {
    let mut holder = "another query that is just starting".to_string();
    if let Some(epoch) = epoch {
        let path = layout::epoch(epoch);
        let entry = match store.get(&path).await {
            Ok(Some(bytes)) => envelope::decode::<EpochEntry>(&path, "epoch", &bytes).ok(),
            _ => None,
        };
        holder = match entry {
            Some(e) => format!("run {} (pid {} on {}, epoch {epoch}, since {})", e.run_id, e.pid, e.host, e.started),
            None => format!("the run of epoch {epoch}"),
        };
    }
    Error::new(
        ErrorCode::CheckpointFenced,
        format!(
            "the checkpoint {location} is held by {holder}; stop that query, or give this one its own checkpointLocation"
        ),
    )
}
