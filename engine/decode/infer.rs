//! Schemas from records, as Spark infers them.
//!
//! Comes in: chunks of whole records. Goes out: a schema that they have in common. JSON fields are sorted by name; a field that is a
//! number here and a text there is a text. Fails: a malformed record under `FAILFAST`.

use super::csv::CsvOptions;
use super::formats::Formats;
use super::json::JsonOptions;
use super::records::records;
use super::scan::{Cursor, Syntax};
use super::{ParseMode, number};
use crate::error::{Error, ErrorCode, Result};
use crate::types::{DataType, StructField, StructType};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Which part of the records counts: `samplingRatio`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    ratio: f64,
    seen: f64,
}

impl Sampling {
    /// Every record, or an even share of them.
    pub(crate) fn new(ratio: f64) -> Self {
        Self { ratio, seen: 0.0 }
    }

    /// Whether the next record counts. The first one does.
    fn takes(&mut self) -> bool {
        let before = (self.seen * self.ratio).ceil();
        self.seen += 1.0;
        (self.seen * self.ratio).ceil() > before
    }
}

/// Infers a schema from chunks.
pub(crate) enum Inference {
    Json(Box<JsonInference>),
    Csv(Box<CsvInference>),
}

impl Inference {
    /// Takes the records of a chunk of `path` into account.
    pub(crate) fn add(&mut self, bytes: &[u8], path: &str) -> Result<()> {
        match self {
            Self::Json(json) => json.add(bytes, path),
            Self::Csv(csv) => {
                csv.add(bytes);
                Ok(())
            }
        }
    }

    /// The schema of everything that was added.
    pub(crate) fn finish(self) -> StructType {
        match self {
            Self::Json(json) => json.finish(),
            Self::Csv(csv) => csv.finish(),
        }
    }
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Null,
    Boolean,
    Integer,
    Long,
    Decimal(u8, i8),
    Double,
    Date,
    Timestamp,
    Text,
    Array(Box<Shape>),
    Object(BTreeMap<String, Shape>),
}

impl Shape {
    /// What values of both shapes are.
    fn with(self, other: Shape) -> Shape {
        use Shape::{Array, Date, Decimal, Double, Integer, Long, Null, Object, Text, Timestamp};
        match (self, other) {
            (a, b) if a == b => a,
            (Null, shape) | (shape, Null) => shape,
            (Integer, Long) | (Long, Integer) => Long,
            (Integer | Long | Decimal(..), Double) | (Double, Integer | Long | Decimal(..)) => Double,
            (Integer, Decimal(p, s)) | (Decimal(p, s), Integer) => widened((10, 0), (p, s)),
            (Long, Decimal(p, s)) | (Decimal(p, s), Long) => widened((20, 0), (p, s)),
            (Decimal(p, s), Decimal(q, t)) => widened((p, s), (q, t)),
            (Date, Timestamp) | (Timestamp, Date) => Timestamp,
            (Array(a), Array(b)) => Array(Box::new(a.with(*b))),
            (Object(mut a), Object(b)) => {
                for (name, shape) in b {
                    let merged = match a.remove(&name) {
                        Some(before) => before.with(shape),
                        None => shape,
                    };
                    a.insert(name, merged);
                }
                Object(a)
            }
            _ => Text,
        }
    }

    /// The type; None for objects without fields, which have none.
    fn data_type(self) -> Option<DataType> {
        Some(match self {
            Shape::Null | Shape::Text => DataType::String,
            Shape::Boolean => DataType::Boolean,
            Shape::Integer => DataType::Integer,
            Shape::Long => DataType::Long,
            Shape::Decimal(precision, scale) => DataType::Decimal(precision, scale),
            Shape::Double => DataType::Double,
            Shape::Date => DataType::Date,
            Shape::Timestamp => DataType::Timestamp,
            Shape::Array(element) => DataType::Array(Box::new(element.data_type()?)),
            Shape::Object(fields) => {
                let fields = fields_of(fields);
                if fields.fields.is_empty() {
                    return None;
                }
                DataType::Struct(fields)
            }
        })
    }

    /// Whether every value was NULL, or an array or object of nothing else.
    fn is_empty(&self) -> bool {
        match self {
            Shape::Null => true,
            Shape::Array(element) => element.is_empty(),
            Shape::Object(fields) => fields.values().all(Shape::is_empty),
            _ => false,
        }
    }
}

fn fields_of(fields: BTreeMap<String, Shape>) -> StructType {
    let typed = |(name, shape): (String, Shape)| Some(StructField::new(name, shape.data_type()?, true));
    StructType { fields: fields.into_iter().filter_map(typed).collect() }
}

/// A decimal that holds the digits of both; a double where 38 do not suffice.
fn widened((p, s): (u8, i8), (q, t): (u8, i8)) -> Shape {
    let whole = (i16::from(p) - i16::from(s)).max(i16::from(q) - i16::from(t));
    let scale = s.max(t);
    match u8::try_from(whole + i16::from(scale)) {
        Ok(precision) if precision <= 38 => Shape::Decimal(precision, scale),
        _ => Shape::Double,
    }
}

/// What makes Spark's inference of JSON differ; the names are its options.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct JsonRules {
    pub(crate) primitives_as_string: bool,
    pub(crate) prefers_decimal: bool,
    pub(crate) infer_timestamp: bool,
    pub(crate) drop_field_if_all_null: bool,
}

/// Infers the schema of JSON records.
pub(crate) struct JsonInference {
    options: JsonOptions,
    rules: JsonRules,
    sampling: Sampling,
    formats: Formats,
    fields: Shape,
    malformed: bool,
    scratch: Vec<u8>,
}

impl JsonInference {
    pub(crate) fn new(options: JsonOptions, rules: JsonRules, sampling: Sampling) -> Result<Self> {
        let formats =
            Formats::new(options.time_zone, options.timestamp_format.as_deref(), options.date_format.as_deref())?;
        let fields = Shape::Object(BTreeMap::new());
        Ok(Self { options, rules, sampling, formats, fields, malformed: false, scratch: Vec::new() })
    }

    fn add(&mut self, bytes: &[u8], path: &str) -> Result<()> {
        let by = self.options.records.clone();
        for (_, record) in records(bytes, &by) {
            let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
            if record.iter().all(|byte| *byte <= b' ') || !self.sampling.takes() {
                continue;
            }
            let text = String::from_utf8_lossy(record);
            match self.record(text.as_bytes()) {
                Ok(shape) => {
                    let before = std::mem::replace(&mut self.fields, Shape::Null);
                    self.fields = before.with(shape);
                }
                Err(Syntax(reason)) => match self.options.mode {
                    ParseMode::FailFast => {
                        return Err(Error::new(
                            ErrorCode::MalformedRecord,
                            format!(
                                "malformed record in {path} while its schema is inferred: {reason}; the mode is FAILFAST, set mode to PERMISSIVE to go on"
                            ),
                        ));
                    }
                    ParseMode::Permissive => self.malformed = true,
                    ParseMode::DropMalformed => {}
                },
            }
        }
        Ok(())
    }

    /// A record is an object, or an array of objects.
    fn record(&mut self, text: &[u8]) -> std::result::Result<Shape, Syntax> {
        let mut cursor = Cursor::new(text);
        cursor.skip_blank();
        let shape = self.value(&mut cursor, 1)?;
        match shape {
            Shape::Object(_) => Ok(shape),
            Shape::Array(element) if matches!(*element, Shape::Object(_)) => Ok(*element),
            Shape::Array(element) if *element == Shape::Null => Ok(Shape::Object(BTreeMap::new())),
            _ => Err(Syntax("the record is not a JSON object")),
        }
    }

    fn value(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> std::result::Result<Shape, Syntax> {
        let primitive = |shape: Shape, rules: &JsonRules| if rules.primitives_as_string { Shape::Text } else { shape };
        Ok(match cursor.peek() {
            b'"' | b'\'' => {
                let text = cursor.string()?;
                if self.rules.infer_timestamp && self.formats.timestamp(text.resolve(&mut self.scratch)).is_some() {
                    primitive(Shape::Timestamp, &self.rules)
                } else {
                    Shape::Text
                }
            }
            b'n' => {
                cursor.literal("null")?;
                Shape::Null
            }
            b't' => {
                cursor.literal("true")?;
                primitive(Shape::Boolean, &self.rules)
            }
            b'f' => {
                cursor.literal("false")?;
                primitive(Shape::Boolean, &self.rules)
            }
            b'[' => {
                cursor.enter(depth)?;
                let mut element = Shape::Null;
                if cursor.peek() == b']' {
                    cursor.step();
                    return Ok(Shape::Array(Box::new(element)));
                }
                loop {
                    element = element.with(self.value(cursor, depth + 1)?);
                    if !cursor.more(b']')? {
                        return Ok(Shape::Array(Box::new(element)));
                    }
                }
            }
            b'{' => {
                cursor.enter(depth)?;
                let mut fields = BTreeMap::new();
                if cursor.peek() == b'}' {
                    cursor.step();
                    return Ok(Shape::Object(fields));
                }
                loop {
                    let key = cursor.key()?;
                    let name = String::from_utf8_lossy(key.resolve(&mut self.scratch)).into_owned();
                    let shape = self.value(cursor, depth + 1)?;
                    fields.insert(name, shape);
                    if !cursor.more(b'}')? {
                        return Ok(Shape::Object(fields));
                    }
                }
            }
            other => {
                let number = match other {
                    b'0'..=b'9' | b'-' => cursor.number()?,
                    _ => cursor.special_or("a value is missing")?,
                };
                let shape = if number.long().is_some() {
                    Shape::Long
                } else if number.integer || (self.rules.prefers_decimal && !number.scientific) {
                    let digits = u8::try_from(number.digits.max(number.fraction)).ok().filter(|digits| *digits <= 38);
                    digits.map_or(Shape::Double, |digits| Shape::Decimal(digits, number.fraction as i8))
                } else {
                    Shape::Double
                };
                primitive(shape, &self.rules)
            }
        })
    }

    fn finish(self) -> StructType {
        let Shape::Object(mut fields) = self.fields else { return StructType::default() };
        if self.rules.drop_field_if_all_null {
            fields.retain(|_, shape| !shape.is_empty());
        }
        if self.malformed {
            fields.insert(self.options.corrupt_record_column, Shape::Text);
        }
        fields_of(fields)
    }
}

/// Infers the schema of CSV records.
pub(crate) struct CsvInference {
    options: CsvOptions,
    names: Vec<String>,
    /// None where every column is a text.
    shapes: Option<Vec<Shape>>,
    prefer_date: bool,
    sampling: Sampling,
    formats: Formats,
}

impl CsvInference {
    /// An inference of the columns that `first`, the first record, names or, without a header, has.
    pub(crate) fn new(
        options: CsvOptions,
        first: &[String],
        header: bool,
        infer: bool,
        prefer_date: bool,
        sampling: Sampling,
    ) -> Result<Self> {
        let formats =
            Formats::new(options.time_zone, options.timestamp_format.as_deref(), options.date_format.as_deref())?;
        let names = names_of(first, header, &options.null_value);
        let shapes = infer.then(|| vec![Shape::Null; names.len()]);
        Ok(Self { options, names, shapes, prefer_date, sampling, formats })
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let Some(mut shapes) = self.shapes.take() else { return };
        let mut splitter = self.options.splitter();
        let by = self.options.records.clone();
        for (_, record) in records(bytes, &by) {
            let comment = self.options.comment.is_some() && record.first().copied() == self.options.comment;
            if comment || record.iter().all(|byte| *byte <= b' ') || !self.sampling.takes() {
                continue;
            }
            let fields = splitter.split(record);
            for (index, shape) in shapes.iter_mut().enumerate() {
                let Some(text) = fields.get(index) else { continue };
                let text = String::from_utf8_lossy(text);
                if text.is_empty() || text == self.options.null_value {
                    continue;
                }
                let before = std::mem::replace(shape, Shape::Null);
                let found = self.shape(&before, &text);
                *shape = before.with(found);
            }
        }
        self.shapes = Some(shapes);
    }

    /// What a field is, beginning with what its column has been so far.
    fn shape(&mut self, so_far: &Shape, text: &str) -> Shape {
        let from = match so_far {
            Shape::Null | Shape::Integer => 0,
            Shape::Long => 1,
            Shape::Decimal(..) => 2,
            Shape::Double => 3,
            Shape::Date => 4,
            Shape::Timestamp => 5,
            Shape::Boolean => 6,
            _ => 7,
        };
        (from..7).find_map(|kind| self.try_kind(kind, text)).unwrap_or(Shape::Text)
    }

    fn try_kind(&mut self, kind: usize, text: &str) -> Option<Shape> {
        match kind {
            0 => text.parse::<i32>().ok().map(|_| Shape::Integer),
            1 => text.parse::<i64>().ok().map(|_| Shape::Long),
            2 => {
                let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let precision = u8::try_from(digits.trim_start_matches('0').len().max(1)).ok()?;
                (whole && number::decimal(text, 38, 0).is_some()).then_some(Shape::Decimal(precision, 0))
            }
            3 => {
                let number = text.trim();
                let plain = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
                let is = (plain && number.parse::<f64>().is_ok()) || self.options.specials.read(text).is_some();
                is.then_some(Shape::Double)
            }
            4 => (self.prefer_date && self.formats.date(text.as_bytes()).is_some() && is_date(text, &self.options))
                .then_some(Shape::Date),
            5 => self.formats.timestamp(text.as_bytes()).map(|_| Shape::Timestamp),
            _ => (text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")).then_some(Shape::Boolean),
        }
    }

    pub(crate) fn finish(self) -> StructType {
        let shapes = self.shapes.unwrap_or_else(|| vec![Shape::Text; self.names.len()]);
        let fields = self.names.into_iter().zip(shapes);
        StructType {
            fields: fields
                .map(|(name, shape)| StructField::new(name, shape.data_type().unwrap_or(DataType::String), true))
                .collect(),
        }
    }
}

/// Spark's casts take `2020-01-01 10:00:00` as a date too, with its time cut off; inference does not.
fn is_date(text: &str, options: &CsvOptions) -> bool {
    options.date_format.is_some() || !text.contains([' ', 'T', ':'])
}

/// Names of columns: `_c0`, `_c1` where the header has none, and with their number where it has one twice.
fn names_of(first: &[String], header: bool, null_value: &str) -> Vec<String> {
    let twice = |name: &String| first.iter().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1;
    let name = |(index, name): (usize, &String)| {
        if !header || name.is_empty() || name == null_value {
            format!("_c{index}")
        } else if twice(name) {
            format!("{name}{index}")
        } else {
            name.clone()
        }
    };
    first.iter().enumerate().map(name).collect()
}
