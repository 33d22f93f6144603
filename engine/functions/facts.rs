//! What a session knows of itself: its version, time zone, user and the names that it looks tables up by.
//!
//! Comes in: calls without arguments, and values whose collation is asked for. Goes out: texts. Fails: collations other than that of bytes.

use super::builtin::{Builtin, Call, Typed, typed};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use std::sync::{Arc, LazyLock};

/// The version of Spark whose answers are given.
const SPARK_VERSION: &str = "4.3.0";

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed(
        "version",
        (0, 0),
        |a| Typed::new(a.types, DataType::Utf8),
        |c| text(c, format!("{SPARK_VERSION} tidemill-{}", env!("CARGO_PKG_VERSION"))),
    ),
    typed(
        "current_timezone",
        (0, 0),
        |a| Typed::new(a.types, DataType::Utf8),
        |c| text(c, c.environment.time_zone.name().to_string()),
    ),
    typed("current_catalog", (0, 0), |a| Typed::new(a.types, DataType::Utf8), |c| text(c, CATALOG.to_string())),
    typed("current_schema", (0, 0), |a| Typed::new(a.types, DataType::Utf8), |c| text(c, SCHEMA.to_string())),
    typed("current_user", (0, 0), |a| Typed::new(a.types, DataType::Utf8), |c| text(c, USER.clone())),
    typed("user", (0, 0), |a| Typed::new(a.types, DataType::Utf8), |c| text(c, USER.clone())),
    typed("session_user", (0, 0), |a| Typed::new(a.types, DataType::Utf8), |c| text(c, USER.clone())),
    typed(
        "collation",
        (1, 1),
        |a| texts(a.types, a.mismatch(0, "STRING")),
        |c| text(c, format!("SYSTEM.BUILTIN.{BYTES}")),
    ),
    typed(
        "collate",
        (2, 2),
        |a| match a.text(1) {
            Some(name) if name.eq_ignore_ascii_case(BYTES) => texts(a.types, a.mismatch(0, "STRING")),
            _ => Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "collate(): texts are compared by their bytes, which is the collation {BYTES}; there is no other"
                ),
            )),
        },
        |c| c.expanded(0),
    ),
];

/// The one collation.
const BYTES: &str = "UTF8_BINARY";
/// The one catalog.
const CATALOG: &str = "spark_catalog";
/// The one schema.
const SCHEMA: &str = "default";

/// The name of the user who runs the process.
static USER: LazyLock<String> = LazyLock::new(|| {
    let id = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = accounts.lines().find(|line| line.split(':').nth(2) == Some(id.as_str()));
    let name = account.and_then(|line| line.split(':').next()).map(str::to_string);
    name.or_else(|| std::env::var("USER").ok()).unwrap_or(id)
});

fn text(call: &Call, text: String) -> Result<ArrayRef> {
    Ok(Arc::new(StringArray::from(vec![text; call.rows])))
}

fn texts(types: &[DataType], mismatch: Error) -> Result<Typed> {
    match types.first() {
        Some(DataType::Utf8 | DataType::Null) => {
            Ok(Typed { arguments: vec![DataType::Utf8; types.len()], returns: DataType::Utf8 })
        }
        _ => Err(mismatch),
    }
}
