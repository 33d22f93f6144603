//! `spark.read.json(texts)` and `spark.read.csv(texts)`: a table of texts as a table of columns.
//!
//! Comes in: a frame with one column of texts. Goes out: its records' columns. Fails: other frames and XML. Without a schema, the records are looked at for one.

use super::types::from_proto;
use super::unsupported;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::functions::col;
use crate::frame::{Column, DataFrame};
use crate::options::Options;
use crate::plan::spark_function::{Kind, SparkFunction};
use crate::source::files::{FileFormat, of_texts};
use crate::types::DataType;
use arrow::array::AsArray;
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
    let blank = Column::from(SparkFunction::named("trim")?.call(vec![text.clone()])).not_eq("");
    let mut frame = frame.filter(blank)?;
    let mut options: Vec<(String, String)> = given.options.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let header = name == "csv"
        && options.iter().any(|(key, value)| key.eq_ignore_ascii_case("header") && value.eq_ignore_ascii_case("true"));
    let rows = match given.schema.is_none() || header {
        true => frame.collect().await?,
        false => vec![],
    };
    let texts = rows.iter().filter_map(|batch| batch.columns().first()?.as_string_opt::<i32>());
    let texts: Vec<&str> = texts.flat_map(|texts| texts.iter().flatten()).collect();
    let schema = match given.schema.as_ref().map(from_proto).transpose()? {
        Some(DataType::Struct(schema)) => schema,
        Some(_) => {
            return Err(Error::new(ErrorCode::DatatypeMismatch, format!("read.{name}: a schema must be a struct")));
        }
        None => {
            let mut given = Options::new();
            options.iter().for_each(|(key, value)| given.set(key, value.as_str()));
            // The records have no place.
            given.set("path", "/");
            let format = if name == "csv" { FileFormat::Csv } else { FileFormat::Json };
            of_texts(format, &given, frame.session().conf(), &texts)?
        }
    };
    // As in Spark, every text that is the header is one.
    if let Some(first) = texts.first().filter(|_| header) {
        frame = frame.filter(Column::from(text.clone()).not_eq(*first))?;
    }
    let reading = [
        "header",
        "inferSchema",
        "preferDate",
        "enforceSchema",
        "samplingRatio",
        "primitivesAsString",
        "dropFieldIfAllNull",
    ];
    options.retain(|(key, _)| !reading.iter().any(|other| other.eq_ignore_ascii_case(key)));
    let parse = match name {
        "json" => SparkFunction::from_json_type(DataType::Struct(schema), options)?,
        _ => SparkFunction::new(Kind::FromCsv { schema, options }),
    };
    let record = Column::from(parse.call(vec![text])).alias(RECORD);
    frame.select([record])?.select([col("record.*")])
}
