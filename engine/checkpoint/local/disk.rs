//! The system calls that change a local checkpoint, one method each, so that tests can record their order and make any
//! of them fail.
//!
//! Comes in: open directories and plain names. Goes out: what the kernel says. No call follows a symbolic link.

use rustix::fs::{AtFlags, Mode, OFlags};
use std::fs::File;
use std::io::{Result, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Only the owner may read a checkpoint: offsets and state hold the user's data.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY_MODE: Mode = Mode::RWXU;

/// The kernel, by default.
pub(super) trait Disk: Send + Sync {
    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str) -> Result<()> {
        Ok(rustix::fs::mkdirat(parent, name, DIRECTORY_MODE)?)
    }

    fn create_file(&self, directory: BorrowedFd<'_>, name: &str) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(directory, name, flags, FILE_MODE)?.into())
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> Result<()> {
        file.write_all(bytes)
    }

    fn sync_file(&self, file: &File) -> Result<()> {
        file.sync_all()
    }

    /// Gives the file a second name, unless that name is taken.
    fn link(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> Result<()> {
        Ok(rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())?)
    }

    fn sync_dir(&self, directory: BorrowedFd<'_>) -> Result<()> {
        File::from(directory.as_fd().try_clone_to_owned()?).sync_all()
    }

    fn unlink(&self, directory: BorrowedFd<'_>, name: &str) -> Result<()> {
        Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?)
    }
}

/// The kernel itself.
pub(super) struct Kernel;

impl Disk for Kernel {}
