//! Which files there are.
//!
//! Comes in: paths, which may be patterns, local or in an object store. Goes out: their files, with what their directories say. Names
//! that start with `_` or `.` are hidden. Directories below a path are read only when they are named `column=value`, or when
//! `recursiveFileLookup` says so. Fails: a path that does not exist, files both beside and inside partition directories, what
//! the disk or the store says.

use super::clean::Clean;
use super::glob::{self, Segment};
use super::limits::FileEntry;
use super::partitions::{self, Directories};
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::options::file_uri;
use crate::storage::{Location, ObjectLocation};
use object_store::ObjectMeta;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Which files count.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    /// `recursiveFileLookup`: every directory, and no partition columns.
    pub recursive: bool,
    /// `pathGlobFilter`, for the name.
    pub name: Option<Regex>,
    /// `modifiedAfter` and `modifiedBefore`, in milliseconds, exclusive and exclusive.
    pub modified: Range<i64>,
    /// `basePath`, as an URL without a slash at its end.
    pub base: Option<String>,
}

/// The paths of a source.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    roots: Vec<Root>,
    filter: Filter,
}

#[derive(Debug, Clone)]
struct Root {
    /// The path as users know it, for messages: `file:/data/p=*`.
    text: String,
    /// The part of the path before the first pattern.
    head: Location,
    tail: Vec<Segment>,
}

/// A file, and what its directories say.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub entry: FileEntry,
    pub directories: Directories,
}

/// A directory or file that a root stands for.
struct Top {
    /// URL without a slash at its end.
    url: String,
    /// The files in it, with their path relative to `url`: empty for a file.
    files: Vec<(String, FileEntry)>,
}

impl Roots {
    /// Reads the paths of a source; nothing is touched.
    ///
    /// # Errors
    /// Paths that name nothing, or a pattern that is not one.
    pub fn new(paths: &[String], filter: Filter, config: &Config) -> Result<Self> {
        let mut roots = Vec::new();
        for path in paths {
            if !glob::is_glob(path) {
                let head = Location::parse(path, config)?;
                roots.push(Root { text: head.url(), head, tail: Vec::new() });
                continue;
            }
            for path in glob::alternatives(path)? {
                let (head, tail) = glob::split(&path)?;
                let head = Location::parse(if head.is_empty() { "." } else { &head }, config)?;
                let below: String = path
                    .split('/')
                    .rev()
                    .take(tail.len())
                    .fold(String::new(), |below, segment| format!("/{segment}{below}"));
                roots.push(Root { text: format!("{}{below}", head.url().trim_end_matches('/')), head, tail });
            }
        }
        Ok(Self { roots, filter })
    }

    /// For tests: one location.
    #[cfg(test)]
    pub fn at(location: Location, filter: Filter) -> Self {
        Self { roots: vec![Root { text: location.url(), head: location, tail: Vec::new() }], filter }
    }

    /// The paths for people.
    pub fn texts(&self) -> Vec<&str> {
        self.roots.iter().map(|root| root.text.as_str()).collect()
    }

    /// Whether all paths are patterns, which may stand for nothing.
    pub fn are_patterns(&self) -> bool {
        self.roots.iter().all(|root| !root.tail.is_empty())
    }

    /// Whether all paths are on this machine.
    pub fn all_local(&self) -> bool {
        self.roots.iter().all(|root| matches!(root.head, Location::Local(_)))
    }

    /// Refuses an archive for read files that the source would read again.
    pub fn refuse_archive(&self, clean: &Clean) -> Result<()> {
        self.roots.iter().try_for_each(|root| clean.check(&root.head))
    }

    /// Whether every path that is no pattern exists.
    ///
    /// # Errors
    /// [`ErrorCode::PathNotFound`] naming the first that does not.
    pub async fn check(&self) -> Result<()> {
        for root in self.roots.iter().filter(|root| root.tail.is_empty()) {
            if !exists(&root.head).await? {
                return Err(not_found(&root.text, None));
            }
        }
        Ok(())
    }

    /// Where a file of an earlier listing lies.
    ///
    /// # Errors
    /// [`ErrorCode::PathNotFound`] for a file of a bucket that no path of the source is in.
    pub fn locate(&self, path: &str) -> Result<Location> {
        if let Some(local) = path.strip_prefix("file://") {
            return Ok(Location::Local(PathBuf::from(local)));
        }
        let objects = self.roots.iter().filter_map(|root| match &root.head {
            Location::Object(object) => Some(object),
            Location::Local(_) => None,
        });
        for object in objects {
            let top = object.url_of(&object_store::path::Path::default());
            if let Some(key) = path.strip_prefix(&top).and_then(|key| key.strip_prefix('/')) {
                let key = object_store::path::Path::parse(key).map_err(|cause| {
                    Error::caused_by(ErrorCode::CheckpointCorrupt, format!("{path} is no path: {cause}"), cause)
                })?;
                return Ok(Location::Object(object.at(key)));
            }
        }
        Err(Error::new(
            ErrorCode::PathNotFound,
            format!(
                "{path} belongs to a batch that is not committed, but the source now reads {}; give it its old path",
                self.texts().join(", ")
            ),
        ))
    }

    /// Every file that is there, in no order, each once.
    ///
    /// # Errors
    /// [`ErrorCode::ConflictingDirectoryStructures`]; [`ErrorCode::InvalidPartitionValue`]; what the disk or the store says.
    pub async fn list(&self) -> Result<Vec<Found>> {
        let mut tops: BTreeMap<String, Top> = BTreeMap::new();
        for root in &self.roots {
            for top in expand(root).await? {
                tops.insert(top.url.clone(), top);
            }
        }
        let mut all = Vec::new();
        for top in tops.into_values() {
            let base = match &self.filter.base {
                Some(base) => base.as_str(),
                None => top.url.as_str(),
            };
            let above = match top.url.strip_prefix(base) {
                Some(above) if above.is_empty() || above.starts_with('/') => above,
                _ => {
                    return Err(Error::new(
                        ErrorCode::InvalidOption,
                        format!(
                            "option 'basePath' is {base}, which {} is not in; give it a directory above every path",
                            top.url
                        ),
                    ));
                }
            };
            for (relative, entry) in top.files {
                let inner = relative.rsplit_once('/').map_or("", |(directory, _)| directory);
                // A path that is a file itself lies in its directory.
                let outer = match relative.is_empty() {
                    true => above.rsplit_once('/').map_or("", |(directory, _)| directory),
                    false => above,
                };
                let directories = match self.filter.recursive {
                    true => Directories { columns: Vec::new(), base: String::new() },
                    false => partitions::parse(&format!("{outer}/{inner}"))?,
                };
                let direct = inner.is_empty();
                all.push((direct, base.to_string(), Found { entry, directories }));
            }
        }
        self.choose(all)
    }

    /// Leaves out what lies in plain sub-directories, and refuses what has columns in some places and not in others.
    fn choose(&self, all: Vec<(bool, String, Found)>) -> Result<Vec<Found>> {
        let partitioned = all.iter().any(|(_, _, found)| !found.directories.columns.is_empty());
        if partitioned {
            let bases: BTreeSet<String> = all
                .iter()
                .map(|(_, base, found)| match found.directories.columns.is_empty() {
                    // A file without columns is a table of its own.
                    true => format!("{} (no partition columns)", join(base, &found.directories.base)),
                    false => join(base, &found.directories.base),
                })
                .collect();
            if bases.len() > 1 {
                let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
                return Err(Error::new(
                    ErrorCode::ConflictingDirectoryStructures,
                    format!(
                        "files with and without partition directories, or below different ones, are mixed: {}; read one of them, or set \
                         basePath to the directory above all of them",
                        bases.join(", ")
                    ),
                ));
            }
        }
        let wanted = |(direct, _, found): &(bool, String, Found)| {
            let entry = &found.entry;
            (*direct || partitioned || self.filter.recursive)
                && self.filter.name.as_ref().is_none_or(|name| name.is_match(entry.name()))
                && entry.modified_ms > self.filter.modified.start
                && entry.modified_ms < self.filter.modified.end
        };
        let mut seen = HashSet::new();
        let found = all.into_iter().filter(wanted).map(|(_, _, found)| found);
        Ok(found.filter(|found| seen.insert(found.entry.path.clone())).collect())
    }

    /// What the directories of a file of an earlier listing say.
    pub fn directories(&self, path: &str) -> Result<Directories> {
        if self.filter.recursive {
            return Ok(Directories { columns: Vec::new(), base: String::new() });
        }
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        // The longest path above the file; below it the columns begin. A pattern's own segments are not its file's columns.
        let above = |root: &Root| {
            let mut url = location_url(&root.head);
            for _ in &root.tail {
                let rest = directory.strip_prefix(&url)?.strip_prefix('/')?;
                let segment = rest.split('/').next()?;
                url = format!("{url}/{segment}");
            }
            let below = directory.strip_prefix(&url)?;
            (below.is_empty() || below.starts_with('/')).then(|| below.to_string())
        };
        let below = match &self.filter.base {
            Some(base) => directory.strip_prefix(base.as_str()).map(str::to_string),
            None => self.roots.iter().filter_map(above).min_by_key(String::len),
        };
        partitions::parse(below.as_deref().unwrap_or_default())
    }
}

fn join(base: &str, below: &str) -> String {
    if below.is_empty() { base.to_string() } else { format!("{base}/{below}") }
}

/// The URL of a directory in the form that entries have: `file:///data`, `s3a://bucket/data`.
pub(super) fn location_url(location: &Location) -> String {
    match location {
        Location::Local(path) => format!("file://{}", path.to_string_lossy().trim_end_matches('/')),
        Location::Object(object) => object.url.clone(),
    }
}

fn hidden(name: &str) -> bool {
    (name.starts_with('_') && !name.contains('=')) || name.starts_with('.') || name.ends_with("._COPYING_")
}

fn not_found(text: &str, cause: Option<std::io::Error>) -> Error {
    let message = format!("Path does not exist: {text}");
    match cause {
        Some(cause) => Error::caused_by(ErrorCode::PathNotFound, message, cause),
        None => Error::new(ErrorCode::PathNotFound, message),
    }
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    let uri = file_uri(path);
    match cause.kind() {
        ErrorKind::NotFound => not_found(&uri, Some(cause)),
        _ => Error::caused_by(ErrorCode::Io, format!("cannot read {uri}: {cause}"), cause),
    }
}

async fn exists(location: &Location) -> Result<bool> {
    match location {
        Location::Local(path) => match std::fs::metadata(path) {
            Ok(_) => Ok(true),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(unreadable(path, cause)),
        },
        Location::Object(object) => {
            let level = object.level().await?;
            if !level.objects.is_empty() || !level.prefixes.is_empty() {
                return Ok(true);
            }
            Ok(object.head().await?.is_some())
        }
    }
}

/// What a root stands for now; nothing when it is not there.
async fn expand(root: &Root) -> Result<Vec<Top>> {
    match &root.head {
        Location::Local(path) => {
            let (path, tail, text) = (path.clone(), root.tail.clone(), root.text.clone());
            // Listing a large directory takes a while, which must not hold up the runtime.
            tokio::task::spawn_blocking(move || local_tops(&path, &tail, &text))
                .await
                .map_err(|cause| Error::internal(format!("a listing did not end: {cause}")))?
        }
        Location::Object(object) => object_tops(object, &root.tail).await,
    }
}

fn local_tops(head: &Path, tail: &[Segment], text: &str) -> Result<Vec<Top>> {
    let mut paths = vec![head.to_path_buf()];
    for segment in tail {
        let mut next = Vec::new();
        for path in paths {
            match segment {
                Segment::Fixed(name) => next.push(path.join(name)),
                Segment::Pattern(pattern) => {
                    for (name, _) in names(&path)? {
                        if pattern.is_match(&name) && !hidden(&name) {
                            next.push(path.join(name));
                        }
                    }
                }
            }
        }
        paths = next;
    }
    let mut tops = Vec::new();
    for path in paths {
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(cause) if cause.kind() == ErrorKind::NotFound && !tail.is_empty() => continue,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Err(not_found(text, Some(cause))),
            Err(cause) => return Err(unreadable(&path, cause)),
        };
        let url = location_url(&Location::Local(path.clone()));
        let mut files = Vec::new();
        if metadata.is_dir() {
            walk(&path, &url, "", &mut files)?;
        } else {
            files.push((String::new(), local_entry(url.clone(), &metadata)));
        }
        tops.push(Top { url, files });
    }
    Ok(tops)
}

/// Names in a directory; none when it is no directory, or gone.
fn names(path: &Path) -> Result<Vec<(String, std::fs::DirEntry)>> {
    let listed = match std::fs::read_dir(path) {
        Ok(listed) => listed,
        Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(cause) => return Err(unreadable(path, cause)),
    };
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|cause| unreadable(path, cause))?;
        // A name that is no UTF-8 has no URL either.
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry));
        }
    }
    Ok(names)
}

fn walk(path: &Path, url: &str, below: &str, files: &mut Vec<(String, FileEntry)>) -> Result<()> {
    for (name, entry) in names(path)? {
        if hidden(&name) {
            continue;
        }
        // Follows links, as users who link files into a directory expect. What vanished since the listing is not there.
        let metadata = match std::fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(cause) if cause.kind() == ErrorKind::NotFound => continue,
            Err(cause) => return Err(unreadable(&entry.path(), cause)),
        };
        let relative = format!("{below}{name}");
        if metadata.is_dir() {
            walk(&entry.path(), url, &format!("{relative}/"), files)?;
        } else {
            files.push((relative.clone(), local_entry(format!("{url}/{relative}"), &metadata)));
        }
    }
    Ok(())
}

fn local_entry(path: String, metadata: &std::fs::Metadata) -> FileEntry {
    FileEntry { path, size: metadata.len(), modified_ms: metadata.modified().map_or(0, millis) }
}

fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}

async fn object_tops(head: &ObjectLocation, tail: &[Segment]) -> Result<Vec<Top>> {
    // One flat listing in key order costs a request per thousand objects, however deep they lie.
    let objects = head.list().await?;
    let prefix = head.path.as_ref();
    let mut tops: BTreeMap<String, Top> = BTreeMap::new();
    for object in objects {
        let key = object.location.as_ref();
        let Some(relative) = below(key, prefix) else { continue };
        // Markers of directories have no bytes and the directory's key.
        if relative.is_empty() {
            continue;
        }
        let segments: Vec<&str> = relative.split('/').collect();
        let Some((above, rest)) = segments.split_at_checked(tail.len()) else { continue };
        let fits = tail.iter().zip(above).all(|(segment, name)| match segment {
            Segment::Fixed(fixed) => fixed == name,
            Segment::Pattern(pattern) => pattern.is_match(name) && !hidden(name),
        });
        if !fits || rest.iter().any(|name| hidden(name)) {
            continue;
        }
        let top_key = above.iter().fold(prefix.to_string(), |key, name| match key.is_empty() {
            true => (*name).to_string(),
            false => format!("{key}/{name}"),
        });
        let top_path = object_store::path::Path::parse(&top_key).unwrap_or_default();
        let url = head.url_of(&top_path);
        let entry = object_entry(head, &object);
        tops.entry(url.clone()).or_insert_with(|| Top { url, files: Vec::new() }).files.push((rest.join("/"), entry));
    }
    if tops.is_empty() && tail.is_empty() {
        // Not a prefix, then perhaps an object.
        if let Some(object) = head.head().await? {
            let entry = object_entry(head, &object);
            tops.insert(head.url.clone(), Top { url: head.url.clone(), files: vec![(String::new(), entry)] });
        }
    }
    Ok(tops.into_values().collect())
}

fn below<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    if prefix.is_empty() {
        return Some(key);
    }
    let rest = key.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn object_entry(at: &ObjectLocation, object: &ObjectMeta) -> FileEntry {
    FileEntry {
        path: at.url_of(&object.location),
        size: object.size,
        modified_ms: object.last_modified.timestamp_millis(),
    }
}
