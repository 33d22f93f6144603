//! From what the user wrote to what the engine runs.
//!
//! Frame operations resolve expressions ([`resolve`]) and build a tree ([`logical`]). When a query starts, the tree is checked
//! against Spark's output-mode rules ([`output_mode`]), lowered to pipelines and operators ([`lower`], [`aggregate`], [`session`],
//! [`deduplicate`], [`scan`]), and described for the checkpoint ([`fingerprint`]) and for people ([`explain`]).

pub mod aggregate;
pub mod coerce;
pub mod custom;
pub mod deduplicate;
pub mod explain;
pub mod fingerprint;
pub mod grouping;
pub mod join;
pub mod logical;
pub mod lower;
pub(crate) mod names;
pub(crate) mod nullness;
pub mod output_mode;
pub mod resolve;
pub mod rows_function;
pub mod scan;
pub mod scope;
pub mod sequence;
pub mod session;
pub mod spark_aggregate;
pub mod spark_function;

pub use logical::{LogicalPlan, Named};
pub use lower::{Body, Branch, QueryPlan, Stage, Step};
