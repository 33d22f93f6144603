//! The schema of files that nobody gave one.
//!
//! Comes in: the files that are there. Goes out: the columns of their records. Fails: files without any, records that are malformed
//! under `FAILFAST`, Parquet types that have no column type here.

use super::discovery::{Found, Roots};
use super::limits::FileEntry;
use super::lines::{Header, Layout, LineChunks};
use super::parquet;
use super::provider::entries;
use super::reader::{FileReader, Lookup};
use super::settings::Settings;
use crate::decode::{CsvInference, CsvOptions, Inference, JsonInference, Records, split_record};
use crate::error::{Error, ErrorCode, Result};
use crate::source::provider::Syntax;
use crate::source::{Chunk, Chunks};
use crate::types::StructType;
use std::sync::Arc;

#[cfg(feature = "connect")]
mod texts;
#[cfg(feature = "connect")]
pub(crate) use texts::of_texts;

/// Bytes that are looked at together.
const CHUNK_BYTES: usize = 4 << 20;

/// Infers the columns of the records.
pub(super) async fn schema(settings: &Settings, roots: &Roots, found: &[Found]) -> Result<StructType> {
    let mut files = entries(found);
    files.retain(|file| file.size > 0);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if found.is_empty() || (files.is_empty() && settings.syntax.is_none()) {
        return Err(unable(settings, roots));
    }
    if settings.syntax.is_none() && !settings.inference.merge {
        files.truncate(1);
    }
    let mut readers = Vec::with_capacity(files.len());
    for file in files {
        readers.extend(open(settings, roots, file).await?);
    }
    let settings = settings.clone();
    // Reads and decodes for a while, which must not hold up the runtime.
    tokio::task::spawn_blocking(move || infer(&settings, readers))
        .await
        .map_err(|cause| Error::internal(format!("an inference did not end: {cause}")))?
}

async fn open(settings: &Settings, roots: &Roots, file: FileEntry) -> Result<Option<FileReader>> {
    match FileReader::find(roots.locate(&file.path)?, file, false, None).await? {
        Lookup::Found(reader) => Ok(Some(reader)),
        Lookup::Missing(_) if settings.ignore_missing => Ok(None),
        Lookup::Missing(error) => Err(error),
    }
}

fn unable(settings: &Settings, roots: &Roots) -> Error {
    Error::new(
        ErrorCode::UnableToInferSchema,
        format!(
            "there is nothing in {} to infer a schema for {} from; give it with schema(...)",
            roots.texts().join(", "),
            settings.format.name()
        ),
    )
}

fn infer(settings: &Settings, files: Vec<FileReader>) -> Result<StructType> {
    let first = match &settings.syntax {
        None => return parquet::schema(files, settings.ignore_corrupt),
        Some(Syntax::Csv(options)) => first_record(&files, options, settings)?,
        _ => Vec::new(),
    };
    let Some(mut inference) = inference(settings, first)? else { return Ok(StructType::default()) };
    // Names alone need no second look.
    if matches!(settings.syntax, Some(Syntax::Csv(_))) && !settings.inference.csv_types {
        return Ok(inference.finish());
    }
    let mut chunks = LineChunks::new(files, layout(settings, settings.csv.header), CHUNK_BYTES);
    while let Some(chunk) = chunks.next()? {
        let Chunk::Lines(lines) = chunk else { return Err(Error::internal("a text file came as columns")) };
        let (bytes, _) = (lines.load)()?;
        inference.add(&bytes, &lines.path)?;
    }
    Ok(inference.finish())
}

/// What looks at the records; of CSV, `first` is the first of them. None for records that have no columns of their own.
fn inference(settings: &Settings, first: Vec<String>) -> Result<Option<Inference>> {
    let rules = &settings.inference;
    Ok(match &settings.syntax {
        None | Some(Syntax::Text(_)) => None,
        Some(Syntax::Json(options)) => {
            Some(Inference::Json(Box::new(JsonInference::new(options.clone(), rules.json, rules.sampling)?)))
        }
        Some(Syntax::Csv(options)) => {
            let (header, types, dates) = (settings.csv.header, rules.csv_types, rules.prefer_date);
            let csv = CsvInference::new(options.clone(), &first, header, types, dates, rules.sampling)?;
            Some(Inference::Csv(Box::new(csv)))
        }
    })
}

/// The first record of the first file that has one.
fn first_record(files: &[FileReader], options: &CsvOptions, settings: &Settings) -> Result<Vec<String>> {
    let mut chunks = LineChunks::new(files.to_vec(), layout(settings, false), CHUNK_BYTES);
    while let Some(chunk) = chunks.next()? {
        let Chunk::Lines(lines) = chunk else { return Err(Error::internal("a text file came as columns")) };
        let (bytes, _) = (lines.load)()?;
        if let Some(record) = crate::decode::first_csv_record(&bytes, options) {
            return Ok(split_record(record, options));
        }
    }
    Ok(Vec::new())
}

fn layout(settings: &Settings, header: bool) -> Layout {
    let records = records(settings);
    let csv = match &settings.syntax {
        Some(Syntax::Csv(options)) => Some(Arc::new((options.clone(), None))),
        _ => None,
    };
    Layout { records, header: Header { skip: header, csv }, ignore_corrupt: settings.ignore_corrupt }
}

/// How the records of a source's files are told apart.
pub(super) fn records(settings: &Settings) -> Records {
    match &settings.syntax {
        Some(Syntax::Json(options)) => options.records.clone(),
        Some(Syntax::Csv(options)) => options.records.clone(),
        Some(Syntax::Text(records)) => records.clone(),
        None => Records::Whole,
    }
}
