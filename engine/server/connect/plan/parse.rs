//! `spark.read.json(texts)` and `spark.read.csv(texts)`: a table of texts as a table of columns.
//!
//! Comes in: a frame with one column of texts. Goes out: its records' columns. Fails: other frames, XML, and a missing schema.

use super::types::from_proto;
use super::unsupported;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::functions::col;
use crate::frame::{Column, DataFrame};
use crate::plan::spark_function::{Kind, SparkFunction};
use crate::types::DataType;
use arrow::datatypes::DataType as Arrow;
use proto::parse::ParseFormat;
use spark_connect_proto as proto;

/// The column of parsed records.
const RECORD: &str = "record";

/// The frame of the records in the texts of `frame`.
pub(super) async fn parsed(frame: &DataFrame, given: &proto::Parse) -> Result<DataFrame> {
    let name = match given.format() {
        ParseFormat::Csv => "csv",
        ParseFormat::Json => "json",
        ParseFormat::Xml => return unsupported("read.xml: there is no XML source"),
        ParseFormat::Unspecified => return unsupported("a parse of a format that the client does not name"),
    };
    let text = match frame.schema().fields().as_ref() {
        [only] if *only.data_type() == Arrow::Utf8 => frame.plan().scope().reference_to(0),
        _ => None,
    };
    let text = text.ok_or_else(|| {
        Error::new(
            ErrorCode::DatatypeMismatch,
            format!("read.{name}(DataFrame) takes a DataFrame with one column of texts"),
        )
    })?;
    let schema = match given.schema.as_ref().map(from_proto).transpose()? {
        Some(DataType::Struct(schema)) => schema,
        Some(_) => {
            return Err(Error::new(ErrorCode::DatatypeMismatch, format!("read.{name}: a schema must be a struct")));
        }
        None => {
            return Err(Error::new(
                ErrorCode::SchemaRequired,
                format!("read.{name}(DataFrame) needs a schema here; give one with read.schema(...)"),
            ));
        }
    };
    let options: Vec<(String, String)> = given.options.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let parse = match name {
        "json" => SparkFunction::from_json_type(DataType::Struct(schema), options)?,
        _ => SparkFunction::new(Kind::FromCsv { schema, options }),
    };
    let blank = Column::from(SparkFunction::named("trim")?.call(vec![text.clone()])).not_eq("");
    let record = Column::from(parse.call(vec![text])).alias(RECORD);
    frame.filter(blank)?.select([record])?.select([col("record.*")])
}
