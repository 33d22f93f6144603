//! Compressed files, by the ending of their names, as Hadoop's codecs have them.
//!
//! Comes in: a file's path, its bytes in order. Goes out: what they were before. Several gzip members, bzip2 streams or zstd frames
//! after each other are one text. Fails: endings of codecs that are not built, bytes that do not decompress.

use crate::error::{Error, ErrorCode, Result};
use std::io::Read;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Bzip2,
    Zstd,
    Deflate,
}

/// Endings that Hadoop knows and this engine does not.
const REFUSED: [&str; 6] = ["lz4", "snappy", "xz", "lzo", "zip", "passthrough"];

impl Compression {
    /// The codec of a file; None for one that is not compressed.
    ///
    /// # Errors
    /// [`ErrorCode::UnsupportedOperation`] naming the file and its codec.
    pub fn of(path: &str) -> Result<Option<Self>> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((_, ending)) = name.rsplit_once('.') else { return Ok(None) };
        let lower = ending.to_ascii_lowercase();
        Ok(Some(match lower.as_str() {
            "gz" | "gzip" => Self::Gzip,
            "bz2" => Self::Bzip2,
            "zst" | "zstd" => Self::Zstd,
            "deflate" => Self::Deflate,
            refused if REFUSED.contains(&refused) => {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!(
                        "{path} is compressed in a way that is not read (.{ending}); .gz, .bz2, .zst and .deflate are: pack it anew, or move \
                         it out of the directory"
                    ),
                ));
            }
            _ => return Ok(None),
        }))
    }

    /// How often the text may be longer than the file, where the codec has such a bound.
    pub fn most_expansion(self) -> Option<u64> {
        match self {
            Self::Gzip | Self::Deflate => Some(1032),
            Self::Bzip2 | Self::Zstd => None,
        }
    }

    /// The text of compressed bytes.
    pub fn open(self, bytes: impl Read + Send + 'static) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(bytes)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes)?),
            Self::Deflate => Box::new(flate2::read::ZlibDecoder::new(bytes)),
        })
    }
}
