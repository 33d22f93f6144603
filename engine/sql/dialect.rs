//! Spark's spelling for the parser: what a token is, and the expressions that are Spark's own.
//!
//! Comes in: text. Goes out: tokens with places, and a parser over them. Fails: text that is no sequence of tokens.

use super::place::Parsed;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Interval, UnaryOperator, Value};
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
        if parser.parse_keyword(Keyword::TO) {
            return parser.expected("an interval with units, such as INTERVAL 1 DAY 2 HOURS", parser.peek_token());
        }
        match unit {
            Some(unit) => words.push(format!("{sign}{number} {unit}")),
            // A text that names its units itself.
            None if words.is_empty() && number.contains(' ') => words.push(format!("{sign}{number}")),
            None => return parser.expected("a unit of the interval, such as MINUTES", parser.peek_token()),
        }
    }
    if words.is_empty() {
        return parser.expected("a number or a text after INTERVAL", parser.peek_token());
    }
    let value = Expr::Value(Value::SingleQuotedString(words.join(" ")).with_span(span));
    Ok(Expr::Interval(Interval {
        value: Box::new(value),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }))
}

fn is_unit(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let unit = lower.strip_suffix('s').unwrap_or(&lower);
    ["year", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond"].contains(&unit)
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

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Parsed<Vec<TokenWithSpan>> {
    Ok(Tokenizer::new(&SPARK, text).tokenize_with_location()?)
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
