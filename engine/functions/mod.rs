//! Functions that Spark defines differently from Arrow, over columns of values.

pub mod cast;
pub mod from_json;
pub mod java_text;
pub mod session_window;
pub mod show;
pub mod to_json;
