//! A directory per value of some columns, as Spark and Hive lay tables out.
//!
//! Comes in: the columns' names and a batch's rows. Goes out: the rows of each directory, without those columns, and its name:
//! `city=Oslo/day=2024-01-01/`. Null and the empty string are `__HIVE_DEFAULT_PARTITION__`; characters that paths cannot hold are `%XX`. Fails:
//! columns that are not there, named twice, nested, or all that there are.

use crate::decode::zone::Zone;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::java_text::{Style, plain, write_value};
use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

/// Stands for null and for the empty string.
const DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// How rows go into directories.
pub(super) struct Partitioning {
    /// Index and `name=` of each column, in the order of the directories.
    columns: Vec<(usize, String)>,
    /// Indices of the columns that stay in the files.
    kept: Vec<usize>,
    schema: SchemaRef,
    zone: Zone,
}

impl Partitioning {
    /// Directories for the columns `names` (found without regard to case) of rows of `schema`.
    pub fn new(schema: &SchemaRef, names: &[String], zone: Zone) -> Result<Self> {
        let mut columns: Vec<(usize, String)> = Vec::with_capacity(names.len());
        for name in names {
            let mut found = schema.fields().iter().enumerate().filter(|(_, field)| same(field.name(), name));
            let (Some((index, field)), None) = (found.next(), found.next()) else {
                let all: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let what =
                    if all.iter().filter(|known| same(known, name)).count() > 1 { "ambiguous" } else { "not found" };
                return Err(Error::new(
                    ErrorCode::UnresolvedColumn,
                    format!("partition column {name} {what} in existing columns ({})", all.join(", ")),
                ));
            };
            if columns.iter().any(|(known, _)| *known == index) {
                return Err(Error::new(
                    ErrorCode::ColumnAlreadyExists,
                    format!("the column '{name}' is named twice in partition_by; name it once"),
                ));
            }
            if field.data_type().is_nested() {
                return Err(Error::new(
                    ErrorCode::InvalidPartitionColumn,
                    format!(
                        "cannot use the column '{name}' of the type {} for directories; select a field of it, or cast it to a string",
                        field.data_type()
                    ),
                ));
            }
            let mut key = String::new();
            // As the query calls it, not as it was asked for.
            escape(field.name(), &mut key);
            key.push('=');
            columns.push((index, key));
        }
        let kept: Vec<usize> = (0..schema.fields().len()).filter(|i| columns.iter().all(|(c, _)| c != i)).collect();
        if kept.is_empty() && !columns.is_empty() {
            return Err(Error::new(
                ErrorCode::AllPartitionColumns,
                "cannot use all columns for partition columns: the files would have none; leave one out of partition_by",
            ));
        }
        let schema = if columns.is_empty() { schema.clone() } else { Arc::new(Schema::project(schema, &kept)?) };
        Ok(Self { columns, kept, schema, zone })
    }

    /// Schema of the files.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of each directory, in the order of the directories' names, each in the order in which they came; a name is empty or ends
    /// in `/`.
    pub fn split(&self, rows: &[RecordBatch]) -> Result<Vec<(String, Vec<RecordBatch>)>> {
        let filled = rows.iter().filter(|rows| rows.num_rows() > 0);
        if self.columns.is_empty() {
            let rows: Vec<_> = filled.cloned().collect();
            return Ok(if rows.is_empty() { Vec::new() } else { vec![(String::new(), rows)] });
        }
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut groups: Vec<(String, Vec<RecordBatch>)> = Vec::new();
        let mut directory = String::new();
        for batch in filled {
            let values =
                self.columns.iter().map(|(index, _)| plain(batch.column(*index))).collect::<Result<Vec<_>>>()?;
            // Row numbers of each directory of this batch, in order of first appearance.
            let mut places: Vec<(usize, Vec<u32>)> = Vec::new();
            let mut here: HashMap<usize, usize> = HashMap::new();
            for row in 0..batch.num_rows() {
                directory.clear();
                for ((_, key), values) in self.columns.iter().zip(&values) {
                    directory.push_str(key);
                    self.value(values, row, &mut directory)?;
                    directory.push('/');
                }
                let group = match known.get(&directory) {
                    Some(group) => *group,
                    None => {
                        known.insert(directory.clone(), groups.len());
                        groups.push((directory.clone(), Vec::new()));
                        groups.len() - 1
                    }
                };
                let place = *here.entry(group).or_insert_with(|| {
                    places.push((group, Vec::new()));
                    places.len() - 1
                });
                if let Some((_, numbers)) = places.get_mut(place) {
                    numbers.push(u32::try_from(row).map_err(|_| Error::internal("a batch has more than 2^32 rows"))?);
                }
            }
            let columns = batch.project(&self.kept)?;
            for (group, numbers) in places {
                let rows = match numbers.len() == batch.num_rows() {
                    true => columns.clone(),
                    false => take_record_batch(&columns, &UInt32Array::from(numbers))?,
                };
                if let Some((_, all)) = groups.get_mut(group) {
                    all.push(rows);
                }
            }
        }
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(groups)
    }

    fn value(&self, values: &arrow::array::ArrayRef, row: usize, out: &mut String) -> Result<()> {
        if values.is_null(row) {
            out.push_str(DEFAULT_PARTITION);
            return Ok(());
        }
        let mut text = String::new();
        write_value(
            values,
            row,
            Style { zone: self.zone, null: DEFAULT_PARTITION, hex: false, interval: None },
            &mut text,
        )?;
        if text.is_empty() {
            out.push_str(DEFAULT_PARTITION);
        } else {
            escape(&text, out);
        }
        Ok(())
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// Appends a text with Hive's escapes. Nothing that is left can end a path's part or lead out of the directory.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\0'..='\x1f'
            | '\x7f'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{:02X}", c as u32);
            }
            other => out.push(other),
        }
    }
}
