//! What becomes of files that were read: `cleanSource`.
//!
//! Comes in: files of committed batches. Goes out: they are deleted, or moved below `sourceArchiveDir` under their whole path. Fails:
//! options that contradict each other. A file that cannot be removed is left, with a warning: the stream does not depend on it.

use super::discovery::location_url;
use super::limits::FileEntry;
use super::settings::Reading;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use crate::storage::Location;
use std::path::Path;

/// What is done with a file after the batch that follows its own has begun.
#[derive(Debug, Clone, Default)]
pub(super) enum Clean {
    #[default]
    Off,
    Delete,
    Archive(Location),
}

impl Clean {
    /// Reads `cleanSource` and `sourceArchiveDir`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`].
    pub fn read(options: &mut OptionReader<'_>, config: &Config, reading: Reading) -> Result<Self> {
        let mode = options.text("cleanSource").map(str::trim).unwrap_or("off");
        let archive = options.text("sourceArchiveDir");
        let clean = if mode.eq_ignore_ascii_case("off") {
            Self::Off
        } else if mode.eq_ignore_ascii_case("delete") {
            Self::Delete
        } else if mode.eq_ignore_ascii_case("archive") {
            let directory = archive.ok_or_else(|| {
                Error::new(
                    ErrorCode::InvalidOption,
                    format!(
                        "option 'cleanSource' of {} is 'archive', which needs option 'sourceArchiveDir'",
                        options.owner()
                    ),
                )
            })?;
            Self::Archive(Location::parse(directory, config)?)
        } else {
            return Err(options.invalid("cleanSource", mode, "archive, delete or off"));
        };
        Ok(if reading == Reading::Table { Self::Off } else { clean })
    }

    /// Whether anything is done.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Refuses an archive inside the source, whose files would be read again, and a source inside the archive.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`].
    pub fn check(&self, source: &Location) -> Result<()> {
        let Self::Archive(archive) = self else { return Ok(()) };
        let (inner, outer) = (location_url(archive), location_url(source));
        let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        let reason = if within(&inner, &outer) || within(&outer, &inner) {
            "lies inside the source or around it"
        } else if matches!(
            (archive, source),
            (Location::Local(_), Location::Object(_)) | (Location::Object(_), Location::Local(_))
        ) {
            "is not in the same storage as the source"
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorCode::InvalidOption,
            format!("option 'sourceArchiveDir' is {inner}, which {reason} ({outer}); name another directory"),
        ))
    }

    /// Removes a file.
    pub async fn apply(&self, entry: &FileEntry, at: Result<Location>) {
        let outcome = match at {
            Ok(location) => self.remove(location).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(file = %entry.path, %error, "cleanSource could not remove a file that was read; it stays");
        }
    }

    async fn remove(&self, location: Location) -> Result<()> {
        match (self, location) {
            (Self::Off, _) => Ok(()),
            (Self::Delete, Location::Local(path)) => local(&path, std::fs::remove_file(&path)),
            (Self::Delete, Location::Object(object)) => object.delete().await,
            (Self::Archive(Location::Local(archive)), Location::Local(path)) => {
                let target = archive.join(path.strip_prefix("/").unwrap_or(&path));
                let moved = target
                    .parent()
                    .map_or(Ok(()), std::fs::create_dir_all)
                    .and_then(|()| std::fs::rename(&path, &target));
                local(&path, moved)
            }
            (Self::Archive(Location::Object(archive)), Location::Object(object)) => {
                let target = archive.join(object.path.as_ref())?;
                match location_bucket(&archive.url) == location_bucket(&object.url) {
                    // The store copies by itself.
                    true => object.copy(&target.path).await?,
                    false => target.put(object.get().await?).await?,
                }
                object.delete().await
            }
            (Self::Archive(_), other) => {
                Err(Error::internal(format!("{} cannot be moved to another storage", other.url())))
            }
        }
    }
}

fn location_bucket(url: &str) -> &str {
    let bucket = url.split_once("://").map_or(url, |(_, rest)| rest);
    bucket.split('/').next().unwrap_or(bucket)
}

fn local(path: &Path, outcome: std::io::Result<()>) -> Result<()> {
    match outcome {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|cause| {
            Error::caused_by(ErrorCode::Io, format!("cannot remove {}: {cause}", path.to_string_lossy()), cause)
        }),
    }
}
