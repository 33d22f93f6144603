//! SQL, in Spark's dialect: expressions, queries, and scripts that define tables and start queries.
//!
//! Text is parsed by `sqlparser`; every statement becomes the operations on frames that a program would write, so that SQL and programs
//! have the same plans and the same errors. A mistake is reported at its line and column.
//!
//! ```
//! use tidemill::prelude::*;
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let session = Session::builder().config("tidemill.device", "cpu").build().await?;
//! let ticks = session.read_stream().format("rate").load().await?;
//! ticks.create_or_replace_temp_view("ticks")?;
//! let odd = session.sql("SELECT value, timestamp AS at FROM ticks WHERE value % 2 = 1").await?;
//! assert_eq!(odd.schema().field(1).name(), "at");
//! let doubled = ticks.select_expr(["value * 2 AS twice", "*"])?;
//! assert_eq!(doubled.schema().fields().len(), 3);
//! # Ok::<(), tidemill::Error>(()) }).unwrap();
//! ```

mod catalog;
mod dialect;
mod expression;
mod from;
mod grouping_sets;
mod literal;
mod managed;
mod over;
mod place;
mod query;
mod relation;
mod script;
mod select;
mod statement;
mod subquery;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod types;

pub(crate) use catalog::{Catalog, Entry};
pub use expression::{expression, select_item};
#[cfg(feature = "connect")]
pub(crate) use managed::keep;
pub(crate) use managed::{Managed, insert, keep_again, read_table};
pub use place::SqlError;
pub use script::Script;
#[cfg(feature = "connect")]
pub(crate) use subquery::{PREFIX as SUBQUERY, shown as subquery_shown};

use crate::batch::Trigger;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::DataFrame;
use crate::session::Session;
use place::{Failure, Parsed, Source};
use statement::{Statement, statements};

impl Session {
    /// The frame of a query over the session's tables and views. A text that defines tables and views does so; it may end with a query. `SET`
    /// gives the keys and values that it has set, or is asked for.
    /// For `INSERT INTO`, which starts queries, see [`Script`].
    ///
    /// # Errors
    /// What the text does wrong, with line and column.
    pub async fn sql(&self, text: &str) -> Result<DataFrame> {
        let source = Source { name: "", text };
        self.run_sql(&source, false).await.map_err(|failure| source.error(failure).into())
    }

    /// [`Session::sql`] as `spark.sql` has it: a table is read as what it is now unless it says otherwise, one of files without a place has them below
    /// `spark.sql.warehouse.dir`, and rows of tables are inserted at once.
    ///
    /// # Errors
    /// As [`Session::sql`].
    #[cfg(feature = "connect")]
    pub(crate) async fn spark_sql(&self, text: &str) -> Result<DataFrame> {
        let source = Source { name: "", text };
        self.run_sql(&source, true).await.map_err(|failure| source.error(failure).into())
    }

    async fn run_sql(&self, source: &Source<'_>, tables: bool) -> Parsed<DataFrame> {
        let statements = statements(source)?;
        let mut result = None;
        for statement in &statements {
            result = None;
            match statement {
                Statement::Select { query, .. } => result = Some(script::frame_of(self, query).await?),
                Statement::Insert { table, query, overwrite } if tables => {
                    let frame = script::frame_of(self, query).await?;
                    if frame.is_streaming() {
                        let message = "INSERT INTO of a stream starts a query; use writeStream.toTable() on the frame of the SELECT";
                        return Err(Failure::unsupported(message, table.span));
                    }
                    insert(&frame, &table.value, *overwrite).await.map_err(|e| Failure::from(e).or_at(table.span))?;
                }
                Statement::CreateTable { table, replace, if_not_exists, name } if tables => {
                    let table = Box::new(table.placed(self)?);
                    let (replace, if_not_exists) = (*replace, *if_not_exists);
                    let statement = Statement::CreateTable { table, replace, if_not_exists, name: name.clone() };
                    script::define(self, &statement).await?;
                    managed::make_place(self, &name.value)?;
                }
                Statement::Insert { table, .. } => {
                    let message =
                        "INSERT INTO starts a query; use Script, or write_stream() on the frame of the SELECT";
                    return Err(Failure::unsupported(message, table.span));
                }
                Statement::Set { key, value } => {
                    script::define(self, statement).await?;
                    result = Some(relation::settings(self, vec![(key.clone(), value.clone())])?);
                }
                Statement::Settings { key, .. } => {
                    let settings = match key {
                        Some(key) => {
                            vec![(key.clone(), self.conf().get(key).unwrap_or_else(|| "<undefined>".to_string()))]
                        }
                        None => self.conf().get_all().into_iter().collect(),
                    };
                    let hidden = |(key, value): (String, String)| {
                        let value = if is_secret(&key) { "*********(redacted)".to_string() } else { value };
                        (key, value)
                    };
                    result = Some(relation::settings(self, settings.into_iter().map(hidden).collect())?);
                }
                Statement::Explain { .. } => {
                    let message = "EXPLAIN is a text, not a frame; use Script, or explain() on the frame of the SELECT";
                    return Err(Error::new(ErrorCode::UnsupportedOperation, message).into());
                }
                definition => script::define(self, definition).await?,
            }
        }
        match result {
            Some(frame) => Ok(frame),
            // As in Spark, a definition gives a frame without rows and columns.
            None => Ok(relation::nothing(self)?),
        }
    }

    /// The frame of a table or view that the session knows by name.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`, with the nearest name; options that a table's source does not have.
    pub async fn table(&self, name: &str) -> Result<DataFrame> {
        let found = script::table(self, name).await.map_err(|failure| failure.error)?;
        found.ok_or_else(|| self.catalog().missing(name, []))
    }
}

/// Whether the value of a configuration key is nobody's to read, by Spark's rule.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "password", "token", "access.key", "accesskey"].iter().any(|word| key.contains(word))
}

/// Whether a text is a query, and not something to be done.
///
/// # Errors
/// What the text does wrong, with line and column.
#[cfg(feature = "connect")]
pub(crate) fn is_query(text: &str) -> Result<bool> {
    let source = Source { name: "", text };
    let statements = statements(&source).map_err(|failure| Error::from(source.error(failure)))?;
    Ok(statements.iter().all(|statement| matches!(statement, Statement::Select { .. })))
}

#[cfg(feature = "connect")]
impl Session {
    /// Every table and view by its name, and whether it is a view.
    pub(crate) fn relation_names(&self) -> Vec<(String, bool)> {
        let mut names = self.catalog().names();
        for name in self.memory_table_names() {
            if !names.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                names.push((name, true));
            }
        }
        names
    }

    /// Takes a view's name away; whether there was one.
    pub(crate) fn drop_temp_view(&self, name: &str) -> bool {
        match self.catalog().get(name) {
            Some(Entry::View(_)) => self.catalog().remove(name).is_some(),
            _ => false,
        }
    }

    /// Makes `name` a view of the frame; gives what it stood for before.
    pub(crate) fn replace_temp_view(&self, name: &str, frame: &DataFrame) -> Result<Option<Entry>> {
        let before = self.catalog().get(name);
        self.catalog().put(name, Entry::View(frame.plan().clone()), true)?;
        Ok(before)
    }

    /// Gives a name back what [`Session::replace_temp_view`] took from it.
    pub(crate) fn restore_temp_view(&self, name: &str, before: Option<Entry>) -> Result<()> {
        match before {
            Some(entry) => self.catalog().put(name, entry, true),
            None => {
                self.catalog().remove(name);
                Ok(())
            }
        }
    }
}

impl DataFrame {
    /// [`DataFrame::select`] of texts: `"city"`, `"fare * 1.2 AS gross"`, `"data.*"`.
    ///
    /// # Errors
    /// Texts that are no expressions, unknown columns, types that do not fit.
    pub fn select_expr<'t>(&self, items: impl IntoIterator<Item = &'t str>) -> Result<Self> {
        let registry = self.session().functions();
        let items: Result<Vec<_>> = items.into_iter().map(|item| select_item(item, &registry)).collect();
        relation::select(self, items?)
    }

    /// [`DataFrame::filter`] by a text: `"fare > 10 AND city = 'Oslo'"`.
    ///
    /// # Errors
    /// A text that is no expression, unknown columns, a condition that is not boolean.
    pub fn filter_expr(&self, condition: &str) -> Result<Self> {
        relation::filter(self, expression(condition, &self.session().functions())?)
    }

    /// Gives the frame a name that SQL can use, in place of what had it before.
    ///
    /// # Errors
    /// None today; a name that SQL cannot write goes in backticks there.
    pub fn create_or_replace_temp_view(&self, name: &str) -> Result<()> {
        self.session().catalog().put(name, Entry::View(self.plan().clone()), true)
    }

    /// Gives the frame a name that SQL can use.
    ///
    /// # Errors
    /// [`ErrorCode::TempViewExists`] for a name that something has.
    pub fn create_temp_view(&self, name: &str) -> Result<()> {
        self.session().catalog().put_temporary(name, Entry::View(self.plan().clone()), false)
    }
}

impl Trigger {
    /// A trigger by its text, as the option `trigger` of a table has it: `availableNow`, `once`, `10 seconds`.
    ///
    /// # Errors
    /// A text that is no trigger.
    pub fn parse(text: &str) -> Result<Self> {
        table::parse_trigger(text)
    }
}
