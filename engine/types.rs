//! Spark's data types and schemas, and their Arrow layout.
//!
//! Comes in: `StructType::new([StructField::new("city", StringType, false), ...])`, or DDL text such as
//! `"city STRING, fare DOUBLE"`. Goes out: Arrow schemas. Fails: DDL text that does not parse.

use crate::error::{Error, ErrorCode, Result};
use arrow::datatypes as arrow_types;
use std::sync::Arc;

pub use DataType::{
    Binary as BinaryType, Boolean as BooleanType, Byte as ByteType, Date as DateType, Double as DoubleType,
    Float as FloatType, Integer as IntegerType, Long as LongType, Short as ShortType, String as StringType,
    Timestamp as TimestampType,
};

/// The unit and zone of every timestamp column: microseconds since the epoch, an instant.
pub const UTC: &str = "UTC";

/// A Spark SQL type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DataType {
    /// `BOOLEAN`
    Boolean,
    /// `TINYINT`, 8 bits
    Byte,
    /// `SMALLINT`, 16 bits
    Short,
    /// `INT`, 32 bits
    Integer,
    /// `BIGINT`, 64 bits
    Long,
    /// `FLOAT`, 32 bits
    Float,
    /// `DOUBLE`, 64 bits
    Double,
    /// `STRING`
    String,
    /// `BINARY`
    Binary,
    /// `DATE`
    Date,
    /// `TIMESTAMP`: an instant in microseconds
    Timestamp,
    /// `TIMESTAMP_NTZ`: a local time in microseconds; computed with, and not decoded
    TimestampNtz,
    /// `INTERVAL DAY TO SECOND`: a length in microseconds; computed with, and not decoded
    DayTimeInterval,
    /// `INTERVAL YEAR TO MONTH`: a length in months; computed with, and not decoded
    YearMonthInterval,
    /// `DECIMAL(precision, scale)`
    Decimal(u8, i8),
    /// `ARRAY<element>`
    Array(Box<DataType>),
    /// `MAP<key, value>`
    Map(Box<DataType>, Box<DataType>),
    /// `STRUCT<...>`
    Struct(StructType),
}

/// A named, typed column of a [`StructType`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StructField {
    /// Name as written.
    pub name: String,
    /// Type.
    pub data_type: DataType,
    /// Whether the column may hold NULL. Sources and `from_json` take every column as nullable, as Spark does.
    pub nullable: bool,
}

impl StructField {
    /// A field.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        Self { name: name.into(), data_type, nullable }
    }
}

/// A schema.
///
/// ```
/// use tidemill::types::*;
/// let built = StructType::new([
///     StructField::new("city", StringType, true),
///     StructField::new("fare", DoubleType, true),
/// ]);
/// assert_eq!(built, StructType::from_ddl("city STRING, fare DOUBLE")?);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StructType {
    /// The columns in order.
    pub fields: Vec<StructField>,
}

impl StructType {
    /// A schema of the given fields.
    pub fn new(fields: impl IntoIterator<Item = StructField>) -> Self {
        Self { fields: fields.into_iter().collect() }
    }

    /// Parses DDL text: `name TYPE [NOT NULL] [COMMENT 'text'], ...` (comments are not kept) with `ARRAY<...>`, `MAP<...>`, `STRUCT<name: TYPE, ...>`.
    ///
    /// # Errors
    /// [`ErrorCode::ParseSyntaxError`] naming the text and the place.
    pub fn from_ddl(text: &str) -> Result<Self> {
        crate::types::ddl::parse(text)
    }

    /// The Arrow fields, every one nullable.
    pub fn to_arrow(&self) -> arrow_types::Fields {
        self.fields.iter().map(|f| arrow_types::Field::new(&f.name, f.data_type.to_arrow(), true)).collect()
    }

    /// The Arrow schema, every field nullable.
    pub fn to_arrow_schema(&self) -> arrow_types::SchemaRef {
        Arc::new(arrow_types::Schema::new(self.to_arrow()))
    }
}

impl DataType {
    /// The Arrow layout of the type.
    pub fn to_arrow(&self) -> arrow_types::DataType {
        use arrow_types::DataType as A;
        match self {
            DataType::Boolean => A::Boolean,
            DataType::Byte => A::Int8,
            DataType::Short => A::Int16,
            DataType::Integer => A::Int32,
            DataType::Long => A::Int64,
            DataType::Float => A::Float32,
            DataType::Double => A::Float64,
            DataType::String => A::Utf8,
            DataType::Binary => A::Binary,
            DataType::Date => A::Date32,
            DataType::Timestamp => timestamp(),
            DataType::TimestampNtz => A::Timestamp(arrow_types::TimeUnit::Microsecond, None),
            DataType::DayTimeInterval => A::Duration(arrow_types::TimeUnit::Microsecond),
            DataType::YearMonthInterval => A::Interval(arrow_types::IntervalUnit::YearMonth),
            DataType::Decimal(precision, scale) => A::Decimal128(*precision, *scale),
            DataType::Array(element) => A::List(Arc::new(arrow_types::Field::new("element", element.to_arrow(), true))),
            DataType::Map(key, value) => A::Map(
                Arc::new(arrow_types::Field::new(
                    "entries",
                    A::Struct(arrow_types::Fields::from(vec![
                        arrow_types::Field::new("key", key.to_arrow(), false),
                        arrow_types::Field::new("value", value.to_arrow(), true),
                    ])),
                    false,
                )),
                false,
            ),
            DataType::Struct(fields) => A::Struct(fields.to_arrow()),
        }
    }
}

/// The Arrow type of `TIMESTAMP`.
pub fn timestamp() -> arrow_types::DataType {
    arrow_types::DataType::Timestamp(arrow_types::TimeUnit::Microsecond, Some(UTC.into()))
}

mod ddl {
    //! A recursive-descent reader of DDL schemas and type names.

    use super::{DataType, Error, ErrorCode, Result, StructField, StructType};

    pub(super) fn parse(text: &str) -> Result<StructType> {
        let mut reader = Reader { text, at: 0 };
        let fields = reader.fields(|_| false)?;
        reader.skip_blank();
        if reader.at < text.len() {
            return Err(reader.error("expected a comma or the end"));
        }
        Ok(StructType { fields })
    }

    pub(super) fn parse_type(text: &str) -> Result<DataType> {
        let mut reader = Reader { text, at: 0 };
        let data_type = reader.data_type()?;
        reader.skip_blank();
        if reader.at < text.len() {
            return Err(reader.error("expected the end of the type"));
        }
        Ok(data_type)
    }

    struct Reader<'a> {
        text: &'a str,
        at: usize,
    }

    impl Reader<'_> {
        fn error(&self, expected: &str) -> Error {
            Error::new(
                ErrorCode::ParseSyntaxError,
                format!("{expected} at character {} of schema {:?}", self.at, self.text),
            )
        }

        fn skip_blank(&mut self) {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start().len();
        }

        fn peek(&mut self) -> Option<char> {
            self.skip_blank();
            self.text[self.at..].chars().next()
        }

        fn eat(&mut self, wanted: char) -> bool {
            let found = self.peek() == Some(wanted);
            if found {
                self.at += wanted.len_utf8();
            }
            found
        }

        fn expect(&mut self, wanted: char) -> Result<()> {
            if self.eat(wanted) { Ok(()) } else { Err(self.error(&format!("expected {wanted:?}"))) }
        }

        fn word(&mut self) -> Result<String> {
            if self.eat('`') {
                let Some(length) = self.text[self.at..].find('`') else {
                    return Err(self.error("expected a closing backtick"));
                };
                let name = self.text[self.at..self.at + length].to_string();
                self.at += length + 1;
                return Ok(name);
            }
            self.skip_blank();
            let rest = &self.text[self.at..];
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            if length == 0 {
                return Err(self.error("expected a name"));
            }
            self.at += length;
            Ok(rest[..length].to_string())
        }

        /// Goes past a word, if it is the next.
        fn eat_word(&mut self, wanted: &str) -> bool {
            self.skip_blank();
            let before = self.at;
            let found = self.peek().is_some_and(char::is_alphabetic)
                && self.word().is_ok_and(|word| word.eq_ignore_ascii_case(wanted));
            if !found {
                self.at = before;
            }
            found
        }

        /// Goes past a text in quotes.
        fn quoted(&mut self) -> Result<()> {
            let quote = self.peek().filter(|quote| matches!(quote, '\'' | '"'));
            let quote = quote.ok_or_else(|| self.error("expected a text in quotes"))?;
            let mut escaped = true;
            for (index, letter) in self.text[self.at..].char_indices() {
                if letter == quote && !escaped {
                    self.at += index + 1;
                    return Ok(());
                }
                // The first letter is the quote that opens.
                escaped = letter == '\\' && !escaped;
            }
            Err(self.error("expected the end of the text in quotes"))
        }

        /// What stands after INTERVAL.
        fn interval(&mut self) -> Result<DataType> {
            let kinds = [("day", "second", DataType::DayTimeInterval), ("year", "month", DataType::YearMonthInterval)];
            for (first, last, data_type) in kinds {
                if self.eat_word(first) && self.eat_word("to") && self.eat_word(last) {
                    return Ok(data_type);
                }
            }
            Err(self.error("expected DAY TO SECOND or YEAR TO MONTH"))
        }

        fn fields(&mut self, end: impl Fn(char) -> bool) -> Result<Vec<StructField>> {
            let mut fields = Vec::new();
            while self.peek().is_some_and(|c| !end(c)) {
                let name = self.word()?;
                self.eat(':');
                let data_type = self.data_type()?;
                let mut nullable = true;
                while self.peek().is_some_and(char::is_alphabetic) {
                    if self.eat_word("comment") {
                        self.quoted()?;
                    } else if self.eat_word("not") && self.eat_word("null") {
                        nullable = false;
                    } else {
                        return Err(self.error("expected NOT NULL, COMMENT, a comma or the end"));
                    }
                }
                fields.push(StructField { name, data_type, nullable });
                if !self.eat(',') {
                    break;
                }
            }
            Ok(fields)
        }

        fn data_type(&mut self) -> Result<DataType> {
            let before = self.at;
            let name = self.word()?.to_ascii_lowercase();
            Ok(match name.as_str() {
                "boolean" => DataType::Boolean,
                "tinyint" | "byte" => DataType::Byte,
                "smallint" | "short" => DataType::Short,
                "int" | "integer" => DataType::Integer,
                "bigint" | "long" => DataType::Long,
                "float" | "real" => DataType::Float,
                "double" => DataType::Double,
                "string" => DataType::String,
                // Lengths are for tables that check them.
                "varchar" | "char" | "character" if self.peek() == Some('(') => {
                    self.expect('(')?;
                    self.word()?;
                    self.expect(')')?;
                    DataType::String
                }
                "interval" => self.interval()?,
                "binary" => DataType::Binary,
                "date" => DataType::Date,
                "timestamp" | "timestamp_ltz" => DataType::Timestamp,
                "timestamp_ntz" => DataType::TimestampNtz,
                "decimal" | "dec" | "numeric" => self.decimal()?,
                "array" => {
                    self.expect('<')?;
                    let element = self.data_type()?;
                    self.expect('>')?;
                    DataType::Array(Box::new(element))
                }
                "map" => {
                    self.expect('<')?;
                    let key = self.data_type()?;
                    self.expect(',')?;
                    let value = self.data_type()?;
                    self.expect('>')?;
                    DataType::Map(Box::new(key), Box::new(value))
                }
                "struct" => {
                    self.expect('<')?;
                    let fields = self.fields(|c| c == '>')?;
                    self.expect('>')?;
                    DataType::Struct(StructType { fields })
                }
                _ => {
                    self.at = before;
                    self.skip_blank();
                    return Err(self.error("expected a type name"));
                }
            })
        }

        fn decimal(&mut self) -> Result<DataType> {
            if !self.eat('(') {
                return Ok(DataType::Decimal(10, 0));
            }
            let precision = self.number()?;
            let scale = if self.eat(',') { self.number()? } else { 0 };
            self.expect(')')?;
            if precision == 0 || precision > 38 || scale > precision {
                return Err(self.error("expected DECIMAL(p, s) with 1 <= p <= 38 and s <= p"));
            }
            Ok(DataType::Decimal(precision, scale as i8))
        }

        fn number(&mut self) -> Result<u8> {
            let word = self.word()?;
            word.parse().map_err(|_| self.error("expected a number"))
        }
    }
}

/// A type given as a [`DataType`] or as its DDL name, for `cast`.
pub trait IntoDataType {
    /// The type.
    ///
    /// # Errors
    /// [`ErrorCode::ParseSyntaxError`] for a text that names no type.
    fn into_data_type(self) -> Result<DataType>;
}

impl IntoDataType for DataType {
    fn into_data_type(self) -> Result<DataType> {
        Ok(self)
    }
}

impl IntoDataType for &str {
    fn into_data_type(self) -> Result<DataType> {
        ddl::parse_type(self)
    }
}

/// A schema given as a [`StructType`] or as DDL text.
pub trait IntoSchema {
    /// The schema.
    ///
    /// # Errors
    /// [`ErrorCode::ParseSyntaxError`] for DDL text that does not parse.
    fn into_schema(self) -> Result<StructType>;
}

impl IntoSchema for StructType {
    fn into_schema(self) -> Result<StructType> {
        Ok(self)
    }
}

impl IntoSchema for &StructType {
    fn into_schema(self) -> Result<StructType> {
        Ok(self.clone())
    }
}

impl IntoSchema for &str {
    fn into_schema(self) -> Result<StructType> {
        StructType::from_ddl(self)
    }
}
