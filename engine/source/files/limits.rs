//! Which of the files that are there a batch takes, and in which order.
//!
//! Comes in: files, the limits of the user. Goes out: files in reading order, cut to a batch. Nothing fails.

use crate::source::Admission;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// A file as it was when it was discovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    /// `file:///directory/name`.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Modification time in milliseconds since the epoch.
    pub modified_ms: i64,
}

impl FileEntry {
    /// The last segment of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// What a batch may take, and in which order.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    /// `maxFilesPerTrigger`.
    pub files: Option<u64>,
    /// `maxBytesPerTrigger`.
    pub bytes: Option<u64>,
    /// Newest files first.
    pub latest_first: bool,
    /// How much older than the newest file read a file may be; None for any age.
    pub max_age_ms: Option<i64>,
}

impl Limits {
    /// How many of `files`, from the first, the next batch takes; at least one.
    pub fn admit(&self, files: &[FileEntry], admission: Admission) -> usize {
        if admission == Admission::Unlimited {
            return files.len();
        }
        let by_count = self.files.map_or(files.len(), |most| usize::try_from(most).unwrap_or(usize::MAX));
        let by_bytes = self.bytes.map_or(files.len(), |most| {
            let mut total = 0u64;
            let fitting = files.iter().take_while(|file| {
                total = total.saturating_add(file.size);
                total <= most
            });
            fitting.count().max(1)
        });
        by_count.min(by_bytes).min(files.len())
    }
}

/// Sorts by modification time, then path, and leaves out what is too old; also says how many that were.
pub(super) fn in_order(files: Vec<FileEntry>, limits: &Limits, newest_ms: Option<i64>) -> (Vec<FileEntry>, usize) {
    let found = files.len();
    let oldest = newest_ms.zip(limits.max_age_ms).map(|(newest, age)| newest.saturating_sub(age));
    let mut files: Vec<_> =
        files.into_iter().filter(|file| oldest.is_none_or(|oldest| file.modified_ms >= oldest)).collect();
    if limits.latest_first {
        files.sort_by(|a, b| (Reverse(a.modified_ms), &a.path).cmp(&(Reverse(b.modified_ms), &b.path)));
    } else {
        files.sort_by(|a, b| (a.modified_ms, &a.path).cmp(&(b.modified_ms, &b.path)));
    }
    let too_old = found - files.len();
    (files, too_old)
}
