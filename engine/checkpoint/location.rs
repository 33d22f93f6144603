//! Where a checkpoint lies, as users write it.
//!
//! Comes in: the text of `checkpointLocation`. Goes out: a [`Location`]: a directory for a path or a `file:` URI, a prefix of a bucket for
//! `s3://` and `s3a://`. Fails: INVALID_OPTION for another scheme and for what is no location; what [`Location::parse`] says of S3.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::storage::Location;
use std::path::PathBuf;

/// The location that `checkpointLocation` names.
///
/// ```
/// use tidemill::checkpoint::location;
/// use tidemill::config::Config;
/// assert_eq!(location("file:///ck/rides", &Config::default())?.url(), "file:/ck/rides");
/// # Ok::<(), tidemill::Error>(())
/// ```
///
/// # Errors
/// [`ErrorCode::InvalidOption`] for an empty text, a scheme without a checkpoint store, and a URI that is none; otherwise as
/// [`Location::parse`].
pub fn location(text: &str, config: &Config) -> Result<Location> {
    match text.split_once("://") {
        Some((scheme, _)) if ["s3", "s3a"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            Location::parse(text, config)
        }
        _ => local_path(text).map(Location::Local),
    }
}

/// The directory that a path or `file:` URI names.
fn local_path(location: &str) -> Result<PathBuf> {
    let invalid = |why: &str| {
        Error::new(
            ErrorCode::InvalidOption,
            format!(
                "checkpointLocation `{location}` {why}; give a directory as a path, a file: URI or s3a://bucket/path"
            ),
        )
    };
    if location.trim().is_empty() {
        return Err(invalid("is empty"));
    }
    let Some((scheme, rest)) = location.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Ok(PathBuf::from(location));
    };
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(invalid(&format!("has the scheme {scheme}, which this version has no checkpoint store for")));
    }
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(authority) => match authority.find('/') {
            Some(at) if at == 0 || authority.get(..at) == Some("localhost") => authority.get(at..).unwrap_or_default(),
            _ => return Err(invalid("names a host")),
        },
    };
    if !path.starts_with('/') {
        return Err(invalid("is not absolute"));
    }
    let decoded = percent_decode(path).ok_or_else(|| invalid("is not a valid URI"))?;
    Ok(PathBuf::from(decoded))
}

/// A URI scheme; a path with a colon further on is not one.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (location, path) in [
            ("ck/", "ck/"),
            ("/data/ck", "/data/ck"),
            ("file:/data/ck", "/data/ck"),
            ("file:///data/a%20b", "/data/a b"),
            ("FILE://localhost/data", "/data"),
            ("./a:b", "./a:b"),
        ] {
            assert_eq!(local_path(location).unwrap(), PathBuf::from(path), "{location}");
        }
        for location in
            ["", " ", "s3://bucket/ck", "file:ck", "file://host/ck", "file:///a%2", "file:///a%00", "file:///%ff"]
        {
            assert_eq!(local_path(location).unwrap_err().code(), ErrorCode::InvalidOption, "{location}");
        }
    }
}
