//! The windows among grouping keys: which kind each is, and whether it is cut here or below.
//!
//! Comes in: grouping keys with the schema that they make. Goes out: the keys as an aggregation groups by them. Fails: two windows, and
//! sessions that an aggregation below has made.

use super::logical::{Named, TIME_WINDOW_KEY};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::session_window::session_parts;
use arrow::datatypes::Schema;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::Expr;

/// Keys as they are grouped by.
pub(super) struct Grouping {
    /// The keys. A window that an aggregation below has cut is grouped by its start.
    pub keys: Vec<Named>,
    /// Position of the session window.
    pub session: Option<usize>,
}

impl Grouping {
    /// The grouping of `keys`, which are the first columns of `schema`; `substitute` rewrites an expression over what the
    /// branches read.
    pub fn new(keys: &[Named], schema: &Schema, substitute: impl Fn(&Expr) -> Result<Expr>) -> Result<Self> {
        let mut grouping = Self { keys: keys.to_vec(), session: None };
        let mut windows = 0;
        for (index, key) in grouping.keys.iter_mut().enumerate() {
            let kind = schema.fields().get(index).and_then(|field| field.metadata().get(TIME_WINDOW_KEY));
            if kind.is_none() {
                continue;
            }
            windows += 1;
            let cut = substitute(&key.expr)?;
            if session_parts(&cut).is_some() {
                grouping.session = Some(index);
            } else if matches!(cut, Expr::Column(_)) {
                if kind.is_some_and(|kind| kind == SESSION) {
                    return Err(Error::new(
                        ErrorCode::UnsupportedOperation,
                        format!(
                            "grouping by the sessions {:?} of an aggregation below is not supported on a stream; group by window() of that column",
                            key.name
                        ),
                    ));
                }
                key.expr = get_field(key.expr.clone(), "start");
            }
        }
        if windows > 1 {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "only one window can be grouped by; aggregate twice for windows of two kinds",
            ));
        }
        Ok(grouping)
    }
}

/// The kind of a session window, in the place of a window's numbers.
pub const SESSION: &str = "session";
