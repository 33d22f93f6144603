//! File sources as parts of plans: what a reader's `load` makes.
//!
//! Comes in: a format, perhaps a schema, options. Goes out: [`Files`], whose schema is settled: the columns of the records, then those of
//! the directories. A table's listing is settled too: files that appear later are not of it. Fails: paths that do not exist, a
//! schema that is missing and may not or cannot be inferred, two columns of one name, directories that disagree.

use super::discovery::{Found, Roots};
use super::infer;
use super::limits::FileEntry;
use super::partitions::{self, Directories};
use super::settings::{Reading, Settings};
use super::{FileFormat, FileSource};
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::options::Options;
use crate::source::Source;
use crate::source::provider::{LineFormat, SourceProvider};
use crate::types::{DataType, StructField, StructType};
use std::fmt;
use std::sync::Arc;

/// Files as a stream or a table.
pub struct Files {
    settings: Arc<Settings>,
    roots: Roots,
    schema: StructType,
    /// Names of the columns that directories give.
    partitions: Arc<[String]>,
    /// A table's files.
    listing: Option<Arc<[FileEntry]>>,
}

impl Files {
    /// Settles schema and, for a table, files.
    ///
    /// # Errors
    /// As the module says.
    pub async fn load(
        format: FileFormat,
        reading: Reading,
        schema: Option<StructType>,
        options: &Options,
        config: &Config,
    ) -> Result<Self> {
        let mut reader = options.reader(format!("the {} source", format.name()));
        let settings = Settings::read(format, reading, &mut reader, config)?;
        reader.finish()?;
        let roots = Roots::new(&settings.paths, settings.filter.clone(), config)?;
        Self::with_roots(settings, roots, schema).await
    }

    /// As [`Files::load`], of places that are known.
    pub(super) async fn with_roots(settings: Settings, roots: Roots, schema: Option<StructType>) -> Result<Self> {
        roots.refuse_archive(&settings.clean)?;
        if schema.is_none() && settings.format != FileFormat::Text && !settings.inference.allowed {
            return Err(Error::new(
                ErrorCode::SchemaRequired,
                format!(
                    "a stream of {} files needs a schema; give it with schema(...), or set spark.sql.streaming.schemaInference to true to \
                     infer it from the files that are there",
                    settings.format.name()
                ),
            ));
        }
        // A source that removes what it has read may leave nothing, which in an object store is no directory either.
        let removed = settings.clean.is_on() && !roots.all_local();
        if !removed {
            roots.check().await?;
        }
        let found = roots.list().await?;
        if found.is_empty() && settings.reading == Reading::Table && roots.are_patterns() {
            return Err(Error::new(
                ErrorCode::PathNotFound,
                format!("Path does not exist: {}", roots.texts().join(", ")),
            ));
        }
        let directories: Vec<&Directories> = found.iter().map(|found| &found.directories).collect();
        let partitions = partitions::columns(
            directories.iter().copied(),
            schema.as_ref(),
            settings.inference.partition_types,
            settings.time_zone,
        )?;
        let is_partition = |field: &StructField| partitions.iter().any(|p| p.name.eq_ignore_ascii_case(&field.name));
        let given = schema.map(|schema| StructType {
            fields: schema.fields.into_iter().filter(|field| !is_partition(field)).collect(),
        });
        let mut data = match (settings.format, given) {
            (FileFormat::Text, given) => text_schema(given)?,
            (_, Some(given)) => given,
            (_, None) => {
                let inferred = infer::schema(&settings, &roots, &found).await?;
                StructType { fields: inferred.fields.into_iter().filter(|field| !is_partition(field)).collect() }
            }
        };
        let names: Arc<[String]> = partitions.iter().map(|field| field.name.clone()).collect();
        data.fields.extend(partitions);
        let schema = StructType {
            fields: data.fields.into_iter().map(|field| StructField { nullable: true, ..field }).collect(),
        };
        refuse_doubles(&schema)?;
        let listing =
            (settings.reading == Reading::Table).then(|| found.into_iter().map(|found| found.entry).collect());
        let files = Self { settings: Arc::new(settings), roots, schema, partitions: names, listing };
        // What the format says of schema and options is said now.
        if let Some(format) = files.format() {
            crate::decode::LineDecoder::new(&format, &crate::decode::Wanted::all(files.schema.fields.len()))?;
        }
        Ok(files)
    }

    /// The settled schema.
    pub fn schema(&self) -> &StructType {
        &self.schema
    }

    pub(super) fn source(&self) -> FileSource {
        FileSource::new(
            self.settings.clone(),
            self.roots.clone(),
            self.schema.clone(),
            self.partitions.clone(),
            self.listing.clone(),
        )
    }
}

/// `value`, or the user's one string column.
fn text_schema(given: Option<StructType>) -> Result<StructType> {
    let given = match given {
        None => return Ok(StructType { fields: vec![StructField::new("value", DataType::String, true)] }),
        Some(given) => given,
    };
    match given.fields.as_slice() {
        [field] if field.data_type == DataType::String => Ok(given),
        _ => Err(Error::new(
            ErrorCode::DatatypeMismatch,
            "the text source gives one STRING column; leave the schema out, or give one such column",
        )),
    }
}

fn refuse_doubles(schema: &StructType) -> Result<()> {
    for (index, field) in schema.fields.iter().enumerate() {
        if schema.fields.iter().take(index).any(|other| other.name.eq_ignore_ascii_case(&field.name)) {
            return Err(Error::new(
                ErrorCode::ColumnAlreadyExists,
                format!(
                    "the column '{}' is there twice, cases left aside; give the source a schema that names it once",
                    field.name
                ),
            ));
        }
    }
    Ok(())
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl SourceProvider for Files {
    fn describe(&self) -> String {
        format!("{} {}", self.settings.format.name(), self.settings.paths.join(","))
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.source()))
    }

    fn files(&self) -> Vec<String> {
        self.listing.iter().flat_map(|listing| listing.iter()).map(|file| file.path.clone()).collect()
    }

    fn format(&self) -> Option<LineFormat> {
        let syntax = self.settings.syntax.clone()?;
        Some(LineFormat { schema: self.schema.clone(), syntax })
    }
}

/// The entries of files, for those who read them at once.
pub(super) fn entries(found: &[Found]) -> Vec<FileEntry> {
    found.iter().map(|found| found.entry.clone()).collect()
}
