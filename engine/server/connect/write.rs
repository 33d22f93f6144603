//! Rows that go into tables: `df.write` and `df.writeTo(table)`.
//!
//! Comes in: a frame and the protocol's description of the write. Goes out: nothing; the rows are written. Fails: what needs a catalog that keeps more
//! than names and places, by name, and what writing fails with.

use crate::error::{Error, ErrorCode, Result};
use crate::frame::functions::col;
use crate::frame::{DataFrame, SaveMode};
use crate::plan::resolve::{quoted, split_path};
use crate::sql::Entry;
use spark_connect_proto::expression::ExprType;
use spark_connect_proto::expression::literal::LiteralType;
use spark_connect_proto::write_operation::save_table::TableSaveMethod;
use spark_connect_proto::write_operation::{SaveMode as ProtoSaveMode, SaveType};
use spark_connect_proto::write_operation_v2::Mode;
use spark_connect_proto::{Expression, WriteOperation, WriteOperationV2};

/// `df.write`.
///
/// # Errors
/// As the module says.
pub async fn table(frame: &DataFrame, write: WriteOperation) -> Result<()> {
    if write.bucket_by.is_some() || !write.sort_column_names.is_empty() || !write.clustering_columns.is_empty() {
        return unsupported(
            "bucketBy, sortBy and clusterBy need a catalog that knows of buckets; use partitionBy, and sort the rows",
        );
    }
    let mode = match write.mode() {
        ProtoSaveMode::Append => SaveMode::Append,
        ProtoSaveMode::Overwrite => SaveMode::Overwrite,
        ProtoSaveMode::Ignore => SaveMode::Ignore,
        ProtoSaveMode::ErrorIfExists | ProtoSaveMode::Unspecified => SaveMode::ErrorIfExists,
    };
    let mut writer = frame.write().mode(mode).options(&write.options).partition_by(write.partitioning_columns);
    if let Some(format) = write.source.filter(|format| !format.is_empty()) {
        writer = writer.format(&format);
    }
    match write.save_type {
        None => writer.save().await,
        Some(SaveType::Path(path)) => writer.save_path(&path).await,
        Some(SaveType::Table(table)) => match table.save_method() {
            TableSaveMethod::InsertInto => writer.insert_into(&table.table_name).await,
            _ => writer.save_as_table(&table.table_name).await,
        },
    }
}

/// `df.writeTo(table)`.
///
/// # Errors
/// As the module says.
pub async fn table_v2(frame: &DataFrame, write: WriteOperationV2) -> Result<()> {
    let mode = write.mode();
    let name = &write.table_name;
    if !write.clustering_columns.is_empty() || !write.table_properties.is_empty() || write.with_schema_evolution {
        return unsupported(format!(
            "writeTo({name:?}): clusterBy, tableProperty and withSchemaEvolution need a catalog that keeps them; leave them out"
        ));
    }
    let existing = frame.session().catalog().get(name);
    match mode {
        Mode::Create => {}
        Mode::CreateOrReplace if existing.is_none() => {}
        Mode::Replace | Mode::CreateOrReplace => match &existing {
            Some(Entry::Table(table)) if table.columns.is_some() => {
                return unsupported(format!(
                    "writeTo({name:?}): the table was created with columns of its own; DROP TABLE {name} first, or overwrite its rows with \
                     overwrite(lit(True))"
                ));
            }
            Some(_) => {}
            None => return Err(not_found(frame, name)),
        },
        Mode::Append => return insert(frame, name, existing, false).await,
        Mode::Overwrite => {
            let always = write.overwrite_condition.as_ref().is_some_and(|condition| {
                let Some(ExprType::Literal(literal)) = &condition.expr_type else { return false };
                literal.literal_type == Some(LiteralType::Boolean(true))
            });
            return match always {
                true => insert(frame, name, existing, true).await,
                false => unsupported(format!(
                    "writeTo({name:?}).overwrite(condition): files are replaced as a whole; use overwrite(lit(True))"
                )),
            };
        }
        Mode::OverwritePartitions | Mode::Unspecified => {
            return unsupported(format!(
                "writeTo({name:?}).overwritePartitions(): files are replaced as a whole; use overwrite(lit(True))"
            ));
        }
    }
    let partitions = write.partitioning_columns.iter().map(|column| partition(name, column));
    let partitions = partitions.collect::<Result<Vec<_>>>()?;
    let mode = if mode == Mode::Create { SaveMode::ErrorIfExists } else { SaveMode::Overwrite };
    let mut writer = frame.write().mode(mode).options(&write.options).partition_by(partitions);
    if let Some(format) = write.provider.filter(|format| !format.is_empty()) {
        writer = writer.format(&format);
    }
    writer.save_as_table(name).await
}

/// Rows into a table that is there, by the names of its columns.
async fn insert(frame: &DataFrame, name: &str, existing: Option<Entry>, overwrite: bool) -> Result<()> {
    let columns = match &existing {
        Some(Entry::Table(table)) => match &table.columns {
            Some(columns) => columns.fields.iter().map(|field| field.name.clone()).collect(),
            None => {
                let now = crate::sql::read_table(frame.session(), name, false).await?;
                now.schema().fields().iter().map(|field| field.name().clone()).collect()
            }
        },
        Some(Entry::View(_)) => vec![],
        None => return Err(not_found(frame, name)),
    };
    if let Some(extra) = frame.schema().fields().iter().find(|field| {
        !columns.is_empty() && !columns.iter().any(|column: &String| column.eq_ignore_ascii_case(field.name()))
    }) {
        return Err(Error::new(
            ErrorCode::InvalidExpression,
            format!("the table {name} has no column {:?}; its columns are {}", extra.name(), columns.join(", ")),
        ));
    }
    let named = match columns.is_empty() {
        true => frame.clone(),
        false => frame.select(columns.iter().map(|column| col(&quoted(column))))?,
    };
    let mode = if overwrite { SaveMode::Overwrite } else { SaveMode::Append };
    named.write().mode(mode).insert_into(name).await
}

fn partition(table: &str, column: &Expression) -> Result<String> {
    match &column.expr_type {
        Some(ExprType::UnresolvedAttribute(attribute)) => match split_path(&attribute.unparsed_identifier).as_slice() {
            [name] => Ok(name.clone()),
            _ => {
                unsupported(format!("writeTo({table:?}).partitionedBy: a field of a struct; add it as a column first"))
            }
        },
        _ => unsupported(format!(
            "writeTo({table:?}).partitionedBy: years(), bucket() and the like; add a column of the value, and name that"
        )),
    }
}

fn not_found(frame: &DataFrame, name: &str) -> Error {
    frame.session().catalog().missing(name, [])
}

fn unsupported<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorCode::UnsupportedOperation, message))
}
