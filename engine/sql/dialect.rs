//! Spark's spelling for the parser: what a token is, and the expressions that are Spark's own.
//!
//! Comes in: text. Goes out: tokens with places, and a parser over them. Fails: text that is no sequence of tokens.

use super::place::Parsed;
use crate::functions::interval::Unit;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DateTimeField, Expr, Interval, TimezoneInfo, TypedString, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::dialect::{DatabricksDialect, Dialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};
use std::any::TypeId;

/// Spark SQL: the parser's Databricks dialect with backslash escapes, `DIV`, and every form of interval.
#[derive(Debug)]
pub(super) struct SparkDialect;

/// The dialect, for parsers that outlive a call.
pub(super) static SPARK: SparkDialect = SparkDialect;

macro_rules! yes {
    ($($method:ident),* $(,)?) => { $(fn $method(&self) -> bool { true })* };
}

impl Dialect for SparkDialect {
    fn dialect(&self) -> TypeId {
        // The parser asks for this in a few places, such as ARRAY(...) as a call.
        TypeId::of::<DatabricksDialect>()
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '`'
    }

    fn is_identifier_start(&self, character: char) -> bool {
        character.is_alphabetic() || character == '_'
    }

    fn is_identifier_part(&self, character: char) -> bool {
        character.is_alphanumeric() || character == '_'
    }

    yes!(
        supports_interval_options,
        supports_numeric_prefix,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_table_versioning,
        supports_lambda_functions,
        supports_select_wildcard_except,
        supports_select_expr_star,
        supports_struct_literal,
        supports_nested_comments,
        supports_values_as_table_factor,
        supports_bang_not_operator,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_string_literal_backslash_escape,
        ignores_wildcard_escapes,
        supports_string_literal_concatenation,
        supports_window_function_null_treatment_arg,
        supports_bitwise_shift_operators,
        supports_order_by_all,
        supports_long_type_as_bigint,
    );

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if parser.peek_keyword(Keyword::STRUCT) && parser.peek_nth_token_ref(1).token == Token::LParen {
            return Some(structure(parser));
        }
        let length = &parser.peek_nth_token_ref(1).token;
        if let (Token::Word(word), Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)) =
            (&parser.peek_token_ref().token, length)
            && word.quote_style.is_none()
            && word.value.eq_ignore_ascii_case("timestamp_ltz")
        {
            parser.advance_token();
            let data_type = DataType::Timestamp(None, TimezoneInfo::None);
            return Some(
                parser
                    .parse_value()
                    .map(|value| Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false })),
            );
        }
        let text = matches!(length, Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_));
        // Elsewhere the word is a name.
        let begins = parser.peek_keyword(Keyword::INTERVAL) && (text || matches!(length, Token::Minus | Token::Plus));
        begins.then(|| interval(parser))
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        let binary = |right| Expr::BinaryOp {
            left: Box::new(left.clone()),
            op: BinaryOperator::MyIntegerDivide,
            right: Box::new(right),
        };
        Some(parser.parse_subexpr(precedence).map(binary))
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        // Spark concatenates with the strength of + and -.
        match parser.peek_token_ref().token {
            Token::StringConcat => Some(Ok(self.prec_value(Precedence::PlusMinus))),
            _ => None,
        }
    }
}

/// `struct(*)`, `struct(a, b + 1 AS c)`.
fn structure(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::STRUCT)?;
    parser.expect_token(&Token::LParen)?;
    let mut values = Vec::new();
    while !parser.consume_token(&Token::RParen) {
        if !values.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        let value = parser.parse_wildcard_expr()?;
        values.push(match parser.parse_keyword(Keyword::AS) {
            true => Expr::Named { expr: Box::new(value), name: parser.parse_identifier()? },
            false => value,
        });
    }
    Ok(Expr::Struct { values, fields: vec![] })
}

/// `INTERVAL '1 day 2 hours'`, `INTERVAL 1 HOUR 30 MINUTES`, `INTERVAL '5' MINUTE`, `INTERVAL -5 minutes`: the text of the interval as
/// Spark writes it.
fn interval(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::INTERVAL)?;
    let mut words: Vec<String> = Vec::new();
    let mut span = Span::empty();
    loop {
        // After the first unit, a sign is part of the interval only before another number with a unit.
        let signed_unit = matches!(&parser.peek_nth_token_ref(2).token, Token::Word(word) if is_unit(&word.value));
        let signs = matches!(parser.peek_token_ref().token, Token::Minus | Token::Plus);
        if !words.is_empty() && signs && !signed_unit {
            break;
        }
        let sign = if parser.consume_token(&Token::Minus) {
            "-"
        } else {
            let _ = parser.consume_token(&Token::Plus);
            ""
        };
        let token = parser.peek_token();
        let number = match &token.token {
            Token::Number(number, _) => number.clone(),
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.trim().to_string(),
            _ => break,
        };
        parser.advance_token();
        span = token.span;
        let unit = match parser.peek_token().token {
            Token::Word(word) if is_unit(&word.value) => {
                parser.advance_token();
                Some(word.value.to_ascii_lowercase())
            }
            _ => None,
        };
        if words.is_empty() && parser.parse_keyword(Keyword::TO) {
            let last = parser.parse_identifier()?;
            let field = |word: &str| match Unit::named(word)? {
                Unit::Year => Some(DateTimeField::Year),
                Unit::Month => Some(DateTimeField::Month),
                Unit::Day => Some(DateTimeField::Day),
                Unit::Hour => Some(DateTimeField::Hour),
                Unit::Minute => Some(DateTimeField::Minute),
                Unit::Second => Some(DateTimeField::Second),
            };
            let fields = (unit.as_deref().and_then(field), field(&last.value));
            let (text, (Some(first), Some(last))) =
                (matches!(token.token, Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)), fields)
            else {
                return parser.expected("a text and two fields, such as INTERVAL '1 02' DAY TO HOUR", token);
            };
            if !text {
                return parser.expected("a text before the fields of an interval", token);
            }
            return Ok(of_text(signed(sign, &number), span, Some((first, last))));
        }
        match unit {
            Some(unit) => words.push(format!("{} {unit}", signed(sign, &number))),
            // A text that names its units itself.
            None if words.is_empty() && number.contains(' ') => words.push(format!("{sign}{number}")),
            None => return parser.expected("a unit of the interval, such as MINUTES", parser.peek_token()),
        }
    }
    if words.is_empty() {
        return parser.expected("a number or a text after INTERVAL", parser.peek_token());
    }
    Ok(of_text(words.join(" "), span, None))
}

/// A number with the sign that stands before its text.
fn signed(sign: &str, number: &str) -> String {
    match (sign, number.strip_prefix('-')) {
        ("-", Some(positive)) => positive.to_string(),
        _ => format!("{sign}{number}"),
    }
}

fn of_text(text: String, span: Span, fields: Option<(DateTimeField, DateTimeField)>) -> Expr {
    let (leading_field, last_field) = fields.unzip();
    Expr::Interval(Interval {
        value: Box::new(Expr::Value(Value::SingleQuotedString(text).with_span(span))),
        leading_field,
        leading_precision: None,
        last_field,
        fractional_seconds_precision: None,
    })
}

fn is_unit(word: &str) -> bool {
    Unit::named(word).is_some()
}

/// Whether an expression is a number with a minus in front, which the parser reads as an operator.
pub(super) fn negated_number(op: UnaryOperator, expr: &Expr) -> bool {
    op == UnaryOperator::Minus
        && match expr {
            Expr::Value(value) => matches!(value.value, Value::Number(..)),
            Expr::Identifier(name) => {
                name.quote_style.is_none() && name.value.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            }
            _ => false,
        }
}

/// The tokens of a text. A number with an exponent and its suffix (`1e20D`) is one word, as numbers without exponents are.
pub(super) fn tokens(text: &str) -> Parsed<Vec<TokenWithSpan>> {
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    for token in Tokenizer::new(&SPARK, text).tokenize_with_location()? {
        if let Some(last) = tokens.last_mut()
            && let (Token::Number(number, false), Token::Word(suffix)) = (&last.token, &token.token)
            && suffix.quote_style.is_none()
            && last.span.end == token.span.start
        {
            last.token = Token::make_word(&format!("{number}{}", suffix.value), None);
            last.span = Span::new(last.span.start, token.span.end);
            continue;
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// A parser over tokens.
pub(super) fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&SPARK).with_tokens_with_locations(tokens)
}

/// Refuses words after the end of what was parsed.
pub(super) fn expect_end(parser: &Parser<'_>) -> Parsed<()> {
    match parser.peek_token() {
        TokenWithSpan { token: Token::EOF, .. } => Ok(()),
        other => Ok(parser.expected("the end", other)?),
    }
}
