//! Functions with Spark's meaning, over columns of values.
//!
//! The tables of [`builtin`] functions stand in one file a subject; [`registry`] finds them, and everything else that a program can call,
//! by name.

pub mod arithmetic;
pub(crate) mod bitmap;
pub mod builtin;
pub mod cast;
pub(crate) mod collection;
pub(crate) mod conditional;
pub(crate) mod csv_text;
pub(crate) mod datetime;
mod facts;
mod frequent;
pub mod from_json;
mod generator;
mod hash;
pub(crate) mod interval;
pub mod java_text;
mod json_path;
pub(crate) mod lambda;
mod make_interval;
mod number;
pub(crate) mod placed;
mod regex;
pub mod registry;
pub mod schema_text;
pub mod session_window;
pub mod show;
mod shuffle;
mod text;
pub mod to_json;
pub(crate) mod vector;

pub(crate) use generator::SLIDING_WINDOWS;

use builtin::Builtin;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The generator of this name.
pub(crate) fn generator(name: &str) -> Option<&'static Builtin> {
    generator::FUNCTIONS.iter().find(|function| function.name == name)
}

/// Every scalar function of the tables, by its own name.
pub(crate) fn builtins() -> &'static HashMap<&'static str, &'static Builtin> {
    static TABLE: LazyLock<HashMap<&'static str, &'static Builtin>> = LazyLock::new(|| {
        let tables = [
            text::FUNCTIONS,
            regex::FUNCTIONS,
            number::FUNCTIONS,
            hash::FUNCTIONS,
            datetime::FUNCTIONS,
            collection::FUNCTIONS,
            json_path::FUNCTIONS,
            placed::FUNCTIONS,
            frequent::FUNCTIONS,
            bitmap::FUNCTIONS,
            csv_text::FUNCTIONS,
            facts::FUNCTIONS,
            make_interval::FUNCTIONS,
            vector::FUNCTIONS,
            std::slice::from_ref(&shuffle::SHUFFLE),
            std::slice::from_ref(&conditional::RAISE_ERROR),
        ];
        tables.into_iter().flatten().map(|function| (function.name, function)).collect()
    });
    &TABLE
}
