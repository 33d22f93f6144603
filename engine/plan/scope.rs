//! [`Scope`]: the columns of a relation, as names and references find them.
//!
//! Comes in: a relation's schema, and for each column its identity and qualifier. Goes out: the one column that a reference means. Fails:
//! references to no column, and to several.
//!
//! A schema may hold one name twice (a join of two frames does), and an expression over it needs names that do not repeat. Resolved
//! expressions therefore use [`distinct_names`]: the first column of a name keeps it, a later one gets its position behind it.

use super::resolve::split_path;
use crate::error::{Error, ErrorCode, Result};
use crate::options::edits;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::Expr;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Identity of a column: the relation that made it, and its position there. It stays the same while relations pass the column on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u64, pub u32);

/// A number that no other relation of the process has.
pub fn next_relation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What is known of a column beside its field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Identity, for references through a frame.
    pub id: ColumnId,
    /// The alias or table that the column belongs to.
    pub qualifier: Option<Arc<str>>,
}

/// Columns of a relation.
#[derive(Debug, Clone)]
pub struct Scope {
    schema: SchemaRef,
    names: Vec<String>,
    origins: Vec<Origin>,
}

/// The schema's names, made distinct: a later column of the same name gets its position.
pub fn distinct_names(schema: &Schema) -> Vec<String> {
    let mut seen = HashSet::new();
    let name = |(index, field): (usize, &Arc<Field>)| match seen.insert(field.name().clone()) {
        true => field.name().clone(),
        false => format!("{} #{index}", field.name()),
    };
    schema.fields().iter().enumerate().map(name).collect()
}

/// A resolved reference to a column by its distinct name.
pub fn reference(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

impl Scope {
    /// A scope of columns that belong to nothing: expressions over it refer to names only.
    pub fn of(schema: &SchemaRef) -> Self {
        Self::fresh(schema, next_relation())
    }

    /// A scope of columns that relation `relation` makes.
    pub fn fresh(schema: &SchemaRef, relation: u64) -> Self {
        let origin = |index| Origin { id: ColumnId(relation, index as u32), qualifier: None };
        Self::new(schema.clone(), (0..schema.fields().len()).map(origin).collect())
    }

    /// A scope of `schema`, whose columns come from `origins`.
    pub fn new(schema: SchemaRef, origins: Vec<Origin>) -> Self {
        Self { names: distinct_names(&schema), schema, origins }
    }

    /// The columns' fields.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The names that resolved expressions use, by position.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Identities and qualifiers, by position.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Position of a column by its distinct name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// Columns of both sides of a join; a column that both sides have in common by descent gets a new identity on the right.
    pub fn beside(&self, right: &Scope, schema: SchemaRef, relation: u64) -> Self {
        let mut origins = self.origins.clone();
        for (index, origin) in right.origins.iter().enumerate() {
            let taken = self.origins.iter().any(|left| left.id == origin.id);
            let id = if taken { ColumnId(relation, index as u32) } else { origin.id };
            origins.push(Origin { id, qualifier: origin.qualifier.clone() });
        }
        Self::new(schema, origins)
    }

    /// The same columns under an alias.
    pub fn qualified(mut self, alias: &str) -> Self {
        let alias: Arc<str> = alias.into();
        self.origins.iter_mut().for_each(|origin| origin.qualifier = Some(alias.clone()));
        self
    }

    /// A reference to column `index` that means this very column wherever it is passed on.
    pub fn reference_to(&self, index: usize) -> Option<Expr> {
        let (origin, field) = (self.origins.get(index)?, self.schema.fields().get(index)?);
        let relation = TableReference::bare(format!("#{}.{}", origin.id.0, origin.id.1));
        Some(Expr::Column(Column::new(Some(relation), super::resolve::quoted(field.name()))))
    }

    /// The column or struct field that a written reference means, with the name that it gives to its output.
    ///
    /// # Errors
    /// `UnresolvedColumn` and `AmbiguousReference`.
    pub fn find(&self, column: &Column) -> Result<Expr> {
        let parts = split_path(&column.name);
        if let Some(relation) = &column.relation {
            let by_id = self.origins.iter().position(|o| relation.table() == format!("#{}.{}", o.id.0, o.id.1));
            let index = match (by_id, relation.table().starts_with('#')) {
                (Some(index), _) => Some(index),
                (None, true) => None,
                (None, false) => self.only(&self.qualified_as(relation.table(), parts.first()), &column.name)?,
            };
            let index = index.ok_or_else(|| {
                let of_frame = relation.table().starts_with('#');
                let code = if of_frame { ErrorCode::DataFrameColumn } else { ErrorCode::UnresolvedColumn };
                let name = parts.join(".");
                Error::new(
                    code,
                    format!("the column {name:?} belongs to a frame or table that is not part of this one"),
                )
                .with_parameter(if of_frame { "name" } else { "objectName" }, in_backticks(&parts))
            })?;
            return self.fields_of(index, parts.get(1..).unwrap_or_default(), &column.name);
        }
        let Some((first, rest)) = parts.split_first() else { return Err(self.unresolved(&column.name)) };
        let qualified = match rest.first() {
            Some(name) => self.only(&self.qualified_as(first, Some(name)), &column.name)?,
            None => None,
        };
        if let Some(index) = qualified {
            return self.fields_of(index, rest.get(1..).unwrap_or_default(), &column.name);
        }
        let named: Vec<usize> = self.positions(|index| self.is_named(index, first));
        match self.only(&named, &column.name)? {
            Some(index) => self.fields_of(index, rest, &column.name),
            None => Err(self.unresolved(&column.name)),
        }
    }

    /// Columns that `qualifier.*` means; None where nothing is qualified so.
    pub fn expand(&self, qualifier: &str) -> Option<Vec<Expr>> {
        let of = self.positions(|i| self.has_qualifier(i, qualifier));
        (!of.is_empty()).then(|| of.into_iter().filter_map(|i| self.reference_to(i)).collect())
    }

    /// References to all columns.
    pub fn all(&self) -> Vec<Expr> {
        (0..self.origins.len()).filter_map(|i| self.reference_to(i)).collect()
    }

    fn positions(&self, test: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.origins.len()).filter(|index| test(*index)).collect()
    }

    fn is_named(&self, index: usize, name: &str) -> bool {
        self.schema.fields().get(index).is_some_and(|f| f.name().eq_ignore_ascii_case(name))
    }

    fn has_qualifier(&self, index: usize, qualifier: &str) -> bool {
        let own = self.origins.get(index).and_then(|o| o.qualifier.as_deref());
        own.is_some_and(|own| own.eq_ignore_ascii_case(qualifier))
    }

    fn qualified_as(&self, qualifier: &str, name: Option<&String>) -> Vec<usize> {
        self.positions(|i| self.has_qualifier(i, qualifier) && name.is_some_and(|n| self.is_named(i, n)))
    }

    fn only(&self, candidates: &[usize], name: &str) -> Result<Option<usize>> {
        match candidates {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            // Names that differ in case only are ambiguous to Spark, and so are two columns of one name.
            several => Err(Error::new(
                ErrorCode::AmbiguousReference,
                format!(
                    "the column {name:?} could mean any of {} columns of that name; rename them, or refer to one through its frame or alias",
                    several.len()
                ),
            )),
        }
    }

    fn fields_of(&self, index: usize, path: &[String], name: &str) -> Result<Expr> {
        let (Some(own), Some(field)) = (self.names.get(index), self.schema.fields().get(index)) else {
            return Err(self.unresolved(name));
        };
        let mut expr = reference(own);
        let mut data_type = field.data_type();
        for part in path {
            let DataType::Struct(fields) = data_type else { return Err(self.unresolved(name)) };
            let mut matching = fields.iter().filter(|f| f.name().eq_ignore_ascii_case(part));
            let Some(child) = matching.next() else { return Err(no_struct_field(part, name, fields)) };
            if matching.next().is_some() {
                return Err(Error::new(
                    ErrorCode::AmbiguousReference,
                    format!(
                        "the field {name:?} could mean several fields whose names differ in case only; use get_field()"
                    ),
                ));
            }
            expr = datafusion::functions::core::expr_fn::get_field(expr, child.name().as_str());
            data_type = child.data_type();
        }
        Ok(match path.last() {
            Some(last) => expr.alias(last),
            None => expr,
        })
    }

    /// The names that are most like `name`, in backticks.
    pub fn nearest(&self, name: &str) -> String {
        let distance = |f: &Arc<Field>| (edits(&name.to_lowercase(), &f.name().to_lowercase()), f.name().clone());
        let mut candidates: Vec<(usize, String)> = self.schema.fields().iter().map(distance).collect();
        candidates.sort();
        let near: Vec<String> = candidates.iter().take(5).map(|(_, name)| format!("`{name}`")).collect();
        near.join(", ")
    }

    fn unresolved(&self, name: &str) -> Error {
        let near = self.nearest(name);
        Error::new(
            ErrorCode::UnresolvedColumn,
            format!("there is no column or struct field named {name:?}; did you mean one of [{near}]?"),
        )
        .with_parameter("objectName", in_backticks(&split_path(name)))
        .with_parameter("proposal", near)
    }
}

/// A name as Spark's messages have it.
fn in_backticks(parts: &[String]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| super::resolve::quoted(part)).collect();
    parts.join(".")
}

/// A name below a struct, written as all of `path`, that the struct has no field for.
pub fn no_struct_field(field: &str, path: &str, fields: &Fields) -> Error {
    let names: Vec<String> = fields.iter().map(|field| super::resolve::quoted(field.name())).collect();
    let names = names.join(", ");
    Error::new(ErrorCode::FieldNotFound, format!("there is no field {path:?}; the struct has the fields [{names}]"))
        .with_parameter("fieldName", super::resolve::quoted(field))
        .with_parameter("fields", names)
}
