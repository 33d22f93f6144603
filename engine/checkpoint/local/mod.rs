//! Checkpoints in a directory of a local file system.
//!
//! Comes in: names and bytes. Goes out: files that are complete and durable, or not there. Fails: CHECKPOINT_IO with the
//! file and what the kernel said; CHECKPOINT_CORRUPT where something else than a file or directory stands in the way.
//!
//! A create writes a temporary file in the object's own directory, syncs it, links it to its name, which fails if the name
//! is taken, syncs the directory, and unlinks the temporary name. That is **two fsyncs per object**, plus one for the
//! parent when an object is the first in a new directory. A delete syncs each directory once per call. A start syncs
//! every directory once.
//!
//! All paths are walked from an open root directory, part by part, without following symbolic links. Blocking calls run
//! on tokio's blocking threads.

mod disk;

use super::envelope::corrupt;
use super::fail::{self, FailPoints};
use super::layout;
use super::store::{CheckpointStore, Created, check_name};
use crate::error::{Error, ErrorCode, Result};
use async_trait::async_trait;
use bytes::Bytes;
use disk::{Disk, Kernel};
use parking_lot::Mutex;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Temporary files begin with this, which no object's name can.
const TEMPORARY: &str = ".tidemill-tmp-";

/// A checkpoint directory.
#[derive(Clone)]
pub struct LocalStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    root: OwnedFd,
    /// Directories whose own entry in their parent is known to be durable.
    durable: Mutex<HashSet<String>>,
    fail: FailPoints,
    disk: Box<dyn Disk>,
}

/// Holds the checkpoint against other processes until it is dropped.
#[derive(Debug)]
pub struct LocalLock {
    _file: OwnedFd,
}

impl LocalStore {
    /// Opens the directory, and makes it (with its parents) where there is none.
    ///
    /// # Errors
    /// CHECKPOINT_IO where the directory cannot be made or is not a directory.
    pub fn open(path: &Path, fail: FailPoints) -> Result<Self> {
        Self::open_on(path, fail, Box::new(Kernel))
    }

    fn open_on(path: &Path, fail: FailPoints, disk: Box<dyn Disk>) -> Result<Self> {
        let unusable = |e: io::Error| {
            let why = match e.kind() {
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "it is not a directory".to_string(),
                _ => e.to_string(),
            };
            let message = format!(
                "the checkpoint directory {} cannot be used: {why}; set checkpointLocation to a directory that this \
                 user can write",
                path.display()
            );
            Error::caused_by(ErrorCode::CheckpointIo, message, e)
        };
        make_root(path).map_err(unusable)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| unusable(e.into()))?;
        Ok(Self { shared: Arc::new(Shared { path: path.to_path_buf(), root, durable: Mutex::default(), fail, disk }) })
    }

    /// Takes the lock on an existing object, or says None where another holder has it. A file system without locks gives
    /// no early warning; the epochs in the checkpoint still keep it safe.
    ///
    /// # Errors
    /// CHECKPOINT_IO where the object cannot be opened.
    pub fn try_lock(&self, path: &str) -> Result<Option<LocalLock>> {
        let file = self.shared.open_file(path).map_err(|e| self.shared.error("open", path, e))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(LocalLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::BADF) => {
                tracing::warn!(checkpoint = %self.shared.path.display(), "the file system has no locks");
                Ok(Some(LocalLock { _file: file }))
            }
            Err(e) => Err(self.shared.error("lock", path, e.into())),
        }
    }

    /// Removes the temporary files of processes that died, and syncs every directory: a process may have been killed
    /// between a link and its sync, and what this run is about to read must not vanish later. Only for the holder of the
    /// lock.
    ///
    /// # Errors
    /// CHECKPOINT_IO.
    pub async fn sweep(&self) -> Result<()> {
        self.blocking(|shared| {
            shared.sweep("", false)?;
            layout::DIRECTORIES.iter().try_for_each(|directory| shared.sweep(directory, true))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> Result<T> + Send + 'static) -> Result<T> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(e) => Err(Error::caused_by(ErrorCode::Internal, format!("a checkpoint task did not finish: {e}"), e)),
        }
    }
}

#[async_trait]
impl CheckpointStore for LocalStore {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Created> {
        check_name(path)?;
        let path = path.to_string();
        self.blocking(move |shared| shared.create(&path, &bytes)).await
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        check_name(path)?;
        let path = path.to_string();
        self.blocking(move |shared| shared.get(&path)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let directory = prefix.trim_end_matches('/').to_string();
        check_name(&directory)?;
        self.blocking(move |shared| {
            let mut names = Vec::new();
            shared.list(&directory, &mut names)?;
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    async fn delete(&self, paths: &[String]) -> Result<()> {
        for path in paths {
            check_name(path)?;
        }
        let paths = paths.to_vec();
        self.blocking(move |shared| shared.delete(&paths)).await
    }
}

impl Shared {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        let (parent, name) = split(path);
        let directory = self.make_parents(parent).map_err(|e| self.error("make", parent, e))?;
        let directory = directory.as_fd();
        let temporary = format!("{TEMPORARY}{}", Uuid::new_v4());
        let write = || -> io::Result<()> {
            let mut file = self.disk.create_file(directory, &temporary)?;
            self.disk.write(&mut file, bytes)?;
            self.hit(fail::STORE_AFTER_WRITE)?;
            self.disk.sync_file(&file)?;
            self.hit(fail::STORE_AFTER_SYNC)
        };
        let link = || match self.disk.link(directory, &temporary, name) {
            Ok(()) => {
                self.hit(fail::STORE_AFTER_LINK)?;
                self.disk.sync_dir(directory)?;
                Ok(Created::New)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // Whoever was first may not have synced the directory yet, and our caller may rely on the object.
                self.disk.sync_dir(directory)?;
                Ok(Created::Exists)
            }
            // The holder of the lock has swept the temporary file of a second start: whose object is it?
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.open_file(path).is_ok() => Ok(Created::Exists),
            // What Linux says where the file system has no hard links.
            Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, e))
            }
            Err(e) => Err(e),
        };
        let created = write().and_then(|()| link());
        // Whatever happened, the temporary name has served. If this fails, the next start sweeps it.
        if let Err(e) = self.disk.unlink(directory, &temporary).or_else(missing_is_fine) {
            tracing::warn!(checkpoint = %self.path.display(), "cannot remove {parent}/{temporary}: {e}");
        }
        created.map_err(|e| self.error("write", path, e))
    }

    fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let file = match self.open_file(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.error("read", path, e)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| self.error("read", path, e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(corrupt(&self.name(path), "not a regular file"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0));
        File::from(file).read_to_end(&mut bytes).map_err(|e| self.error("read", path, e))?;
        Ok(Some(bytes.into()))
    }

    fn delete(&self, paths: &[String]) -> Result<()> {
        // Grouped by directory, in the order given within each.
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for path in paths {
            let (parent, name) = split(path);
            groups.entry(parent).or_default().push(name);
        }
        for (parent, names) in groups {
            let directory = match self.open_dir(parent) {
                Ok(directory) => directory,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(self.error("open", parent, e)),
            };
            for name in names {
                let gone = self.disk.unlink(directory.as_fd(), name).or_else(missing_is_fine);
                gone.map_err(|e| self.error("remove", &format!("{parent}/{name}"), e))?;
            }
            self.disk.sync_dir(directory.as_fd()).map_err(|e| self.error("sync", parent, e))?;
        }
        Ok(())
    }

    /// Adds the names of all objects below a directory.
    fn list(&self, directory: &str, names: &mut Vec<String>) -> Result<()> {
        for (path, kind) in self.entries(directory)?.into_iter().flat_map(|(_, entries)| entries) {
            match kind {
                FileType::Directory => self.list(&path, names)?,
                _ if split(&path).1.starts_with('.') => {}
                _ => names.push(path),
            }
        }
        Ok(())
    }

    fn sweep(&self, path: &str, recurse: bool) -> Result<()> {
        let Some((directory, entries)) = self.entries(path)? else { return Ok(()) };
        for (path, kind) in entries {
            let name = split(&path).1;
            if kind == FileType::Directory {
                if recurse {
                    self.sweep(&path, true)?;
                }
            } else if name.starts_with(TEMPORARY) {
                let gone = self.disk.unlink(directory.as_fd(), name).or_else(missing_is_fine);
                gone.map_err(|e| self.error("remove", &path, e))?;
            }
        }
        self.disk.sync_dir(directory.as_fd()).map_err(|e| self.error("sync", path, e))?;
        // The parents were synced before, or are after this, and nothing is written in between.
        self.durable.lock().insert(path.to_string());
        Ok(())
    }

    /// A directory, with path and kind of everything in it; None where it does not exist.
    #[allow(clippy::type_complexity)]
    fn entries(&self, path: &str) -> Result<Option<(OwnedFd, Vec<(String, FileType)>)>> {
        let failed = |e: io::Error| self.error("list", path, e);
        let directory = match self.open_dir(path) {
            Ok(directory) => directory,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory).map_err(|e| failed(e.into()))? {
            let entry = entry.map_err(|e| failed(e.into()))?;
            // A name that is not UTF-8 is not ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind_of(&directory, name).map_err(failed)?,
                known => known,
            };
            let path = if path.is_empty() { name.to_string() } else { format!("{path}/{name}") };
            entries.push((path, kind));
        }
        Ok(Some((directory, entries)))
    }

    /// For file systems that do not say in a listing what an entry is.
    fn kind_of(&self, directory: &OwnedFd, name: &str) -> io::Result<FileType> {
        match rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
            // Removed since it was listed: a file that a reader will find missing.
            Err(Errno::NOENT) => Ok(FileType::RegularFile),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens an existing directory below the root.
    fn open_dir(&self, path: &str) -> io::Result<OwnedFd> {
        let mut directory = self.root.try_clone()?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            directory = open_part(&directory, part)?;
        }
        Ok(directory)
    }

    /// Opens a directory below the root, makes what is missing, and sees to it that every step on the way is durable.
    fn make_parents(&self, path: &str) -> io::Result<OwnedFd> {
        let mut directory = self.root.try_clone()?;
        let mut walked = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            walked.push_str(part);
            let durable = self.durable.lock().contains(&walked);
            let child = match open_part(&directory, part) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => match self.disk.make_dir(directory.as_fd(), part) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => open_part(&directory, part)?,
                },
                other => other?,
            };
            if !durable {
                self.disk.sync_dir(directory.as_fd())?;
                self.durable.lock().insert(walked.clone());
            }
            walked.push('/');
            directory = child;
        }
        Ok(directory)
    }

    fn open_file(&self, path: &str) -> io::Result<OwnedFd> {
        let (parent, name) = split(path);
        // Without NONBLOCK a FIFO of that name would hang the query.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self.open_dir(parent)?, name, flags, Mode::empty())?)
    }

    fn hit(&self, point: &'static str) -> io::Result<()> {
        self.fail.hit(point).map_err(io::Error::other)
    }

    fn name(&self, path: &str) -> String {
        self.path.join(path).display().to_string()
    }

    fn error(&self, action: &str, path: &str, e: io::Error) -> Error {
        let name = self.name(path);
        // What NOFOLLOW says about a symbolic link, and a file where a directory belongs.
        if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) || e.kind() == io::ErrorKind::NotADirectory {
            return corrupt(&name, "a symbolic link or a file stands where the checkpoint has a file or directory");
        }
        let hint = match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; set checkpointLocation to a directory that this user can write"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space and start the query again",
            io::ErrorKind::Unsupported => "; checkpoints need a file system with hard links",
            _ => "",
        };
        Error::caused_by(ErrorCode::CheckpointIo, format!("cannot {action} {name}: {e}{hint}"), e)
    }
}

/// Opens one directory level. NOFOLLOW with DIRECTORY refuses a symbolic link, as not being a directory.
fn open_part(parent: &OwnedFd, part: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, part, flags, Mode::empty())?)
}

/// Makes the root and its parents, and makes the new ones durable.
fn make_root(path: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(path)?;
    if absolute.is_dir() {
        // A crash may have come between its creation and its sync. Where the parent cannot be opened, it is not ours.
        if let Some(parent) = absolute.parent().and_then(|parent| File::open(parent).ok()) {
            parent.sync_all()?;
        }
        return Ok(());
    }
    let new: Vec<&Path> = absolute.ancestors().take_while(|p| !p.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&absolute)?;
    for parent in new.iter().rev().filter_map(|p| p.parent()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn missing_is_fine(e: io::Error) -> io::Result<()> {
    if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

/// Directory and name; the directory is empty at the top.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
