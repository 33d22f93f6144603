//! What a join is given: columns that both sides have, or a condition; and a kind, as a value or by Spark's name.
//!
//! Comes in: names, columns, text. Goes out: [`JoinOn`] and [`JoinType`]. Fails: names of joins that do not exist.

use super::column::Column;
use crate::error::Result;
use crate::plan::logical::JoinType;
use datafusion::logical_expr::Expr;

/// What rows of two frames belong together by.
#[derive(Debug, Clone)]
pub enum JoinOn {
    /// Columns of both frames, which the result has once.
    Columns(Vec<String>),
    /// A condition over the columns of both.
    Condition(Expr),
}

/// Something that a join can be given to join by.
pub trait IntoJoinOn {
    /// What to join by.
    ///
    /// # Errors
    /// A mistake inside a column.
    fn into_join_on(self) -> Result<JoinOn>;
}

impl IntoJoinOn for JoinOn {
    fn into_join_on(self) -> Result<JoinOn> {
        Ok(self)
    }
}

impl IntoJoinOn for &str {
    fn into_join_on(self) -> Result<JoinOn> {
        Ok(JoinOn::Columns(vec![self.to_string()]))
    }
}

impl IntoJoinOn for &[&str] {
    fn into_join_on(self) -> Result<JoinOn> {
        Ok(JoinOn::Columns(self.iter().map(ToString::to_string).collect()))
    }
}

impl<const N: usize> IntoJoinOn for [&str; N] {
    fn into_join_on(self) -> Result<JoinOn> {
        self.as_slice().into_join_on()
    }
}

impl IntoJoinOn for Column {
    fn into_join_on(self) -> Result<JoinOn> {
        Ok(JoinOn::Condition(self.0?))
    }
}

/// A kind of join, as a value or by its name.
pub trait IntoJoinType {
    /// The kind.
    ///
    /// # Errors
    /// A name that is no join's.
    fn into_join_type(self) -> Result<JoinType>;
}

impl IntoJoinType for JoinType {
    fn into_join_type(self) -> Result<JoinType> {
        Ok(self)
    }
}

impl IntoJoinType for &str {
    fn into_join_type(self) -> Result<JoinType> {
        JoinType::parse(self)
    }
}
