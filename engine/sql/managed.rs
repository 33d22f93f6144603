//! Tables whose files the session places: `save_as_table` and `to_table`, and reading tables by name.
//!
//! Comes in: a name. Goes out: where its files are, or a frame over them; or neither is there any more. Fails: names of views, and names that
//! nothing has.

use super::catalog::Entry;
use super::script;
use super::table::{TableDefinition, TableOption};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrame, table_writer};
use crate::session::Session;
use crate::sink::files::FORMATS;
use crate::storage::Location;
use datafusion::sql::sqlparser::tokenizer::Span;
use std::sync::Arc;

/// Where the files of tables are that name no place.
const WAREHOUSE: &str = "spark.sql.warehouse.dir";

/// A table that rows are written to by its name.
pub(crate) struct Managed {
    /// How its files are written.
    pub format: String,
    /// Where they are.
    pub location: String,
    /// What the catalog is to know, where it does not know the table yet.
    new: Option<TableDefinition>,
}

impl Managed {
    /// The table that `name` stands for, or a new one.
    pub fn of(session: &Session, name: &str, format: &str, partition_by: &[String]) -> Result<Self> {
        match session.catalog().get(name) {
            Some(Entry::View(_)) => Err(Error::new(
                ErrorCode::TableExists,
                format!("`{name}` is a view, which cannot be written; choose another name"),
            )),
            Some(Entry::Table(table)) => {
                let location = table.location.clone().ok_or_else(|| {
                    Error::new(
                        ErrorCode::UnsupportedOperation,
                        format!("the table `{name}` has no LOCATION, so rows cannot be written to it by its name"),
                    )
                })?;
                Ok(Self { format: table.format.clone(), location, new: None })
            }
            None => {
                let location = placed(session, name)?;
                let table = TableDefinition {
                    name: name.to_string(),
                    format: format.to_string(),
                    columns: None,
                    partitioned_by: partition_by.to_vec(),
                    location: Some(location.clone()),
                    managed: true,
                    options: vec![],
                    span: Span::empty(),
                };
                Ok(Self { format: format.to_string(), location, new: Some(table.read_as(false)) })
            }
        }
    }

    /// Makes the table known, once rows can be in it.
    pub fn keep(self, session: &Session) -> Result<()> {
        match self.new {
            // Another may have made it known in the meantime.
            Some(table) => session.catalog().put(&table.name.clone(), Entry::Table(Arc::new(table)), true),
            None => Ok(()),
        }
    }
}

/// Where the files of a table are that names no place: below the warehouse, and nowhere else.
fn placed(session: &Session, name: &str) -> Result<String> {
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            format!("the table name {name:?} cannot name a directory below {WAREHOUSE}; use letters, digits and _"),
        ));
    }
    let warehouse = session.conf().get(WAREHOUSE).unwrap_or_default();
    Ok(format!("{}/{}", warehouse.trim_end_matches('/'), name.to_lowercase()))
}

/// Takes the name of a view or a table away; of a table that the session placed, the files too. `view` takes no table.
pub(crate) async fn drop_relation(session: &Session, name: &str, view: bool, if_exists: bool) -> Result<()> {
    let catalog = session.catalog();
    match catalog.get(name) {
        Some(Entry::View(_)) => {
            catalog.remove(name);
            Ok(())
        }
        Some(Entry::Table(_)) if view => Err(Error::new(
            ErrorCode::WrongObjectType,
            format!("DROP VIEW needs a view, but `{name}` is a table; write DROP TABLE {name}"),
        )
        .with_parameter("operation", "DROP VIEW")
        .with_parameter("requiredType", "VIEW")
        .with_parameter("objectName", format!("`{name}`"))
        .with_parameter("foundType", "TABLE")
        .with_parameter("alternative", "DROP TABLE")),
        Some(Entry::Table(table)) => {
            catalog.remove(name);
            match &table.location {
                Some(location) if table.managed => {
                    table_writer::remove_all(&Location::parse(location, session.conf())?).await
                }
                _ => Ok(()),
            }
        }
        None if session.forget_memory_table(name) || if_exists => Ok(()),
        None => Err(catalog.missing(name, [])),
    }
}

/// Makes the directory of a table whose files this session places, so that the table can be read before rows are in it.
pub(super) fn make_place(session: &Session, name: &str) -> Result<()> {
    let Some(Entry::Table(table)) = session.catalog().get(name) else { return Ok(()) };
    let Some(own) = table.location.as_ref().filter(|_| table.managed) else { return Ok(()) };
    match Location::parse(own, session.conf())? {
        Location::Local(path) => std::fs::create_dir_all(&path).map_err(|cause| {
            Error::caused_by(ErrorCode::Io, format!("cannot make the directory {}: {cause}", path.display()), cause)
        }),
        // An object store has no directories.
        _ => Ok(()),
    }
}

/// Keeps the rows of a table or view in memory from when they are first asked for; as `CACHE LAZY TABLE` in Spark.
///
/// # Errors
/// Names that there are not, and streams.
pub(crate) async fn keep(session: &Session, name: &str) -> Result<()> {
    let catalog = session.catalog();
    if catalog.kept(name).is_none() {
        catalog.keep(name, session.table(name).await?.cached()?.plan().clone());
    }
    Ok(())
}

/// Has rows that are kept read again, because there may be others.
pub(crate) async fn keep_again(session: &Session, name: &str) -> Result<()> {
    if session.catalog().kept(name).is_none() {
        return Ok(());
    }
    session.catalog().let_go(name);
    keep(session, name).await
}

/// Adds rows to a table by position, or puts them in place of those that are there.
pub(crate) async fn insert(frame: &DataFrame, name: &str, overwrite: bool) -> Result<()> {
    let catalog = frame.session().catalog();
    match catalog.get(name) {
        Some(Entry::Table(table)) => {
            table.write(&table.assigned(frame.clone())?, overwrite).await?;
            keep_again(frame.session(), name).await
        }
        Some(Entry::View(_)) => Err(Error::new(
            ErrorCode::InvalidExpression,
            format!("`{name}` is a view, which cannot be written; insert into a table"),
        )),
        None => Err(catalog.missing(name, [])),
    }
}

/// The table or view `name`, as a stream or as what it is now.
pub(crate) async fn read_table(session: &Session, name: &str, streaming: bool) -> Result<DataFrame> {
    let kept = session.catalog().kept(name).filter(|_| !streaming);
    let frame = match session.catalog().get(name) {
        Some(Entry::Table(table)) if table.location.is_some() && kept.is_none() => {
            table.read_as(streaming).read(session).await?
        }
        _ => {
            let found = script::table(session, name).await.map_err(|failure| failure.error)?;
            found.ok_or_else(|| session.catalog().missing(name, []))?
        }
    };
    match streaming && !frame.is_streaming() {
        true => Err(Error::new(
            ErrorCode::UnsupportedOperation,
            format!(
                "`{name}` does not grow, so it cannot be read as a stream; read it with session.read().table({name:?})"
            ),
        )),
        false => Ok(frame),
    }
}

impl TableDefinition {
    /// The same table as `CREATE TABLE` means it in Spark: not a stream, and with a place for its files.
    pub(super) fn placed(&self, session: &Session) -> Result<Self> {
        let has = |key: &str| self.options.iter().any(|option| option.key.eq_ignore_ascii_case(key));
        let mut table = match has(super::table::STREAMING) {
            true => self.clone(),
            false => self.read_as(false),
        };
        if table.location.is_none() && !has("path") && FORMATS.contains(&table.format.to_ascii_lowercase().as_str()) {
            table.location = Some(placed(session, &table.name)?);
            table.managed = true;
        }
        Ok(table)
    }

    /// The same table, read as a stream or as what it is now.
    fn read_as(&self, streaming: bool) -> Self {
        let option =
            TableOption { key: super::table::STREAMING.to_string(), value: streaming.to_string(), span: Span::empty() };
        let mut table = self.clone();
        table.options.push(option);
        table
    }
}
