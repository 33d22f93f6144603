//! [`Script`]: SQL statements that define tables and start queries, as `tidemill run` runs them.
//!
//! Comes in: the text of a file. Goes out: running queries, rows of bounded queries on a writer, explanations. Fails: mistakes in the
//! text, all found before anything starts, at their place; and what only a start can find, such as a checkpoint of another query.

use super::catalog::Entry;
use super::managed;
use super::place::{At, Failure, Parsed, Source, SqlError};
use super::query::{Planner, Tables};
use super::relation;
use super::statement::{Statement, statements};
use super::table::{MEMORY, TableDefinition};
use crate::batch::Trigger;
use crate::error::{Error, ErrorCode};
use crate::frame::{DataFrame, StreamingQuery};
use crate::plan::logical::LogicalPlan;
use crate::plan::nullness::unmarked;
use crate::plan::{explain::explain, lower::lower};
use crate::session::Session;
use crate::sink::OutputMode;
use crate::sink::memory::MemoryTable;
use arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, Spanned, visit_relations};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::BTreeSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Statements of SQL: `CREATE TABLE`, `CREATE VIEW`, `INSERT INTO`, `SELECT`, `SET` and `EXPLAIN`.
///
/// Every table that is read is a stream, unless its option `streaming` is `false`. Each `INSERT INTO` from a stream is a query, and so is a
/// `SELECT` over streams, which writes to the console. Over tables alone both are done at once. Nothing starts before the whole script has
/// been understood.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::sql::Script;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::builder().config("tidemill.device", "cpu").build().await?;
/// let script = Script::parse(
///     "ticks.sql",
///     "CREATE TABLE ticks USING rate OPTIONS (rowsPerSecond 10);
///      CREATE TABLE odd USING memory OPTIONS (queryName 'odd', trigger 'once');
///      INSERT INTO odd SELECT timestamp, value FROM ticks WHERE value % 2 = 1",
/// )?;
/// for query in script.start(&session, &mut std::io::stdout()).await? {
///     query.await_termination().await?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Script {
    name: String,
    text: String,
    statements: Vec<Statement>,
    trigger: Option<Trigger>,
}

/// Something to do, once the whole script has been understood.
enum Action {
    /// Starts a query.
    Start { frame: DataFrame, table: Arc<TableDefinition>, span: Span },
    /// Writes a bounded frame to a table.
    Write { frame: DataFrame, table: Arc<TableDefinition>, overwrite: bool, span: Span },
    /// Prints a bounded frame.
    Show { frame: DataFrame, span: Span },
    /// Prints a plan.
    Explain(String),
}

impl Script {
    /// Reads the statements of `text`, which errors call `name`.
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR`, and statements and clauses that there are not.
    pub fn parse(name: &str, text: &str) -> Result<Self, SqlError> {
        let source = Source { name, text };
        let statements = statements(&source).map_err(|failure| source.error(failure))?;
        Ok(Self { name: name.to_string(), text: text.to_string(), statements, trigger: None })
    }

    /// The trigger of queries whose table names none.
    pub fn default_trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = Some(trigger);
        self
    }

    /// Keys and values of the `SET` statements before every other statement: for building the session.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.statements.iter().map_while(|statement| match statement {
            Statement::Set { key, value } => Some((key.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Does what the script says: defines tables and views in the session, writes rows and plans that are asked for to `output`, starts
    /// all queries. Where one does not start, those before it are stopped.
    ///
    /// # Errors
    /// Mistakes in the script, and queries that cannot start.
    pub async fn start(
        &self,
        session: &Session,
        output: &mut (dyn Write + Send),
    ) -> Result<Vec<StreamingQuery>, SqlError> {
        let source = Source { name: &self.name, text: &self.text };
        let mut started = Vec::new();
        let result = self.act(session, output, &mut started).await;
        if let Err(failure) = result {
            for query in &started {
                query.stop().await;
            }
            return Err(source.error(failure));
        }
        Ok(started)
    }

    /// The plans of the script's queries; nothing runs.
    ///
    /// # Errors
    /// Mistakes in the script.
    pub async fn explain(&self, session: &Session) -> Result<String, SqlError> {
        let source = Source { name: &self.name, text: &self.text };
        let mut text = String::new();
        for action in self.understand(session).await.map_err(|failure| source.error(failure))? {
            let (title, plan, span) = match action {
                Action::Start { frame, table, span } | Action::Write { frame, table, span, .. } => {
                    (format!("INSERT INTO {}", table.name), explanation(session, &frame).await, span)
                }
                Action::Show { frame, span } => ("SELECT".to_string(), explanation(session, &frame).await, span),
                Action::Explain(plan) => ("EXPLAIN".to_string(), Ok(plan), Span::empty()),
            };
            let plan = plan.at(span).map_err(|failure| source.error(failure))?;
            text.push_str(&format!("-- {title}\n{plan}\n"));
        }
        Ok(text)
    }

    async fn act(
        &self,
        session: &Session,
        output: &mut (dyn Write + Send),
        started: &mut Vec<StreamingQuery>,
    ) -> Parsed<()> {
        let mut print = |text: String| {
            let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
            written.map_err(|cause| Error::caused_by(ErrorCode::Io, format!("cannot write rows: {cause}"), cause))
        };
        for action in self.understand(session).await? {
            match action {
                Action::Explain(plan) => print(plan)?,
                Action::Show { frame, span } => print(relation::show(&frame).await.at(span)?)?,
                Action::Write { frame, table, overwrite, span } => {
                    table.write(&frame, overwrite).await.map_err(|e| table.blame(e).or_at(span))?;
                }
                Action::Start { frame, table, span } => {
                    let place = |error| table.blame(error).or_at(span);
                    let writer = table.writer(&frame, self.trigger).map_err(place)?;
                    started.push(writer.start().await.map_err(place)?);
                }
            }
        }
        Ok(())
    }

    /// Defines tables and views, and finds out what is to be done.
    async fn understand(&self, session: &Session) -> Parsed<Vec<Action>> {
        let mut actions = Vec::new();
        for statement in &self.statements {
            match statement {
                Statement::Explain { statement } => {
                    let (frame, span) = match &**statement {
                        Statement::Insert { table, query, overwrite } => {
                            (self.inserted(session, table, query, *overwrite).await?.0, table.span)
                        }
                        Statement::Select { query, span } => (frame_of(session, query).await?, *span),
                        _ => continue,
                    };
                    actions.push(Action::Explain(explanation(session, &frame).await.at(span)?));
                }
                Statement::Insert { table, query, overwrite } => {
                    let (span, overwrite) = (table.span, *overwrite);
                    let (frame, table) = self.inserted(session, table, query, overwrite).await?;
                    actions.push(match frame.is_streaming() {
                        true => Action::Start { frame, table, span },
                        false => Action::Write { frame, table, overwrite, span },
                    });
                }
                Statement::Select { query, span } => {
                    let (frame, span) = (frame_of(session, query).await?, *span);
                    actions.push(match frame.is_streaming() {
                        true => Action::Start { table: Arc::new(console(&frame)), frame, span },
                        false => Action::Show { frame, span },
                    });
                }
                Statement::Drop { name, .. } => {
                    let message = "DROP in a script would come before what the script starts; drop with session.sql()";
                    return Err(Failure::unsupported(message, name.span));
                }
                Statement::Settings { span, .. } => {
                    return Err(Failure::new(ErrorCode::ParseSyntaxError, "expected SET key = value", *span));
                }
                definition => define(session, definition).await?,
            }
        }
        Ok(actions)
    }

    async fn inserted(
        &self,
        session: &Session,
        name: &Ident,
        query: &Query,
        overwrite: bool,
    ) -> Parsed<(DataFrame, Arc<TableDefinition>)> {
        let table = match session.catalog().get(&name.value) {
            Some(Entry::Table(table)) => table,
            Some(Entry::View(_)) => {
                let message = format!("{} is a view, which cannot be written; INSERT INTO a table", name.value);
                return Err(Failure::new(ErrorCode::InvalidExpression, message, name.span));
            }
            None => {
                return Err(Failure::from(session.catalog().missing(&name.value, [])).or_at(name.span));
            }
        };
        let frame = frame_of(session, query).await?;
        let frame = table.assigned(frame).at(name.span)?;
        if !frame.is_streaming() {
            return Ok((frame, table));
        }
        if overwrite {
            let message = "INSERT OVERWRITE of a stream would overwrite what it writes; INSERT INTO a table with the option outputMode 'complete'";
            return Err(Failure::unsupported(message, name.span));
        }
        // Everything but the start itself can be checked now.
        table.writer(&frame, self.trigger).map_err(|e| table.blame(e).or_at(name.span))?;
        Ok((frame, table))
    }
}

/// Carries out a statement that defines something.
pub(super) async fn define(session: &Session, statement: &Statement) -> Parsed<()> {
    match statement {
        Statement::CreateTable { table, replace, if_not_exists, name } => {
            if *if_not_exists && session.catalog().get(&table.name).is_some() {
                return Ok(());
            }
            let table = Arc::new((**table).clone());
            session.catalog().put(&table.name, Entry::Table(table.clone()), *replace).at(name.span)
        }
        Statement::CreateView { name, columns, options, replace, temporary, query } => {
            let mut frame = frame_of(session, query).await?;
            if !columns.is_empty() {
                frame = renamed(&frame, columns).at(name.span)?;
            }
            let frame = options.watermarked(frame).map_err(|e| options.blame(e).or_at(name.span))?;
            let (catalog, view) = (session.catalog(), Entry::View(frame.plan().clone()));
            match temporary {
                true => catalog.put_temporary(&name.value, view, *replace).at(name.span),
                false => catalog.put(&name.value, view, *replace).at(name.span),
            }
        }
        Statement::Set { key, value } => {
            // The settings that a script begins with were given to the session's builder already.
            if session.conf().get_set(key).as_ref() != Some(value) {
                session.conf().set(key, value)?;
            }
            Ok(())
        }
        Statement::Drop { name, view, if_exists } => {
            managed::drop_relation(session, &name.value, *view, *if_exists).await.at(name.span)
        }
        Statement::Insert { .. }
        | Statement::Select { .. }
        | Statement::Explain { .. }
        | Statement::Settings { .. } => Ok(()),
    }
}

fn renamed(frame: &DataFrame, columns: &[Ident]) -> crate::Result<DataFrame> {
    let fields = frame.schema().fields();
    if fields.len() != columns.len() {
        let message = format!("the view names {} columns, but its query has {}", columns.len(), fields.len());
        return Err(Error::new(ErrorCode::InvalidExpression, message));
    }
    let named = frame.plan().scope().all().into_iter().zip(columns).map(|(e, to)| e.alias(&to.value));
    relation::select(frame, named.collect())
}

/// The frame of a query over the session's tables.
pub(super) async fn frame_of(session: &Session, query: &Query) -> Parsed<DataFrame> {
    let mut names: BTreeSet<ObjectName> = BTreeSet::new();
    let _ = visit_relations(query, |name| {
        names.insert(name.clone());
        ControlFlow::<()>::Continue(())
    });
    let mut tables = Tables::new();
    for name in names {
        let span = name.span();
        let parts = super::expression::idents(&name)?;
        match parts.as_slice() {
            // A name that is not there may be one of the query's own.
            [name] => {
                if let Some(frame) = table(session, &name.value).await.map_err(|f| f.or_at(span))? {
                    tables.insert(name.value.to_ascii_lowercase(), frame);
                }
            }
            [format, path] if path.quote_style.is_some() => {
                let options = vec![("path".to_string(), path.value.clone())];
                let frame = relation::read(session, &format.value, None, options).await.at(span)?;
                tables.insert(super::from::file_key(&format.value, &path.value), frame);
            }
            _ => {}
        }
    }
    let registry = session.functions();
    Planner { session, registry: &registry, tables: &tables }
        .query(query, &Tables::new())
        .map_err(|f| f.or_at(query.span()))
}

/// The frame of a table or view of the session.
pub(super) async fn table(session: &Session, name: &str) -> Parsed<Option<DataFrame>> {
    if let Some(kept) = session.catalog().kept(name) {
        return Ok(Some(DataFrame::from_plan(session, kept)));
    }
    Ok(match session.catalog().get(name) {
        None => session.memory_table(name).map(|rows| in_memory(session, &rows)).transpose()?,
        Some(Entry::View(plan)) => Some(DataFrame::from_plan(session, plan)),
        Some(Entry::Table(table)) if table.format == MEMORY => {
            let written = table.query_name().unwrap_or(name);
            let rows = session.memory_table(written).ok_or_else(|| {
                Error::new(
                    ErrorCode::TableNotFound,
                    format!("the table {name} is in memory, and no query has been started that writes it"),
                )
            })?;
            Some(in_memory(session, &rows)?)
        }
        Some(Entry::Table(table)) => {
            let frame = table.read(session).await.map_err(|e| table.blame(e))?;
            Some(frame)
        }
    })
}

/// What a query has written to memory so far. As of any table that is read, nothing is known of its columns' NULLs.
fn in_memory(session: &Session, table: &MemoryTable) -> crate::Result<DataFrame> {
    let schema = table.schema();
    let fields: Vec<_> = schema.fields().iter().map(|field| unmarked(field)).collect();
    DataFrame::from_batches(session, Arc::new(Schema::new(fields)), table.rows())
}

/// The console as the table of a SELECT over streams: what changed where rows can change, and every row once where they cannot.
fn console(frame: &DataFrame) -> TableDefinition {
    let aggregates = frame.plan().any(&|plan| matches!(plan, LogicalPlan::Aggregate { .. }));
    let mode = if aggregates { OutputMode::Update } else { OutputMode::Append };
    TableDefinition::console(mode)
}

async fn explanation(session: &Session, frame: &DataFrame) -> crate::Result<String> {
    if !frame.is_streaming() {
        return frame.explain().await;
    }
    let device = session.device()?;
    let lowered = lower(frame.plan())?;
    Ok(explain(frame.plan(), &lowered, &format!("{} ({})", device.name(), device.reason())))
}
