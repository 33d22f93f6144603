//! A script as statements.
//!
//! Comes in: SQL text with comments, statements separated by `;`. Goes out: statements with the places of their parts. Fails: text that
//! is no statement of Spark SQL or of this engine, at its place.

use super::dialect::{parser, tokens};
use super::place::{At, Failure, Parsed, Source};
use super::table::{TableDefinition, TableOption, view_options};
use crate::error::ErrorCode;
use crate::types::StructType;
use datafusion::sql::sqlparser::ast::{Ident, Query};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

/// One statement.
#[derive(Debug, Clone)]
pub(super) enum Statement {
    CreateTable {
        table: Box<TableDefinition>,
        replace: bool,
        if_not_exists: bool,
        name: Ident,
    },
    CreateView {
        name: Ident,
        columns: Vec<Ident>,
        options: Box<TableDefinition>,
        replace: bool,
        temporary: bool,
        query: Box<Query>,
    },
    /// `INSERT INTO`, and `INSERT OVERWRITE` with `overwrite`.
    Insert {
        table: Ident,
        overwrite: bool,
        query: Box<Query>,
    },
    Select {
        query: Box<Query>,
        span: Span,
    },
    Set {
        key: String,
        value: String,
    },
    /// `SET key`, and `SET` for all of them.
    Settings {
        key: Option<String>,
        span: Span,
    },
    /// `DROP TABLE` and, with `view`, `DROP VIEW`.
    Drop {
        name: Ident,
        view: bool,
        if_exists: bool,
    },
    Explain {
        statement: Box<Statement>,
    },
}

/// The statements of a text.
pub(super) fn statements(source: &Source<'_>) -> Parsed<Vec<Statement>> {
    let mut reader = Reader { parser: parser(tokens(source.text)?), source };
    let mut statements = Vec::new();
    loop {
        while reader.parser.consume_token(&Token::SemiColon) {}
        if reader.parser.peek_token().token == Token::EOF {
            return Ok(statements);
        }
        statements.push(reader.statement()?);
        let next = reader.parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return Ok(reader.parser.expected("; and the next statement", next)?);
        }
    }
}

struct Reader<'s> {
    parser: Parser<'static>,
    source: &'s Source<'s>,
}

impl Reader<'_> {
    fn peek_word(&self, ahead: usize) -> String {
        match self.parser.peek_nth_token(ahead).token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    /// Takes the words if they come next.
    fn words(&mut self, words: &[&str]) -> bool {
        let come = words.iter().enumerate().all(|(ahead, word)| self.peek_word(ahead) == *word);
        if come {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        come
    }

    fn expect_words(&mut self, words: &[&str]) -> Parsed<()> {
        match self.words(words) {
            true => Ok(()),
            false => Ok(self.parser.expected(&words.join(" "), self.parser.peek_token())?),
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let first = self.parser.peek_token();
        match self.peek_word(0).as_str() {
            "CREATE" => self.create(),
            "INSERT" => self.insert(),
            "SET" => self.set(),
            "DROP" => self.drop(),
            "EXPLAIN" => {
                self.parser.advance_token();
                // One explanation says everything.
                let _ = ["EXTENDED", "FORMATTED", "COST"].iter().any(|detail| self.words(&[detail]));
                match self.statement()? {
                    statement @ (Statement::Select { .. } | Statement::Insert { .. }) => {
                        Ok(Statement::Explain { statement: Box::new(statement) })
                    }
                    _ => Err(Failure::unsupported("EXPLAIN takes a SELECT or an INSERT", first.span)),
                }
            }
            "SELECT" | "WITH" | "VALUES" | "FROM" | "TABLE" => self.select(first.span),
            _ if first.token == Token::LParen => self.select(first.span),
            other => {
                let shown = if other.is_empty() { first.token.to_string() } else { other.to_string() };
                let message = format!(
                    "{shown} does not begin a statement here; there are CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, INSERT INTO, SELECT, SET and EXPLAIN"
                );
                Err(Failure::new(ErrorCode::ParseSyntaxError, message, first.span))
            }
        }
    }

    fn select(&mut self, span: Span) -> Parsed<Statement> {
        Ok(Statement::Select { query: self.parser.parse_query()?, span })
    }

    fn insert(&mut self) -> Parsed<Statement> {
        self.parser.advance_token();
        let overwrite = self.words(&["OVERWRITE"]);
        if !overwrite {
            self.expect_words(&["INTO"])?;
        }
        let _ = self.words(&["TABLE"]);
        let table = self.name()?;
        if self.parser.peek_token().token == Token::LParen
            && !matches!(self.peek_word(1).as_str(), "SELECT" | "WITH" | "VALUES")
        {
            let span = self.parser.peek_token().span;
            let message =
                "a list of columns behind INSERT INTO is not supported; SELECT the columns in the order of the table";
            return Err(Failure::unsupported(message, span));
        }
        Ok(Statement::Insert { table, overwrite, query: self.parser.parse_query()? })
    }

    /// `SET key = value`: both as they are written up to the semicolon. Without a value, a question for it.
    fn set(&mut self) -> Parsed<Statement> {
        let span = self.parser.peek_token().span;
        self.parser.advance_token();
        let start = self.parser.peek_token();
        let mut end = start.clone();
        let mut equals: Option<Span> = None;
        loop {
            end = match self.parser.peek_token() {
                TokenWithSpan { token: Token::SemiColon | Token::EOF, .. } => break,
                token => token,
            };
            if end.token == Token::Eq && equals.is_none() {
                equals = Some(end.span);
            }
            self.parser.advance_token();
        }
        let slice = |from: usize, to: usize| self.source.text.get(from..to).unwrap_or_default().trim().to_string();
        let offset = |at| self.source.offset(at);
        let Some(equals) = equals else {
            let key = match start.token {
                Token::SemiColon | Token::EOF => String::new(),
                _ => slice(offset(start.span.start), offset(end.span.end)),
            };
            if key.contains(char::is_whitespace) {
                return Err(Failure::new(ErrorCode::ParseSyntaxError, "expected SET key = value", span));
            }
            let key = key.trim_matches('`');
            return Ok(Statement::Settings { key: (!key.is_empty()).then(|| key.to_string()), span });
        };
        let key = slice(offset(start.span.start), offset(equals.start));
        let value = slice(offset(equals.end), offset(end.span.end));
        let quoted = ['\'', '"'].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let value = quoted.unwrap_or(&value).to_string();
        if key.is_empty() || value.is_empty() {
            return Err(Failure::new(ErrorCode::ParseSyntaxError, "expected SET key = value", span));
        }
        Ok(Statement::Set { key: key.trim_matches('`').to_string(), value })
    }

    fn drop(&mut self) -> Parsed<Statement> {
        self.parser.advance_token();
        let view = self.words(&["VIEW"]);
        if !view {
            self.expect_words(&["TABLE"])?;
        }
        let if_exists = self.words(&["IF", "EXISTS"]);
        let name = self.name()?;
        let _ = self.words(&["PURGE"]);
        Ok(Statement::Drop { name, view, if_exists })
    }

    fn create(&mut self) -> Parsed<Statement> {
        let span = self.parser.peek_token().span;
        self.parser.advance_token();
        let replace = self.words(&["OR", "REPLACE"]);
        let _ = self.words(&["GLOBAL"]);
        let temporary = self.words(&["TEMPORARY"]) || self.words(&["TEMP"]);
        if self.words(&["VIEW"]) {
            return self.create_view(replace, temporary);
        }
        let _ = self.words(&["EXTERNAL"]);
        let _ = self.words(&["STREAMING"]);
        if self.words(&["TABLE"]) {
            return self.create_table(replace);
        }
        let message = "only CREATE [OR REPLACE] TABLE and CREATE [OR REPLACE] [TEMPORARY] VIEW are supported";
        Err(Failure::unsupported(message, span))
    }

    fn create_view(&mut self, replace: bool, temporary: bool) -> Parsed<Statement> {
        let name = self.name()?;
        let mut columns = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            columns = self.parser.parse_comma_separated(Parser::parse_identifier)?;
            self.parser.expect_token(&Token::RParen)?;
        }
        let mut options = Vec::new();
        loop {
            if self.words(&["COMMENT"]) {
                self.text("a comment")?;
            } else if self.words(&["OPTIONS"]) || self.words(&["TBLPROPERTIES"]) {
                options = self.options()?;
            } else {
                break;
            }
        }
        self.expect_words(&["AS"])?;
        let options = Box::new(view_options(&name.value, options)?);
        Ok(Statement::CreateView { name, columns, options, replace, temporary, query: self.parser.parse_query()? })
    }

    fn create_table(&mut self, replace: bool) -> Parsed<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let columns = self.columns()?;
        let mut format: Option<(String, Span)> = None;
        let (mut location, mut options, mut partitioned_by) = (None, Vec::new(), Vec::new());
        loop {
            let span = self.parser.peek_token().span;
            if self.words(&["STORED", "AS"]) || self.words(&["USING"]) {
                let span = self.parser.peek_token().span;
                format = Some((self.parser.parse_identifier()?.value, span));
            } else if self.words(&["LOCATION"]) {
                // A table without a place has a dash there.
                location = Some(self.text("a path")?).filter(|path| path != "-" && !path.is_empty());
            } else if self.words(&["OPTIONS"]) {
                options = self.options()?;
            } else if self.words(&["PARTITIONED", "BY"]) {
                self.parser.expect_token(&Token::LParen)?;
                let listed = self.parser.parse_comma_separated(Parser::parse_identifier)?;
                partitioned_by = listed.into_iter().map(|ident| ident.value).collect();
                self.parser.expect_token(&Token::RParen)?;
            } else if self.words(&["COMMENT"]) {
                self.text("a comment")?;
            } else if self.words(&["AS"]) || matches!(self.peek_word(0).as_str(), "SELECT" | "WITH") {
                let message = "CREATE TABLE ... AS SELECT is not supported; CREATE the table, then INSERT INTO it";
                return Err(Failure::unsupported(message, span));
            } else {
                break;
            }
        }
        let next = self.parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            let expected = "STORED AS, USING, LOCATION, OPTIONS, PARTITIONED BY, COMMENT or ;";
            return Ok(self.parser.expected(expected, next)?);
        }
        let Some((format, span)) = format else {
            let message = format!(
                "the table {} has no format; add STORED AS or USING with json, csv, parquet, kafka, ...",
                name.value
            );
            return Err(Failure::new(ErrorCode::ParseSyntaxError, message, name.span));
        };
        let table = Box::new(TableDefinition {
            name: name.value.clone(),
            format: format.to_ascii_lowercase(),
            columns,
            partitioned_by,
            location,
            managed: false,
            options,
            span,
        });
        Ok(Statement::CreateTable { table, replace, if_not_exists, name })
    }

    /// A name of one part.
    fn name(&mut self) -> Parsed<Ident> {
        let name = self.parser.parse_identifier()?;
        if self.parser.peek_token().token == Token::Period {
            let message = format!("{}. : names have one part here; there are no databases", name.value);
            return Err(Failure::unsupported(message, name.span));
        }
        Ok(name)
    }

    /// `(name TYPE, ...)` as Spark's DDL text has it.
    fn columns(&mut self) -> Parsed<Option<StructType>> {
        let open = self.parser.peek_token();
        if open.token != Token::LParen {
            return Ok(None);
        }
        self.parser.advance_token();
        let mut depth = 1;
        let close = loop {
            let token = self.parser.next_token();
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 1 => break token,
                Token::RParen => depth -= 1,
                Token::EOF => return Ok(self.parser.expected("a closing parenthesis", token)?),
                _ => {}
            }
        };
        let start = self.source.offset(open.span.end);
        let text = self.source.text.get(start..self.source.offset(close.span.start)).unwrap_or_default();
        // Comments are blanks of the same length, so that places stay.
        let ddl = blanked(text);
        StructType::from_ddl(&ddl).map(Some).map_err(|error| {
            let at =
                error.message().split("at character ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            let at: usize = at.unwrap_or(0);
            let blank = ddl.get(at..).map_or(0, |rest| rest.len() - rest.trim_start().len());
            let place = self.source.location(start + at + blank);
            let message = error.message().split(" at character ").next().unwrap_or_default().to_string();
            Failure::new(error.code(), format!("{message} in the columns of the table"), Span::new(place, place))
        })
    }

    fn text(&mut self, what: &str) -> Parsed<String> {
        let token = self.parser.next_token();
        match token.token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Ok(text),
            Token::SingleQuotedRawStringLiteral(text) | Token::DoubleQuotedRawStringLiteral(text) => Ok(text),
            _ => Ok(self.parser.expected(&format!("{what} in quotes"), token)?),
        }
    }

    /// `('key' 'value', key = value, a.b 1)`.
    fn options(&mut self) -> Parsed<Vec<TableOption>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut options: Vec<TableOption> = Vec::new();
        while !self.parser.consume_token(&Token::RParen) {
            let span = self.parser.peek_token().span;
            let key = match self.parser.peek_token().token {
                Token::Word(_) => {
                    let mut parts = vec![self.parser.parse_identifier()?.value];
                    while self.parser.consume_token(&Token::Period) {
                        parts.push(self.parser.parse_identifier()?.value);
                    }
                    parts.join(".")
                }
                _ => self.text("the key of an option")?,
            };
            let _ = self.parser.consume_token(&Token::Eq);
            let value = self.option_value(&key)?;
            if options.iter().any(|option| option.key.eq_ignore_ascii_case(&key)) {
                return Err(Failure::new(
                    ErrorCode::InvalidOption,
                    format!("the option '{key}' stands there twice"),
                    span,
                ));
            }
            options.push(TableOption { key, value, span });
            if !self.parser.consume_token(&Token::Comma) && self.parser.peek_token().token != Token::RParen {
                return Ok(self.parser.expected("a comma or a closing parenthesis", self.parser.peek_token())?);
            }
        }
        Ok(options)
    }

    fn option_value(&mut self, key: &str) -> Parsed<String> {
        let sign = if self.parser.consume_token(&Token::Minus) { "-" } else { "" };
        let token = self.parser.next_token();
        match token.token {
            Token::Number(digits, _) => Ok(format!("{sign}{digits}")),
            Token::Word(word) if matches!(word.keyword, Keyword::TRUE | Keyword::FALSE) => {
                Ok(word.value.to_ascii_lowercase())
            }
            Token::SingleQuotedString(text)
            | Token::DoubleQuotedString(text)
            | Token::SingleQuotedRawStringLiteral(text)
            | Token::DoubleQuotedRawStringLiteral(text)
                if sign.is_empty() =>
            {
                Ok(text)
            }
            _ => self.parser.expected(&format!("the value of the option '{key}' in quotes"), token).at(Span::empty()),
        }
    }
}

/// `text` with blanks in place of its comments.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.char_indices().peekable();
    let mut quoted = false;
    while let Some((at, c)) = characters.next() {
        let rest = text.get(at..).unwrap_or_default();
        if c == '`' {
            quoted = !quoted;
        }
        let end = match (quoted, rest) {
            (false, r) if r.starts_with("--") => r.find('\n').unwrap_or(r.len()),
            (false, r) if r.starts_with("/*") => r.find("*/").map_or(r.len(), |end| end + 2),
            _ => 0,
        };
        if end == 0 {
            out.push(c);
            continue;
        }
        out.extend(std::iter::repeat_n(' ', end));
        while characters.peek().is_some_and(|(next, _)| *next < at + end) {
            characters.next();
        }
    }
    out
}
