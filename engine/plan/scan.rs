//! What is decoded of a source: the columns a query reads, with `from_json` lifted into the decoder.
//!
//! Comes in: expressions over a source's columns. `from_json(value, schema).field` becomes a decoded column of its own, so
//! only the fields that are read are parsed, and each only once. Goes out: a [`Scan`]. Fails: only on broken
//! promises of the analysis.

use super::lower::{Step, mentions};
use super::resolve::{df_schema, get_field_parts};
use super::scope::distinct_names;
use super::spark_function::{Kind, SparkFunction};
use crate::error::{Error, Result};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, ExprSchemable};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The columns that a branch decodes.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Columns in the order in which expressions see them.
    pub columns: Vec<ScanColumn>,
    /// The same as a schema; a dictionary column has its dictionary type.
    pub schema: SchemaRef,
    /// Indices of the source's columns to read, ascending.
    pub projection: Vec<usize>,
    /// JSON columns that are parsed field by field.
    pub json: Vec<JsonColumn>,
}

/// A decoded column.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanColumn {
    /// Name that expressions use.
    pub name: String,
    /// Type before dictionary encoding.
    pub data_type: DataType,
    /// Where it comes from.
    pub from: From,
    /// Whether it is wanted as dictionary codes.
    pub dictionary: bool,
}

/// Origin of a decoded column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The source's column of this index.
    Source(usize),
    /// Field `field` of [`Scan::json`]`[column]`.
    Json { column: usize, field: usize },
}

/// A source column of JSON text, and the call that parses it.
#[derive(Debug, Clone)]
pub struct JsonColumn {
    /// The source's column.
    pub source: usize,
    /// The `from_json` call: schema, options, environment.
    pub function: SparkFunction,
}

/// Collects what expressions read.
pub struct ScanBuilder {
    source: SchemaRef,
    /// Source columns, then lifted fields.
    known: Vec<ScanColumn>,
    json: Vec<JsonColumn>,
    plain: BTreeSet<String>,
    coded: BTreeSet<String>,
    /// What is evaluated on every row, when a filter follows that removes some.
    unfiltered: Option<Vec<Expr>>,
    /// Columns that steps add.
    added: Vec<(String, DataType)>,
}

impl ScanBuilder {
    /// A builder over a source's columns, for a branch of these steps.
    pub fn new(source: SchemaRef, steps: &[Step]) -> Self {
        let first_filter = steps.iter().position(|step| matches!(step, Step::Filter(_)));
        let unfiltered =
            first_filter.map(|at| steps.iter().take(at + 1).flat_map(Step::expressions).cloned().collect());
        let added = steps.iter().filter_map(|step| match step {
            Step::Expand(expand) => Some(expand.columns.clone()),
            _ => None,
        });
        let added = added.flatten().collect();
        let named = source.fields().iter().zip(distinct_names(&source));
        let known = named.enumerate().map(|(index, (field, name))| ScanColumn {
            name,
            data_type: field.data_type().clone(),
            from: From::Source(index),
            dictionary: false,
        });
        Self {
            known: known.collect(),
            source,
            json: vec![],
            plain: BTreeSet::new(),
            coded: BTreeSet::new(),
            unfiltered,
            added,
        }
    }

    /// `expr` with every field of a `from_json` over a source column replaced by a decoded column.
    pub fn lift(&mut self, expr: Expr) -> Result<Expr> {
        let lifted = expr.transform_down(|e| {
            let Expr::ScalarFunction(call) = &e else { return Ok(Transformed::no(e)) };
            match get_field_parts(call).and_then(|(parent, field)| self.lifted(parent, field)) {
                Some(column) => Ok(Transformed::yes(column)),
                None => Ok(Transformed::no(e)),
            }
        })?;
        Ok(lifted.data)
    }

    /// [`ScanBuilder::lift`] for everything that steps evaluate.
    pub fn lift_steps(&mut self, steps: &mut [Step]) -> Result<()> {
        for expr in steps.iter_mut().flat_map(Step::expressions_mut) {
            *expr = self.lift(expr.clone())?;
        }
        Ok(())
    }

    fn lifted(&mut self, parent: &Expr, field: &str) -> Option<Expr> {
        let Expr::ScalarFunction(call) = parent else { return None };
        let function = SparkFunction::of(call)?;
        let Kind::FromJson { schema, fail_fast, .. } = &function.kind else { return None };
        // The decoder parses every row; one that a filter removes must not end the query.
        if *fail_fast && self.unfiltered.as_ref().is_some_and(|seen| !seen.iter().any(|e| mentions(e, parent))) {
            return None;
        }
        let text = match call.args.first()? {
            Expr::ScalarFunction(cast) => match SparkFunction::of(cast).map(|f| &f.kind) {
                Some(Kind::Cast { to: DataType::Utf8, .. }) => cast.args.first()?,
                _ => return None,
            },
            other => other,
        };
        let Expr::Column(column) = text else { return None };
        let source = distinct_names(&self.source).iter().position(|name| *name == column.name)?;
        if !matches!(self.source.field(source).data_type(), DataType::Binary | DataType::Utf8) {
            return None;
        }
        let field = schema.fields.iter().position(|f| f.name == field)?;
        let (name, data_type) = (&schema.fields[field].name, schema.fields[field].data_type.to_arrow());
        let known = self.json.iter().position(|j| j.source == source && &j.function == function);
        let column = known.unwrap_or_else(|| {
            self.json.push(JsonColumn { source, function: function.clone() });
            self.json.len() - 1
        });
        let name = format!("{}#{column}.{name}", self.source.field(source).name());
        if !self.known.iter().any(|c| c.name == name) {
            let from = From::Json { column, field };
            self.known.push(ScanColumn { name: name.clone(), data_type, from, dictionary: false });
        }
        Some(Expr::Column(datafusion::common::Column::new_unqualified(name)))
    }

    /// Notes that `expr` is evaluated on the decoded columns as they are.
    pub fn plain(&mut self, expr: &Expr) -> Result<()> {
        for column in expr.column_refs() {
            self.plain.insert(column.name.clone());
        }
        Ok(())
    }

    /// [`ScanBuilder::plain`] for everything that steps evaluate.
    pub fn plain_steps(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().flat_map(Step::expressions).try_for_each(|expr| self.plain(expr))
    }

    /// Notes that a text column is used by its dictionary codes.
    pub fn coded(&mut self, column: &str) {
        self.coded.insert(column.to_string());
    }

    /// The schema of everything that expressions may name.
    pub fn known_schema(&self) -> Schema {
        let known = self.known.iter().map(|c| Field::new(&c.name, c.data_type.clone(), true));
        let added = self.added.iter().map(|(name, data_type)| Field::new(name, data_type.clone(), true));
        Schema::new(known.chain(added).collect::<Vec<_>>())
    }

    /// The type of a lifted expression.
    pub fn type_of(&self, expr: &Expr) -> Result<DataType> {
        let schema: DFSchemaRef = df_schema(&self.known_schema())?;
        Ok(expr.get_type(schema.as_ref())?)
    }

    /// The columns that are read. A text column used by its codes alone is decoded as a dictionary, where a decoder of
    /// ours makes it: always for `from_json`, and for a source's own columns when `decoded` says so.
    pub fn finish(self, decoded: bool) -> Result<Scan> {
        let mut columns: Vec<ScanColumn> = Vec::new();
        for mut column in self.known {
            if !self.plain.contains(&column.name) && !self.coded.contains(&column.name) {
                continue;
            }
            // A column that is parsed as JSON too is wanted as text.
            let ours = match column.from {
                From::Source(index) => decoded && !self.json.iter().any(|json| json.source == index),
                From::Json { .. } => true,
            };
            column.dictionary = ours && column.data_type == DataType::Utf8 && !self.plain.contains(&column.name);
            columns.push(column);
        }
        let mut projection: BTreeSet<usize> = BTreeSet::new();
        for column in &columns {
            match column.from {
                From::Source(index) => projection.insert(index),
                From::Json { column, .. } => {
                    let json =
                        self.json.get(column).ok_or_else(|| Error::internal("a lifted field without a column"))?;
                    projection.insert(json.source)
                }
            };
        }
        let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, c.physical_type(), true)).collect();
        Ok(Scan {
            columns,
            schema: Arc::new(Schema::new(fields)),
            projection: projection.into_iter().collect(),
            json: self.json,
        })
    }
}

impl ScanColumn {
    fn physical_type(&self) -> DataType {
        match self.dictionary {
            true => DataType::Dictionary(Box::new(DataType::UInt32), Box::new(self.data_type.clone())),
            false => self.data_type.clone(),
        }
    }
}
