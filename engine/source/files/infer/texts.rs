//! The columns of records that a program has as texts.
//!
//! Comes in: texts, one record in each. Goes out: their columns. Fails: options that the format does not have, and records that are
//! malformed under `FAILFAST`.

use super::super::FileFormat;
use super::super::settings::{Reading, Settings};
use super::inference;
use crate::config::Config;
use crate::decode::split_record;
use crate::error::Result;
use crate::options::Options;
use crate::source::provider::Syntax;
use crate::types::StructType;

/// Infers the columns of records that are at hand, one in each text.
///
/// # Errors
/// Options that the format does not have; records that are malformed under `FAILFAST`.
pub(crate) fn of_texts(format: FileFormat, options: &Options, config: &Config, texts: &[&str]) -> Result<StructType> {
    let mut reader = options.reader(format!("the {} reader", format.name()));
    let settings = Settings::read(format, Reading::Table, &mut reader, config)?;
    reader.finish()?;
    let first = match &settings.syntax {
        Some(Syntax::Csv(options)) => texts.first().map(|text| split_record(text.as_bytes(), options)),
        _ => None,
    };
    let Some(mut inference) = inference(&settings, first.unwrap_or_default())? else {
        return Ok(StructType::default());
    };
    let skipped = usize::from(settings.csv.header && matches!(settings.syntax, Some(Syntax::Csv(_))));
    // A record is a line to the inference.
    let lines: String = texts.iter().skip(skipped).map(|text| text.replace(['\n', '\r'], " ") + "\n").collect();
    inference.add(lines.as_bytes(), "a DataFrame")?;
    Ok(inference.finish())
}
