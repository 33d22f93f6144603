//! Where in a text something stands, and errors that point there.
//!
//! Comes in: an error of any layer and the place of the words that caused it. Goes out: a `Failure` while the text is worked on, and a
//! [`SqlError`] for who wrote it.

use crate::error::{Error, ErrorCode};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, TokenizerError};
use std::fmt;

/// Result of a step that knows the text it reads.
pub(super) type Parsed<T> = Result<T, Failure>;

/// An error, and where in the text its cause stands, if that is known yet.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub error: Error,
    pub at: Option<Location>,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>, at: Span) -> Self {
        Self { error: Error::new(code, message), at: None }.or_at(at)
    }

    /// What the engine cannot do, by name, with the way out.
    pub fn unsupported(message: impl Into<String>, at: Span) -> Self {
        Self::new(ErrorCode::UnsupportedOperation, message, at)
    }

    /// The same failure with a place, where it had none.
    pub fn or_at(mut self, span: Span) -> Self {
        if self.at.is_none() && span.start.line > 0 {
            self.at = Some(span.start);
        }
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, at: None }
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Self {
        Self { error: Error::new(ErrorCode::ParseSyntaxError, error.message), at: Some(error.location) }
    }
}

impl From<ParserError> for Failure {
    fn from(error: ParserError) -> Self {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => "the expression is nested too deeply".to_string(),
        };
        // The parser appends the place to its message.
        let (message, at) = match text.rsplit_once(" at Line: ") {
            Some((message, place)) => (message.to_string(), location(place)),
            None => (text, None),
        };
        Self { error: Error::new(ErrorCode::ParseSyntaxError, message), at }
    }
}

fn location(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    let location = Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?);
    (location.line > 0).then_some(location)
}

/// Gives the errors of other layers a place.
pub(super) trait At<T> {
    /// The place, where none is known.
    fn at(self, span: Span) -> Parsed<T>;
}

impl<T, E: Into<Failure>> At<T> for Result<T, E> {
    fn at(self, span: Span) -> Parsed<T> {
        self.map_err(|e| e.into().or_at(span))
    }
}

/// A mistake in a script, with its place: `rides.sql:12:7: [UNRESOLVED_COLUMN...] ...`, then the line and a caret.
#[derive(Debug, Clone)]
pub struct SqlError {
    name: String,
    error: Error,
    place: Option<Place>,
}

#[derive(Debug, Clone)]
struct Place {
    line: u64,
    column: u64,
    text: String,
}

impl SqlError {
    /// What is wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Line and column of the cause, both from 1, where they are known.
    pub fn position(&self) -> Option<(u64, u64)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }
}

impl Place {
    /// The line, and a caret below the character. Tabs stay tabs, so that the two stand below each other.
    fn excerpt(&self) -> String {
        let column = usize::try_from(self.column).unwrap_or(1).saturating_sub(1);
        let indent: String = self.text.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{}\n{indent}^", self.text)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => {
                write!(f, "{}:{}:{}: {}\n{}", self.name, place.line, place.column, self.error, place.excerpt())
            }
            None => write!(f, "{}: {}", self.name, self.error),
        }
    }
}

impl std::error::Error for SqlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The place moves behind the message, as Spark writes it.
impl From<SqlError> for Error {
    fn from(error: SqlError) -> Error {
        let Some(place) = &error.place else { return error.error };
        let message =
            format!("{}; line {}, column {}:\n{}", error.error.message(), place.line, place.column, place.excerpt());
        error.error.with_message(message)
    }
}

/// A text and the name it is reported under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// The failure with its place in this text. A text that ends too early is reported at its end.
    pub fn error(&self, failure: Failure) -> SqlError {
        let Failure { error, at } = failure;
        let at = at.or_else(|| (error.code() == ErrorCode::ParseSyntaxError).then(|| self.end()));
        let Some(at) = at else { return SqlError { name: self.name.to_string(), error, place: None } };
        let line = usize::try_from(at.line).ok().and_then(|n| self.text.lines().nth(n.saturating_sub(1))).unwrap_or("");
        let place = Place { line: at.line, column: at.column, text: line.to_string() };
        SqlError { name: self.name.to_string(), error, place: Some(place) }
    }

    fn end(&self) -> Location {
        let text = self.text.trim_end();
        let line = text.lines().count().max(1);
        let column = text.lines().last().map_or(1, |last| last.chars().count() + 1);
        Location::new(line as u64, column as u64)
    }

    /// The byte at which a location stands.
    pub fn offset(&self, at: Location) -> usize {
        let mut start = 0;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            if index as u64 + 1 == at.line {
                let column = usize::try_from(at.column).unwrap_or(1).saturating_sub(1);
                return start + line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte);
            }
            start += line.len();
        }
        self.text.len()
    }

    /// The location of a byte.
    pub fn location(&self, offset: usize) -> Location {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        Location::new(line as u64, column as u64)
    }
}
