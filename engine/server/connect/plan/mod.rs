//! The plans of Spark Connect as the engine's frames and columns.
//!
//! Comes in: the protocol's relations and expressions. Goes out: [`DataFrame`]s and [`Column`]s. Fails: relations, expressions and
//! functions that there are not, by name, and what the operations on frames fail with.
//!
//! A plan may be as deep as its sender likes (a loop of a thousand `withColumn` is a thousand relations), so relations and expressions are
//! walked with a stack of their own: first what a node reads, then the node.

mod catalog;
mod children;
mod expression;
pub(crate) mod literal;
mod local;
mod missing;
mod parse;
mod python;
pub(super) mod questions;
mod relation;
mod select;
mod set;
mod show;
mod sql;
mod statistics;
mod subquery;
#[cfg(test)]
mod tests;
pub(crate) mod types;
mod window;

use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, DataFrame};
use crate::plan::rows_function::RowsFunction;
use crate::server::python::GroupedInput;
use crate::session::Session;
use crate::sql::Entry;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::logical_expr::Expr;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use spark_connect_proto as proto;
use spark_connect_proto::relation::RelType;
use std::collections::HashMap;
use std::sync::Arc;
use subquery::{Around, Pending};

/// What a plan refers to beside itself.
pub(crate) trait Resources: Send + Sync {
    /// The engine's session: catalog, configuration, functions.
    fn session(&self) -> &Session;

    /// A block that the client has sent before, by its hash.
    fn artifact(&self, hash: &str) -> Option<Bytes>;

    /// A frame that the server keeps for the client.
    fn remote_relation(&self, id: &str) -> Option<DataFrame>;

    /// The frame of a relation that the client has asked to be kept.
    fn persisted(&self, relation: &proto::Relation) -> Option<Kept>;

    /// The expression of a function that the client has sent with the plan.
    ///
    /// # Errors
    /// Functions that cannot be run here.
    fn python_udf(&self, function: &proto::CommonInlineUserDefinedFunction, arguments: Vec<Expr>) -> Result<Expr>;

    /// A function over the rows of relations that the client has sent with the plan, and the columns of what it makes.
    ///
    /// # Errors
    /// Functions that cannot be run here.
    fn rows_function(
        &self,
        function: &proto::CommonInlineUserDefinedFunction,
        inputs: Vec<GroupedInput>,
    ) -> Result<(Arc<dyn RowsFunction>, SchemaRef)>;
}

/// A frame that keeps its rows, and the frames of the numbered relations that it is made of: a program may name their columns.
#[derive(Clone)]
pub(crate) struct Kept {
    frame: DataFrame,
    parts: HashMap<i64, DataFrame>,
}

/// Makes the frames of one request. It remembers the frame of every numbered relation, because `df.city` means the column of that frame, and
/// because a relation that stands in a plan twice is one.
pub(crate) struct Planner<'r> {
    resources: &'r dyn Resources,
    frames: HashMap<i64, DataFrame>,
    /// The same of the relations around the one that is being made, the outermost first.
    outside: Vec<HashMap<i64, DataFrame>>,
    /// Relations that expressions mention by their number.
    subplans: HashMap<i64, proto::Relation>,
    /// Those of them that an expression has mentioned, until they stand beside a frame.
    pending: Mutex<Vec<Pending>>,
    /// The rows around the relation that is being made.
    around: Option<Around>,
    /// Views that hold while a plan is made, with what their names stood for before.
    views: Vec<(String, Option<Entry>)>,
}

/// What is to be done next.
enum Step<'p> {
    /// Make the frames that a relation reads, then its own.
    Visit(&'p proto::Relation),
    /// Make the frame of a relation from those of the relations that it reads, which are this many.
    Build(&'p proto::Relation, usize),
    /// Give names to the frames of these references, which a SQL text may use.
    Define(&'p [proto::Relation]),
}

impl<'r> Planner<'r> {
    /// A planner for one request.
    pub fn new(resources: &'r dyn Resources) -> Self {
        Self {
            resources,
            frames: HashMap::new(),
            outside: Vec::new(),
            subplans: HashMap::new(),
            pending: Mutex::default(),
            around: None,
            views: Vec::new(),
        }
    }

    fn session(&self) -> &'r Session {
        self.resources.session()
    }

    /// The frame of a relation. Relations that are results (`show_string`, `describe`, `tail`) are computed here.
    ///
    /// # Errors
    /// What cannot be made into a frame, by name; unknown columns, types that do not fit.
    pub async fn relation(&mut self, relation: &proto::Relation) -> Result<DataFrame> {
        let made = self.walk(relation).await;
        // Views of a plan go with it, also where it has failed.
        for (name, before) in std::mem::take(&mut self.views).into_iter().rev() {
            self.session().restore_temp_view(&name, before)?;
        }
        made
    }

    /// The frame of a relation, which from now on keeps its rows.
    ///
    /// # Errors
    /// As [`Planner::relation`]; streams.
    pub async fn kept(mut self, relation: &proto::Relation) -> Result<Kept> {
        let frame = self.relation(relation).await?.cached()?;
        Ok(Kept { frame, parts: self.frames })
    }

    /// A relation inside another. Boxed, as relations may stand in each other.
    fn nested<'p>(&'p mut self, relation: &'p proto::Relation) -> BoxFuture<'p, Result<DataFrame>> {
        Box::pin(self.walk(relation))
    }

    async fn walk(&mut self, root: &proto::Relation) -> Result<DataFrame> {
        let mut steps = vec![Step::Visit(root)];
        let mut made: Vec<DataFrame> = Vec::new();
        while let Some(step) = steps.pop() {
            match step {
                Step::Visit(relation) => {
                    if let Some(known) = plan_id(relation).and_then(|id| self.frames.get(&id)) {
                        made.push(known.clone());
                        continue;
                    }
                    if let Some(kept) = self.resources.persisted(relation) {
                        self.frames.extend(kept.parts);
                        self.frames.extend(plan_id(relation).map(|id| (id, kept.frame.clone())));
                        made.push(kept.frame);
                        continue;
                    }
                    if let Some(RelType::WithRelations(with)) = &relation.rel_type
                        && !children::mentions_sql(with)
                    {
                        // They are made where an expression mentions them, because they may mention the rows there.
                        let known =
                            with.references.iter().filter_map(|reference| Some((plan_id(reference)?, reference)));
                        self.subplans.extend(known.map(|(id, reference)| (id, reference.clone())));
                        steps.push(Step::Build(relation, 1));
                        steps.extend(with.root.as_deref().map(Step::Visit));
                        continue;
                    }
                    let inputs = children::relations(relation)?;
                    steps.push(Step::Build(relation, inputs.len()));
                    if let Some(RelType::WithRelations(with)) = &relation.rel_type {
                        steps.extend(with.root.as_deref().map(Step::Visit));
                        steps.push(Step::Define(&with.references));
                        steps.extend(with.references.iter().rev().map(Step::Visit));
                    } else {
                        steps.extend(inputs.into_iter().rev().map(Step::Visit));
                    }
                }
                Step::Define(references) => {
                    for reference in references {
                        self.define(reference)?;
                    }
                }
                Step::Build(relation, inputs) => {
                    let inputs = made.split_off(made.len().saturating_sub(inputs));
                    let frame = relation::build(self, relation, inputs).await?;
                    if let Some(id) = plan_id(relation) {
                        self.frames.insert(id, frame.clone());
                    }
                    made.push(frame);
                }
            }
        }
        made.pop().ok_or_else(|| Error::internal("a plan without a frame"))
    }

    /// A reference that has a name is a view of that name to the plan.
    fn define(&mut self, reference: &proto::Relation) -> Result<()> {
        let Some(RelType::SubqueryAlias(alias)) = &reference.rel_type else { return Ok(()) };
        let Some(frame) = plan_id(reference).and_then(|id| self.frames.get(&id)) else { return Ok(()) };
        let before = self.session().replace_temp_view(&alias.alias, frame)?;
        self.views.push((alias.alias.clone(), before));
        Ok(())
    }

    /// The column of an expression.
    ///
    /// # Errors
    /// Expressions and functions that there are not, by name.
    pub fn expression(&self, expression: &proto::Expression) -> Result<Column> {
        expression::column(self, expression)
    }

    /// The frame of the relation of this number.
    fn frame(&self, id: i64) -> Result<&DataFrame> {
        let outside = || self.outside.iter().rev().find_map(|frames| frames.get(&id));
        self.frames.get(&id).or_else(outside).ok_or_else(|| {
            Error::new(
                ErrorCode::DataFrameColumn,
                "a column belongs to a DataFrame that is not part of this one; join with that DataFrame, or use col(name)",
            )
        })
    }
}

fn plan_id(relation: &proto::Relation) -> Option<i64> {
    relation.common.as_ref().and_then(|common| common.plan_id)
}

/// A part of a message that must be there.
fn required<T>(part: Option<T>, name: &str) -> Result<T> {
    part.ok_or_else(|| {
        Error::new(ErrorCode::InvalidExpression, format!("the plan lacks {name}; the client sent half of it"))
    })
}

fn unsupported<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorCode::UnsupportedOperation, message))
}
