//! Calls written as Spark SQL writes them, for tables of tests: literals, casts, and functions (operators in backticks).
//!
//! Comes in: `concat('a', cast(1.5 as string))`. Goes out: the expression. Fails as the registry does.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use tidemill::functions::registry::{FunctionRegistry, interval_literal};
use tidemill::prelude::*;
use tidemill::types::IntoDataType;

pub fn parse(text: &str) -> Result<Expr, Error> {
    let mut reader = Reader { rest: text, functions: FunctionRegistry::default() };
    let expr = reader.expression()?;
    assert_eq!(reader.rest, "", "what follows the call in {text}");
    Ok(expr)
}

struct Reader<'a> {
    rest: &'a str,
    functions: FunctionRegistry,
}

fn literal(value: ScalarValue) -> Expr {
    Expr::Literal(value, None)
}

impl Reader<'_> {
    fn eat(&mut self, wanted: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> &str {
        let length = self.rest.find(end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> Option<String> {
        if !self.eat("'") {
            return None;
        }
        let mut out = String::new();
        let mut letters = self.rest.char_indices();
        loop {
            match letters.next().expect("a closing quote") {
                (at, '\'') => {
                    self.rest = &self.rest[at + 1..];
                    return Some(out);
                }
                (_, '\\') => match letters.next().expect("a letter after a backslash").1 {
                    'n' => out.push('\n'),
                    other => out.push(other),
                },
                (_, other) => out.push(other),
            }
        }
    }

    fn number(&mut self) -> Expr {
        let word = self.until(|c| matches!(c, ',' | ')' | ' ')).to_string();
        if let Some(double) = word.strip_suffix('D') {
            return literal(ScalarValue::Float64(Some(double.parse().unwrap())));
        }
        if let Some(long) = word.strip_suffix('L') {
            return literal(ScalarValue::Int64(Some(long.parse().unwrap())));
        }
        if let Ok(int) = word.parse() {
            return literal(ScalarValue::Int32(Some(int)));
        }
        if let Ok(long) = word.parse() {
            return literal(ScalarValue::Int64(Some(long)));
        }
        let digits = word.replace(['.', '-'], "");
        let scale = word.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let significant = digits.trim_start_matches('0').len().max(scale).max(1);
        let unscaled = word.replace('.', "").parse().unwrap();
        literal(ScalarValue::Decimal128(Some(unscaled), significant as u8, scale as i8))
    }

    fn expression(&mut self) -> Result<Expr, Error> {
        if let Some(text) = self.quoted() {
            return Ok(literal(ScalarValue::Utf8(Some(text))));
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return Ok(self.number());
        }
        let name = match self.eat("`") {
            true => {
                let name = self.until(|c| c == '`').to_string();
                self.eat("`");
                name
            }
            false => self.until(|c| !(c.is_alphanumeric() || c == '_')).to_string(),
        };
        if let Some(text) = self.quoted() {
            let to = match name.as_str() {
                "DATE" => "date",
                "TIMESTAMP" => "timestamp",
                "TIMESTAMP_NTZ" => {
                    return self.functions.call(
                        "to_timestamp_ntz",
                        vec![literal(ScalarValue::from(text.as_str()))],
                        false,
                    );
                }
                _ => return interval_literal(&text),
            };
            return Column::from(literal(ScalarValue::from(text.as_str()))).cast(to).try_into();
        }
        if !self.eat("(") {
            return Ok(match name.as_str() {
                "null" => literal(ScalarValue::Null),
                "true" => literal(ScalarValue::Boolean(Some(true))),
                "false" => literal(ScalarValue::Boolean(Some(false))),
                unit => literal(ScalarValue::from(unit)),
            });
        }
        let mut args = Vec::new();
        while !self.eat(")") {
            args.push(self.expression()?);
            if self.eat("as ") {
                let (mut depth, mut length) = (0, 0);
                for letter in self.rest.chars() {
                    match letter {
                        '(' | '<' => depth += 1,
                        '>' => depth -= 1,
                        ')' if depth == 0 => break,
                        ')' => depth -= 1,
                        _ => {}
                    }
                    length += letter.len_utf8();
                }
                let (to, rest) = self.rest.split_at(length);
                let column = Column::from(args.remove(0));
                self.rest = rest;
                assert!(self.eat(")"));
                return match name.as_str() {
                    "try_cast" => column.try_cast(to.into_data_type()?).try_into(),
                    _ => column.cast(to.into_data_type()?).try_into(),
                };
            }
            self.eat(",");
        }
        self.functions.call(&name, args, false)
    }
}
