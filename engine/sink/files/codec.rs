//! Compression of text files, by Spark's names.
//!
//! Comes in: a name, and bytes. Goes out: the compressed bytes, and the ending of the file's name by which readers know them. Fails: names
//! that are no codec, and what the writer below says.

use crate::error::Result;
use crate::options::OptionReader;
use bzip2::write::BzEncoder;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Write};

/// How a text file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Gzip,
    Bzip2,
    /// Hadoop's `deflate` is zlib.
    Deflate,
    Zstd,
}

impl Codec {
    /// The option `compression`; none by default.
    pub fn new(options: &mut OptionReader<'_>) -> Result<Self> {
        let expected = "none, uncompressed, gzip, bzip2, deflate or zstd";
        let codec = options.parsed("compression", expected, |text| match text.to_ascii_lowercase().as_str() {
            "none" | "uncompressed" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "bzip2" => Some(Self::Bzip2),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        })?;
        Ok(codec.unwrap_or(Self::None))
    }

    /// What is added to the name of a file, with its dot.
    pub fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Deflate => ".deflate",
            Self::Zstd => ".zst",
        }
    }

    pub fn over<W: Write>(self, out: W) -> io::Result<Compressed<W>> {
        Ok(match self {
            Self::None => Compressed::None(out),
            Self::Gzip => Compressed::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Self::Bzip2 => Compressed::Bzip2(BzEncoder::new(out, bzip2::Compression::best())),
            Self::Deflate => Compressed::Deflate(ZlibEncoder::new(out, flate2::Compression::default())),
            Self::Zstd => Compressed::Zstd(zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }
}

/// A writer that compresses.
pub(super) enum Compressed<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Bzip2(BzEncoder<W>),
    Deflate(ZlibEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressed<W> {
    /// Writes what is left, and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(out) => out.finish(),
            Self::Bzip2(out) => out.finish(),
            Self::Deflate(out) => out.finish(),
            Self::Zstd(out) => out.finish(),
        }
    }
}

impl<W: Write> Write for Compressed<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(data),
            Self::Gzip(out) => out.write(data),
            Self::Bzip2(out) => out.write(data),
            Self::Deflate(out) => out.write(data),
            Self::Zstd(out) => out.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Bzip2(out) => out.flush(),
            Self::Deflate(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}
