//! One relation over the frames of those that it reads.
//!
//! Comes in: a relation and its inputs' frames. Goes out: its frame. Fails: relations that there are not, by name, and what the operation
//! on a frame fails with.

use super::expression::sort_key;
use super::{
    Planner, catalog, literal, local, missing, parse, python, required, select, set, show, sql, statistics, unsupported,
};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, DataFrame, JoinOn};
use crate::functions::schema_text;
use crate::plan::logical::JoinType;
use crate::plan::resolve::split_path;
use crate::types::{DataType, StructType};
use datafusion::logical_expr::Expr;
use datafusion::prelude::lit;
use proto::aggregate::GroupType;
use proto::join::JoinType as ProtoJoin;
use proto::read::ReadType;
use proto::relation::RelType;
use spark_connect_proto as proto;

/// The frame of a relation.
pub(super) async fn build(
    planner: &mut Planner<'_>,
    relation: &proto::Relation,
    inputs: Vec<DataFrame>,
) -> Result<DataFrame> {
    let kind = required(relation.rel_type.as_ref(), "a relation")?;
    refuse_carried(planner, kind, &inputs)?;
    let made = made(planner, kind, inputs).await;
    // What no relation has taken up is a column that is nowhere.
    if made.as_ref().err().is_none_or(|error| error.code() == ErrorCode::UnresolvedColumn) {
        planner.refuse_pending()?;
    }
    made
}

/// Refuses relations of rows that carry the rows around them, where it is not written what that means.
fn refuse_carried(planner: &Planner<'_>, kind: &RelType, inputs: &[DataFrame]) -> Result<()> {
    let carrying = inputs.iter().filter(|input| !planner.carried(input).is_empty()).count();
    let known = match kind {
        RelType::Project(_)
        | RelType::Filter(_)
        | RelType::Sort(_)
        | RelType::Limit(_)
        | RelType::SubqueryAlias(_)
        | RelType::Repartition(_)
        | RelType::RepartitionByExpression(_)
        | RelType::Hint(_)
        | RelType::WithColumnsRenamed(_)
        | RelType::WithColumns(_)
        | RelType::Drop(_)
        | RelType::WithRelations(_) => true,
        RelType::Join(_) => carrying == 1,
        RelType::Deduplicate(deduplicate) => deduplicate.all_columns_as_keys() && !deduplicate.within_watermark(),
        RelType::Aggregate(aggregate) => matches!(aggregate.group_type(), GroupType::Groupby | GroupType::Unspecified),
        _ => false,
    };
    match carrying == 0 || known {
        true => Ok(()),
        false => unsupported(
            "in a DataFrame that mentions columns of the rows around it, this operation is not supported above the place where it does; \
             write it as a join",
        ),
    }
}

async fn made(planner: &mut Planner<'_>, kind: &RelType, inputs: Vec<DataFrame>) -> Result<DataFrame> {
    let session = planner.session();
    let mut frames = inputs.into_iter();
    let mut input = || frames.next().ok_or_else(|| Error::internal("a relation without its input"));
    match kind {
        RelType::Read(read) => load(planner, read).await,
        RelType::Project(project) => {
            let frame = match &project.input {
                Some(_) => input()?,
                None => local::one_row(session)?,
            };
            select::project(planner, frame, &project.expressions).await
        }
        RelType::Filter(filter) => {
            let condition = planner.expression(required(filter.condition.as_ref(), "the condition of a filter")?)?;
            let own = input()?;
            let (beside, mut conditions) = planner.beside(own.clone(), vec![condition.0?])?;
            let attached = planner.attached(beside.clone()).await?;
            let condition = conditions.pop().ok_or_else(|| Error::internal("a filter without a condition"))?;
            let filtered = missing::filtered(&attached, Column::from(condition))?;
            missing::first(&filtered, beside.schema().fields().len())
        }
        RelType::Join(join) => {
            let (left, right) = (input()?, input()?);
            joined(planner, join, &left, &right)
        }
        RelType::SetOp(operation) => set::combined(&input()?, &input()?, operation),
        RelType::Sort(sort) => {
            let keys = sort.order.iter().map(|order| sort_key(planner, order)).collect::<Result<Vec<_>>>()?;
            missing::sorted(&input()?, keys)
        }
        RelType::Limit(limit) => {
            let (input, rows) = (input()?, count(limit.limit, "limit")?);
            match planner.carried(&input).is_empty() {
                true => Ok(input.limit(rows)),
                false => planner.carrying_limit(&input, rows),
            }
        }
        RelType::Offset(offset) => Ok(input()?.offset(count(offset.offset, "offset")?)),
        RelType::Tail(tail) => {
            let rows = count(tail.limit, "tail")?;
            local::tail(&input()?, rows).await
        }
        RelType::Aggregate(aggregate) => grouped(planner, aggregate, &input()?).await,
        RelType::Sql(query) => sql::query(planner, query).await,
        RelType::LocalRelation(rows) => local::relation(session, rows),
        RelType::CachedLocalRelation(cached) => local::cached(planner.resources, cached),
        RelType::ChunkedCachedLocalRelation(cached) => local::chunked(planner.resources, cached),
        RelType::CachedRemoteRelation(cached) => {
            planner.resources.remote_relation(&cached.relation_id).ok_or_else(|| {
                let message = format!(
                    "there is no DataFrame {} in this session; it was released, or belongs to another: that of foreachBatch to its sparkSession",
                    cached.relation_id
                );
                Error::new(ErrorCode::DataFrameNotFound, message).with_parameter("dfId", &cached.relation_id)
            })
        }
        RelType::Range(range) => DataFrame::range(session, range.start.unwrap_or(0), range.end, range.step),
        RelType::SubqueryAlias(alias) => Ok(input()?.alias(&alias.alias)),
        // Where rows are is not decided by a program here.
        RelType::Repartition(_) | RelType::RepartitionByExpression(_) | RelType::Hint(_) => input(),
        RelType::ToDf(names) => {
            let names: Vec<&str> = names.column_names.iter().map(String::as_str).collect();
            input()?.to_df(&names)
        }
        RelType::WithColumnsRenamed(renames) => select::with_columns_renamed(input()?, renames),
        RelType::WithColumns(with) => select::with_columns(planner, input()?, &with.aliases).await,
        RelType::Drop(drop) => select::dropped(planner, &input()?, drop),
        RelType::ToSchema(to) => select::to_schema(&input()?, required(to.schema.as_ref(), "the schema of to()")?),
        RelType::ShowString(show) => show::string(&input()?, show).await,
        RelType::HtmlString(show) => show::html(&input()?, show).await,
        RelType::WithWatermark(watermark) => input()?.with_watermark(&watermark.event_time, &watermark.delay_threshold),
        RelType::Deduplicate(deduplicate) => {
            let columns: Vec<&str> = deduplicate.column_names.iter().map(String::as_str).collect();
            let columns = if deduplicate.all_columns_as_keys() { &[][..] } else { columns.as_slice() };
            match deduplicate.within_watermark() {
                true => input()?.drop_duplicates_within_watermark(columns),
                false => input()?.drop_duplicates(columns),
            }
        }
        RelType::CollectMetrics(observation) => {
            let metrics = observation.metrics.iter().map(|metric| planner.expression(metric));
            let metrics = metrics.collect::<Result<Vec<_>>>()?;
            input()?.observe(&observation.name, metrics)
        }
        RelType::Parse(given) => parse::parsed(&input()?, given).await,
        RelType::Catalog(request) => catalog::answer(planner, request).await,
        RelType::UnresolvedTableValuedFunction(call) => {
            let mut arguments = Vec::new();
            for argument in &call.arguments {
                arguments.push(planner.expression(argument)?.0?);
            }
            if let Some((row, arguments)) = planner.carrying_generator(arguments.clone())? {
                let call = session.functions().call(&call.function_name, arguments, false)?;
                return planner.carrying_selection(&row, vec![Column::from(call)]);
            }
            select::table_function(session, &call.function_name, arguments)
        }
        // The root comes last.
        RelType::WithRelations(_) => frames.last().ok_or_else(|| Error::internal("with_relations without a root")),
        RelType::Sample(sample) => statistics::sample(&input()?, sample),
        RelType::FillNa(fill) => statistics::fill(&input()?, fill),
        RelType::DropNa(drop) => statistics::drop(&input()?, drop),
        RelType::Replace(replace) => statistics::replace(&input()?, replace),
        RelType::Summary(summary) => statistics::summary(&input()?, summary),
        RelType::Describe(describe) => statistics::describe(&input()?, describe),
        RelType::Crosstab(crosstab) => input()?.crosstab(&crosstab.col1, &crosstab.col2).await,
        RelType::Cov(cov) => input()?.cov(&cov.col1, &cov.col2),
        RelType::Corr(corr) => statistics::corr(&input()?, corr),
        RelType::ApproxQuantile(quantile) => statistics::approx_quantile(&input()?, quantile),
        RelType::FreqItems(items) => statistics::freq_items(&input()?, items),
        RelType::SampleBy(sample) => statistics::sample_by(planner, &input()?, sample),
        RelType::Unpivot(unpivot) => statistics::unpivot(planner, &input()?, unpivot),
        RelType::Transpose(transpose) => statistics::transpose(&input()?, transpose).await,
        RelType::MapPartitions(map) => python::map(planner, &input()?, map),
        RelType::GroupMap(map) => python::map_groups(planner, &input()?, map),
        RelType::CoGroupMap(map) => {
            let (left, right) = (input()?, input()?);
            python::map_cogroups(planner, &left, &right, map)
        }
        RelType::ApplyInPandasWithState(_) => unsupported(
            "applyInPandasWithState is not run here, because state of a key would have to be kept for a Python worker; use agg, \
             dropDuplicatesWithinWatermark, or StatefulProcessor in Rust",
        ),
        RelType::CommonInlineUserDefinedTableFunction(function) => {
            unsupported(format!("the table function {} in Python is not run here", function.function_name))
        }
        RelType::CommonInlineUserDefinedDataSource(source) => {
            unsupported(format!("the data source {} in Python is not run here", source.name))
        }
        RelType::AsOfJoin(_) => unsupported("as-of joins: join with a condition over both times"),
        RelType::LateralJoin(join) => {
            let left = input()?;
            planner.lateral(&left, join).await
        }
        RelType::NearestByJoin(_) => unsupported("nearest-by joins: join, and take the first by row"),
        RelType::Zip(_) => unsupported("zip(): rows of two frames have no order in common; join them by a key"),
        RelType::RelationChanges(changes) => unsupported(format!(
            "changes of the table {}: sources keep no history of changes",
            changes.unparsed_identifier
        )),
        RelType::MlRelation(_) => unsupported("machine learning (pyspark.ml) is not part of this engine"),
        RelType::Extension(extension) => unsupported(format!("the relation extension {}", extension.type_url)),
        RelType::Unknown(_) => unsupported("a relation that the client does not name"),
    }
}

/// A number of rows.
fn count(rows: i32, name: &str) -> Result<u64> {
    u64::try_from(rows).map_err(|_| {
        Error::new(ErrorCode::NegativeLimit, format!("{name}({rows}): the number of rows must not be negative"))
            .with_parameter("name", name)
            .with_parameter("v", rows)
            .with_parameter("expr", format!("\"{rows}\""))
    })
}

async fn load(planner: &Planner<'_>, read: &proto::Read) -> Result<DataFrame> {
    let session = planner.session();
    match required(read.read_type.as_ref(), "what to read")? {
        ReadType::NamedTable(table) => {
            let name = table_name(&table.unparsed_identifier)?;
            crate::sql::read_table(session, &name, read.is_streaming).await
        }
        ReadType::DataSource(source) => {
            if !source.predicates.is_empty() {
                return unsupported("read.jdbc(predicates=...): there is no JDBC source");
            }
            let schema = source.schema.as_deref().filter(|text| !text.is_empty()).map(schema).transpose()?;
            let format = source.format.as_deref().filter(|name| !name.is_empty()).unwrap_or("parquet");
            macro_rules! load {
                ($reader:expr) => {{
                    let mut reader = $reader.format(format);
                    if let Some(schema) = &schema {
                        reader = reader.schema(schema);
                    }
                    for (key, value) in &source.options {
                        reader = reader.option(key, value.as_str());
                    }
                    reader = match source.paths.as_slice() {
                        [] => reader,
                        [path] => reader.option("path", path.as_str()),
                        paths => reader.option("paths", serde_json::Value::from(paths).to_string()),
                    };
                    reader.load().await
                }};
            }
            match read.is_streaming {
                true => load!(session.read_stream()),
                false => load!(session.read()),
            }
        }
    }
}

/// The schema of a text: columns in DDL, or the JSON of a `StructType`.
pub(super) fn schema(text: &str) -> Result<StructType> {
    match schema_text::parse(text)? {
        DataType::Struct(schema) => Ok(schema),
        other => Err(Error::new(
            ErrorCode::ParseSyntaxError,
            format!("{text:?} is a type ({other:?}), and a schema names columns: \"a INT, b STRING\""),
        )),
    }
}

/// The name of a table without the catalog and database that all tables are in.
pub(super) fn table_name(identifier: &str) -> Result<String> {
    let mut parts = split_path(identifier);
    let name = parts.pop().unwrap_or_default();
    let home = match parts.as_slice() {
        [] => true,
        [database] => [catalog::DATABASE, catalog::GLOBAL].iter().any(|home| database.eq_ignore_ascii_case(home)),
        [catalog, database] => {
            catalog.eq_ignore_ascii_case(catalog::CATALOG) && database.eq_ignore_ascii_case(catalog::DATABASE)
        }
        _ => false,
    };
    match home {
        true => Ok(name),
        false => Err(Error::new(
            ErrorCode::TableNotFound,
            format!(
                "there is no table or view named {identifier}; all tables are in the database {}",
                catalog::DATABASE
            ),
        )),
    }
}

fn joined(planner: &Planner<'_>, join: &proto::Join, left: &DataFrame, right: &DataFrame) -> Result<DataFrame> {
    let join_type = match join.join_type() {
        ProtoJoin::Unspecified | ProtoJoin::Inner => JoinType::Inner,
        ProtoJoin::FullOuter => JoinType::FullOuter,
        ProtoJoin::LeftOuter => JoinType::LeftOuter,
        ProtoJoin::RightOuter => JoinType::RightOuter,
        ProtoJoin::LeftAnti => JoinType::LeftAnti,
        ProtoJoin::LeftSemi => JoinType::LeftSemi,
        ProtoJoin::Cross => JoinType::Cross,
    };
    match (&join.join_condition, join.using_columns.as_slice()) {
        (Some(condition), []) => {
            // A cross join with a condition is an inner join.
            let join_type = if join_type == JoinType::Cross { JoinType::Inner } else { join_type };
            left.join(right, JoinOn::Condition(planner.expression(condition)?.0?), join_type)
        }
        (None, []) if matches!(join_type, JoinType::Inner | JoinType::Cross) => left.cross_join(right),
        (None, []) => left.join(right, JoinOn::Condition(lit(true)), join_type),
        (None, columns) => left.join(right, JoinOn::Columns(columns.to_vec()), join_type),
        (Some(_), _) => Err(Error::new(
            ErrorCode::InvalidExpression,
            "a join has a condition or columns that both sides have, and not both",
        )),
    }
}

async fn grouped(planner: &Planner<'_>, aggregate: &proto::Aggregate, input: &DataFrame) -> Result<DataFrame> {
    let columns = |expressions: &[proto::Expression]| -> Result<Vec<Column>> {
        expressions.iter().map(|expression| planner.expression(expression)).collect()
    };
    let keys = columns(&aggregate.grouping_expressions)?;
    let calls = columns(&aggregate.aggregate_expressions)?;
    planner.refuse_pending()?;
    let count = keys.len();
    let all = keys.into_iter().chain(calls).map(|column| column.0).collect::<Result<Vec<_>>>()?;
    let (input, mut keys) = planner.beside(input.clone(), all)?;
    let calls: Vec<Column> = keys.split_off(count).into_iter().map(Column::from).collect();
    let keys: Vec<Column> = keys.into_iter().map(Column::from).collect();
    if !planner.carried(&input).is_empty() {
        return planner.carrying_aggregate(&input, keys, calls);
    }
    let groups = match aggregate.group_type() {
        GroupType::Groupby | GroupType::Unspecified => input.group_by(keys)?,
        GroupType::Rollup => input.rollup(keys)?,
        GroupType::Cube => input.cube(keys)?,
        GroupType::GroupingSets => {
            let sets = aggregate.grouping_sets.iter().map(|set| columns(&set.grouping_set));
            input.grouping_sets(sets.collect::<Result<Vec<_>>>()?, keys)?
        }
        GroupType::Pivot => {
            let pivot = required(aggregate.pivot.as_ref(), "the column of a pivot")?;
            let column = planner.expression(required(pivot.col.as_ref(), "the column of a pivot")?)?;
            let groups = input.group_by(keys)?;
            match pivot.values.as_slice() {
                [] => groups.pivot_distinct(column).await?,
                values => {
                    let value = |value| Ok(Column::from(Expr::Literal(literal::scalar(value)?, None)));
                    groups.pivot(column, values.iter().map(value).collect::<Result<Vec<Column>>>()?)?
                }
            }
        }
    };
    groups.agg(calls)
}
