//! What relations and expressions are made of: the walk's edges.
//!
//! Comes in: a node. Goes out: the nodes directly below it, in the order in which the node is given them. Fails: a node without an input
//! that it needs.

use super::required;
use crate::error::Result;
use proto::expression::ExprType;
use proto::expression::window::window_frame::frame_boundary::Boundary;
use proto::relation::RelType;
use proto::{Expression, Relation};
use spark_connect_proto as proto;

/// The relations that a relation reads; the root of `with_relations` comes last.
pub(super) fn relations(relation: &Relation) -> Result<Vec<&Relation>> {
    macro_rules! one {
        ($node:expr) => {
            vec![required($node.input.as_deref(), "the input of a relation")?]
        };
    }
    macro_rules! two {
        ($left:expr, $right:expr) => {
            vec![
                required($left.as_deref(), "the left side of a relation")?,
                required($right.as_deref(), "the right side of a relation")?,
            ]
        };
    }
    let Some(kind) = &relation.rel_type else { return Ok(vec![]) };
    Ok(match kind {
        RelType::Project(r) => r.input.as_deref().into_iter().collect(),
        RelType::Filter(r) => one!(r),
        RelType::Join(r) => two!(r.left, r.right),
        RelType::SetOp(r) => two!(r.left_input, r.right_input),
        RelType::Sort(r) => one!(r),
        RelType::Limit(r) => one!(r),
        RelType::Aggregate(r) => one!(r),
        RelType::Sample(r) => one!(r),
        RelType::Offset(r) => one!(r),
        RelType::Deduplicate(r) => one!(r),
        RelType::SubqueryAlias(r) => one!(r),
        RelType::Repartition(r) => one!(r),
        RelType::ToDf(r) => one!(r),
        RelType::WithColumnsRenamed(r) => one!(r),
        RelType::ShowString(r) => one!(r),
        RelType::HtmlString(r) => one!(r),
        RelType::Drop(r) => one!(r),
        RelType::Tail(r) => one!(r),
        RelType::WithColumns(r) => one!(r),
        RelType::Hint(r) => one!(r),
        RelType::Unpivot(r) => one!(r),
        RelType::ToSchema(r) => one!(r),
        RelType::RepartitionByExpression(r) => one!(r),
        RelType::CollectMetrics(r) => one!(r),
        RelType::Parse(r) => one!(r),
        RelType::WithWatermark(r) => one!(r),
        RelType::Transpose(r) => one!(r),
        RelType::FillNa(r) => one!(r),
        RelType::DropNa(r) => one!(r),
        RelType::Replace(r) => one!(r),
        RelType::Summary(r) => one!(r),
        RelType::Crosstab(r) => one!(r),
        RelType::Describe(r) => one!(r),
        RelType::Cov(r) => one!(r),
        RelType::Corr(r) => one!(r),
        RelType::ApproxQuantile(r) => one!(r),
        RelType::FreqItems(r) => one!(r),
        RelType::SampleBy(r) => one!(r),
        RelType::MapPartitions(r) => one!(r),
        RelType::GroupMap(r) => one!(r),
        RelType::CoGroupMap(r) => two!(r.input, r.other),
        RelType::WithRelations(r) => {
            let root = required(r.root.as_deref(), "the root of with_relations")?;
            r.references.iter().chain(std::iter::once(root)).collect()
        }
        // The right side may mention rows of the left one, and is made when these are known.
        RelType::LateralJoin(r) => vec![required(r.left.as_deref(), "the left side of a lateral join")?],
        // Sources, and relations that are refused before anything is read.
        _ => vec![],
    })
}

/// Whether what `with_relations` brings is for a SQL text, where it has names.
pub(super) fn mentions_sql(with: &proto::WithRelations) -> bool {
    matches!(with.root.as_deref().and_then(|root| root.rel_type.as_ref()), Some(RelType::Sql(_)))
}

/// The expressions that an expression is made of.
pub(super) fn expressions(expression: &Expression) -> Result<Vec<&Expression>> {
    let Some(kind) = &expression.expr_type else { return Ok(vec![]) };
    Ok(match kind {
        ExprType::UnresolvedFunction(call) => call.arguments.iter().collect(),
        ExprType::CallFunction(call) => call.arguments.iter().collect(),
        // Whoever calls the function knows the names from the call itself.
        ExprType::CommonInlineUserDefinedFunction(call) => {
            let mut values = Vec::with_capacity(call.arguments.len());
            for argument in &call.arguments {
                values.push(match &argument.expr_type {
                    Some(ExprType::NamedArgumentExpression(named)) => {
                        required(named.value.as_deref(), "the value of a named argument")?
                    }
                    _ => argument,
                });
            }
            values
        }
        ExprType::Alias(alias) => vec![required(alias.expr.as_deref(), "the expression of an alias")?],
        ExprType::Cast(cast) => vec![required(cast.expr.as_deref(), "the value of a cast")?],
        ExprType::LambdaFunction(lambda) => vec![required(lambda.function.as_deref(), "the body of a lambda")?],
        ExprType::UnresolvedExtractValue(extract) => vec![
            required(extract.child.as_deref(), "the value to extract from")?,
            required(extract.extraction.as_deref(), "the key to extract")?,
        ],
        ExprType::UpdateFields(update) => {
            let parent = required(update.struct_expression.as_deref(), "the struct of a field")?;
            std::iter::once(parent).chain(update.value_expression.as_deref()).collect()
        }
        ExprType::Window(window) => {
            let mut parts = vec![required(window.window_function.as_deref(), "the function of a window")?];
            parts.extend(&window.partition_spec);
            for order in &window.order_spec {
                parts.push(required(order.child.as_deref(), "the expression of a sort order")?);
            }
            for bound in window.frame_spec.iter().flat_map(|frame| [&frame.lower, &frame.upper]).flatten() {
                if let Some(Boundary::Value(value)) = &bound.boundary {
                    parts.push(value);
                }
            }
            parts
        }
        ExprType::SubqueryExpression(subquery) => subquery.in_subquery_values.iter().collect(),
        _ => vec![],
    })
}
