//! `spark.catalog`: what the session knows by name.
//!
//! Comes in: a question or a command. Goes out: a table of answers; a command answers without rows. Fails: tables and databases that there
//! are not, and commands that have no meaning here.

use super::relation::table_name;
use super::types::from_proto;
use super::{Planner, local, required, unsupported};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::DataFrame;
use crate::plan::names::type_name;
use crate::plan::resolve::split_path;
use crate::types::DataType;
use arrow::array::{ArrayRef, BooleanArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType as Arrow, Field};
use proto::catalog::CatType;
use spark_connect_proto as proto;
use std::sync::Arc;

/// The catalog that every table is in.
pub(super) const CATALOG: &str = "spark_catalog";
/// The database that every table is in.
pub(super) const DATABASE: &str = "default";

/// The database of global temporary views.
pub(super) const GLOBAL: &str = "global_temp";

/// The answer to a question.
pub(super) async fn answer(planner: &Planner<'_>, request: &proto::Catalog) -> Result<DataFrame> {
    let session = planner.session();
    let text = |name: &str, value: &str| local::columns(session, vec![(name, texts([Some(value)]))]);
    let flag = |value: bool| {
        let values: ArrayRef = Arc::new(BooleanArray::from(vec![value]));
        local::columns(session, vec![("value", values)])
    };
    let done = || local::nothing(session);
    match required(request.cat_type.as_ref(), "a question to the catalog")? {
        CatType::CurrentDatabase(_) => text("current_database", DATABASE),
        CatType::CurrentCatalog(_) => text("current_catalog", CATALOG),
        CatType::SetCurrentDatabase(set) => {
            only_database(Some(&set.db_name))?;
            done()
        }
        CatType::SetCurrentCatalog(set) if set.catalog_name.eq_ignore_ascii_case(CATALOG) => done(),
        CatType::SetCurrentCatalog(set) => {
            unsupported(format!("the catalog {}: all tables are in {CATALOG}", set.catalog_name))
        }
        CatType::ListCatalogs(list) => {
            let found: Vec<&str> =
                [CATALOG].into_iter().filter(|name| matches(list.pattern.as_deref(), name)).collect();
            let nothing = texts(found.iter().map(|_| None::<&str>));
            local::columns(session, vec![("name", texts(found.into_iter().map(Some))), ("description", nothing)])
        }
        CatType::ListDatabases(list) => databases(planner, matches(list.pattern.as_deref(), DATABASE)),
        CatType::GetDatabase(get) => {
            only_database(Some(&get.db_name))?;
            databases(planner, true)
        }
        CatType::DatabaseExists(exists) => flag(is_database(&exists.db_name)),
        CatType::ListTables(list) => {
            only_database(list.db_name.as_deref())?;
            let found = session.relation_names().into_iter().filter(|(name, _)| matches(list.pattern.as_deref(), name));
            tables(planner, found.collect())
        }
        CatType::ListViews(list) => {
            only_database(list.db_name.as_deref())?;
            let views = session
                .relation_names()
                .into_iter()
                .filter(|(name, view)| *view && matches(list.pattern.as_deref(), name));
            tables(planner, views.collect())
        }
        CatType::GetTable(get) => {
            only_database(get.db_name.as_deref())?;
            tables(planner, vec![known(planner, &get.table_name)?])
        }
        CatType::TableExists(exists) => {
            let here = exists.db_name.as_deref().is_none_or(is_database);
            flag(here && known(planner, &exists.table_name).is_ok())
        }
        CatType::ListColumns(list) => {
            only_database(list.db_name.as_deref())?;
            let frame = crate::sql::read_table(session, &known(planner, &list.table_name)?.0, false).await?;
            columns(planner, &frame)
        }
        CatType::ListFunctions(list) => {
            only_database(list.db_name.as_deref())?;
            let names = session.functions().names();
            functions(planner, names.into_iter().filter(|name| matches(list.pattern.as_deref(), name)).collect())
        }
        CatType::FunctionExists(exists) => {
            let name = split_path(&exists.function_name).pop().unwrap_or_default();
            flag(session.functions().contains(&name))
        }
        CatType::GetFunction(get) => {
            let name = split_path(&get.function_name).pop().unwrap_or_default().to_lowercase();
            if !session.functions().contains(&name) {
                return Err(Error::new(
                    ErrorCode::UnresolvedRoutine,
                    format!("there is no function {:?}", get.function_name),
                ));
            }
            functions(planner, vec![name])
        }
        CatType::DropTempView(drop) => flag(session.drop_temp_view(&drop.view_name)),
        CatType::DropView(drop) => match session.drop_temp_view(&table_name(&drop.view_name)?) || drop.if_exists {
            true => done(),
            false => Err(known(planner, &drop.view_name).err().unwrap_or_else(|| {
                Error::new(
                    ErrorCode::WrongObjectType,
                    format!("{} is a table and no view; use dropTable", drop.view_name),
                )
            })),
        },
        // Every view is of one session here.
        CatType::DropGlobalTempView(_) => flag(false),
        CatType::IsCached(of) => flag(session.catalog().kept(&known(planner, &of.table_name)?.0).is_some()),
        CatType::CacheTable(of) => {
            crate::sql::keep(session, &known(planner, &of.table_name)?.0).await?;
            done()
        }
        CatType::UncacheTable(of) => {
            session.catalog().let_go(&known(planner, &of.table_name)?.0);
            done()
        }
        CatType::RefreshTable(of) => {
            crate::sql::keep_again(session, &known(planner, &of.table_name)?.0).await?;
            done()
        }
        CatType::ClearCache(_) => {
            session.catalog().let_all_go();
            done()
        }
        CatType::RefreshByPath(_) => done(),
        CatType::CreateExternalTable(create) => {
            let schema = create.schema.as_ref();
            created(
                planner,
                &create.table_name,
                create.source.as_deref(),
                create.path.as_deref(),
                schema,
                &create.options,
            )
            .await
        }
        CatType::CreateTable(create) => {
            let schema = create.schema.as_ref();
            created(
                planner,
                &create.table_name,
                create.source.as_deref(),
                create.path.as_deref(),
                schema,
                &create.options,
            )
            .await
        }
        CatType::DropTable(_) => unsupported("catalog.dropTable: a table's files are yours; remove them"),
        CatType::CreateDatabase(_) | CatType::DropDatabase(_) => {
            unsupported("databases: all tables are in the database default")
        }
        CatType::RecoverPartitions(_) | CatType::ListPartitions(_) => {
            unsupported("partitions of a table: they are found when the table is read")
        }
        CatType::GetTableProperties(_) => unsupported("catalog.getTableProperties"),
        CatType::GetCreateTableString(_) => unsupported("catalog.getCreateTableString"),
        CatType::TruncateTable(_) => unsupported("catalog.truncateTable: write the table again with mode overwrite"),
        CatType::AnalyzeTable(_) => unsupported("catalog.analyzeTable: there are no statistics to keep"),
    }
}

/// A table over files by its name, and what it holds.
async fn created(
    planner: &Planner<'_>,
    name: &str,
    source: Option<&str>,
    path: Option<&str>,
    columns: Option<&proto::DataType>,
    options: &std::collections::HashMap<String, String>,
) -> Result<DataFrame> {
    let session = planner.session();
    let name = table_name(name)?;
    let Some(path) = path else {
        return unsupported(format!("createTable({name:?}) without a path: a table is over files; give path=..."));
    };
    if session.relation_names().iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
        return Err(Error::new(ErrorCode::TableExists, format!("there is a table or view named `{name}` already")));
    }
    let mut reader = session.read().format(source.unwrap_or("parquet")).option("path", path);
    // A client that is given no schema sends an empty one.
    if let Some(DataType::Struct(columns)) = columns.map(from_proto).transpose()?
        && !columns.fields.is_empty()
    {
        reader = reader.schema(columns);
    }
    for (key, value) in options {
        reader = reader.option(key, value.as_str());
    }
    let frame = reader.load().await?;
    session.replace_temp_view(&name, &frame)?;
    Ok(frame)
}

fn is_database(name: &str) -> bool {
    match split_path(name).as_slice() {
        [database] => database.eq_ignore_ascii_case(DATABASE),
        [catalog, database] => catalog.eq_ignore_ascii_case(CATALOG) && database.eq_ignore_ascii_case(DATABASE),
        _ => false,
    }
}

fn only_database(name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if !is_database(name) => Err(Error::new(
            ErrorCode::TableNotFound,
            format!("there is no database {name}; all tables are in the database {DATABASE}"),
        )),
        _ => Ok(()),
    }
}

/// The table or view of a name, as it was named, and whether it is a view.
fn known(planner: &Planner<'_>, name: &str) -> Result<(String, bool)> {
    let session = planner.session();
    let name = table_name(name)?;
    let found = session.relation_names().into_iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
    found.ok_or_else(|| session.catalog().missing(&name, []))
}

/// Whether a name fits a pattern: `*` is anything, `|` separates patterns, case does not matter.
fn matches(pattern: Option<&str>, name: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    pattern.trim().split('|').any(|pattern| {
        let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
        let matcher = regex::RegexBuilder::new(&format!("^{}$", parts.join(".*"))).case_insensitive(true).build();
        matcher.is_ok_and(|matcher| matcher.is_match(name))
    })
}

fn texts<'t>(values: impl IntoIterator<Item = Option<&'t str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

/// The same namespace for each row.
fn namespaces(values: impl IntoIterator<Item = Option<&'static str>>) -> ArrayRef {
    let element = Field::new("element", Arrow::Utf8, true);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element);
    for value in values {
        if let Some(value) = value {
            builder.values().append_value(value);
        }
        builder.append(value.is_some());
    }
    Arc::new(builder.finish())
}

fn databases(planner: &Planner<'_>, listed: bool) -> Result<DataFrame> {
    let row = |value: Option<&'static str>| texts(listed.then_some(value));
    local::columns(
        planner.session(),
        vec![
            ("name", row(Some(DATABASE))),
            ("catalog", row(Some(CATALOG))),
            ("description", row(Some("default database"))),
            ("locationUri", row(None)),
        ],
    )
}

fn tables(planner: &Planner<'_>, found: Vec<(String, bool)>) -> Result<DataFrame> {
    // A view is of the session and in no database.
    let home = |home: &'static str| found.iter().map(move |(_, view)| (!view).then_some(home));
    let temporary: Vec<bool> = found.iter().map(|(_, view)| *view).collect();
    let kind = found.iter().map(|(_, view)| Some(if *view { "TEMPORARY" } else { "EXTERNAL" }));
    local::columns(
        planner.session(),
        vec![
            ("name", texts(found.iter().map(|(name, _)| Some(name.as_str())))),
            ("catalog", texts(home(CATALOG))),
            ("namespace", namespaces(home(DATABASE))),
            ("description", texts(found.iter().map(|_| None))),
            ("tableType", texts(kind)),
            ("isTemporary", Arc::new(BooleanArray::from(temporary))),
        ],
    )
}

fn columns(planner: &Planner<'_>, frame: &DataFrame) -> Result<DataFrame> {
    let fields = frame.schema().fields();
    let types: Vec<String> = fields.iter().map(|field| type_name(field.data_type())).collect();
    let flags = |value: bool| -> ArrayRef { Arc::new(BooleanArray::from(vec![value; fields.len()])) };
    local::columns(
        planner.session(),
        vec![
            ("name", texts(fields.iter().map(|field| Some(field.name().as_str())))),
            ("description", texts(fields.iter().map(|_| None))),
            ("dataType", texts(types.iter().map(|name| Some(name.as_str())))),
            ("nullable", flags(true)),
            ("isPartition", flags(false)),
            ("isBucket", flags(false)),
            ("isCluster", flags(false)),
        ],
    )
}

fn functions(planner: &Planner<'_>, names: Vec<String>) -> Result<DataFrame> {
    let nothing = || texts(names.iter().map(|_| None));
    let temporary: ArrayRef = Arc::new(BooleanArray::from(vec![true; names.len()]));
    local::columns(
        planner.session(),
        vec![
            ("name", texts(names.iter().map(|name| Some(name.as_str())))),
            ("catalog", nothing()),
            ("namespace", namespaces(names.iter().map(|_| None))),
            ("description", nothing()),
            ("className", texts(names.iter().map(|_| Some("")))),
            ("isTemporary", temporary),
        ],
    )
}
