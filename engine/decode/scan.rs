//! The JSON scanner: strict about the grammar, lenient where Spark's reader is.
//!
//! Comes in: the UTF-8 bytes of one record. Goes out: keys, strings, numbers and the spans of whole values, without building
//! anything. Fails: [`Syntax`], with the reason. Leniencies of Spark: single quotes, and bare `NaN` and `Infinity`.

use super::number::Number;

/// Values nested deeper than this are refused.
pub(super) const MAX_DEPTH: usize = 128;

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax(pub(super) &'static str);

type Result<T> = std::result::Result<T, Syntax>;

/// A string between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// The bytes as written.
    pub(super) raw: &'a [u8],
    /// Whether they hold escapes.
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// The bytes it stands for; escapes are resolved in `scratch`.
    #[inline]
    pub(super) fn resolve<'b>(&self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if !self.escaped {
            return self.raw;
        }
        unescape(self.raw, scratch);
        scratch
    }
}

/// A place in a record.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks the bytes of a word that end or interrupt a string: a quote, a backslash, a control character. The lowest mark is
/// exact; higher ones may be false.
#[inline]
fn interrupts(word: u64, quote: u8) -> u64 {
    let quotes = word ^ ONES.wrapping_mul(u64::from(quote));
    let slashes = word ^ ONES.wrapping_mul(u64::from(b'\\'));
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero(quotes) | zero(slashes) | control) & HIGH
}

/// The end of the digits from `at` on.
#[inline]
fn digits_end(data: &[u8], mut at: usize) -> usize {
    while let Some(window) = data.get(at..at + 8) {
        let mut word = [0u8; 8];
        word.copy_from_slice(window);
        // A digit without the bits of '0' is at most 9; what is more than 9 carries into the byte's high bit.
        let values = u64::from_le_bytes(word) ^ (ONES * 0x30);
        let others = (((values & !HIGH) + ONES * 0x76) | values) & HIGH;
        if others != 0 {
            return at + (others.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while data.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

impl<'a> Cursor<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next byte, 0 at the end: no token begins with 0.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.data.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    #[inline]
    pub(super) fn skip_blank(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Steps over `token` when it comes next. `masked` is its first 16 bytes under `mask`; a longer token is compared whole.
    #[inline]
    pub(super) fn eat_token(&mut self, token: &[u8], masked: u128, mask: u128) -> bool {
        let found = match self.data.get(self.at..self.at + 16) {
            Some(window) => {
                let mut word = [0u8; 16];
                word.copy_from_slice(window);
                u128::from_le_bytes(word) & mask == masked
                    && (token.len() <= 16 || self.data[self.at..].starts_with(token))
            }
            None => self.data.get(self.at..).is_some_and(|rest| rest.starts_with(token)),
        };
        if found {
            self.at += token.len();
        }
        found
    }

    /// A string; the cursor stands on its quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'a>> {
        let quote = self.peek();
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            while let Some(window) = self.data.get(self.at..self.at + 8) {
                let mut word = [0u8; 8];
                word.copy_from_slice(window);
                let marks = interrupts(u64::from_le_bytes(word), quote);
                if marks != 0 {
                    self.at += (marks.trailing_zeros() / 8) as usize;
                    break;
                }
                self.at += 8;
            }
            match self.data.get(self.at) {
                None => return Err(Syntax("a string does not end")),
                Some(byte) if *byte == quote => {
                    let raw = &self.data[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(byte) if *byte < 0x20 => return Err(Syntax("a string holds a control character")),
                Some(_) => self.at += 1,
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<()> {
        match self.data.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.data.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(Syntax("an escape \\u lacks its four hexadecimal digits"));
                }
                self.at += 6;
            }
            _ => return Err(Syntax("a string holds an unknown escape")),
        }
        Ok(())
    }

    /// A number; the cursor stands on its sign or first digit.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number<'a>> {
        self.digits::<true>()
    }

    /// A number, with its mantissa or, to be stepped over, without: the multiplications wait for each other, while the end of
    /// the digits is found eight at a time.
    #[inline]
    fn digits<const MANTISSA: bool>(&mut self) -> Result<Number<'a>> {
        let start = self.at;
        let mut at = start;
        let data = self.data;
        if data.get(at) == Some(&b'-') {
            at += 1;
        }
        let first = at;
        let mut mantissa = 0u64;
        let mut digits = |at: &mut usize| {
            if !MANTISSA {
                *at = digits_end(data, *at);
                return;
            }
            while let Some(digit) = data.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                *at += 1;
            }
        };
        digits(&mut at);
        let whole = at - first;
        if whole == 0 || (whole > 1 && data[first] == b'0') {
            return self.special_or("a number lacks digits or begins with 0");
        }
        let mut fraction = 0;
        if data.get(at) == Some(&b'.') {
            at += 1;
            let point = at;
            digits(&mut at);
            fraction = at - point;
            if fraction == 0 {
                return Err(Syntax("a number lacks digits after its point"));
            }
        }
        let scientific = matches!(data.get(at), Some(b'e' | b'E'));
        if scientific {
            at += 1;
            if matches!(data.get(at), Some(b'+' | b'-')) {
                at += 1;
            }
            let exponent = at;
            while data.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            if at == exponent {
                return Err(Syntax("a number lacks digits in its exponent"));
            }
        }
        self.at = at;
        Ok(Number {
            raw: &data[start..at],
            mantissa,
            digits: whole + fraction,
            fraction,
            integer: fraction == 0 && !scientific,
            scientific,
        })
    }

    /// `NaN`, `Infinity` and their signed forms.
    #[cold]
    pub(super) fn special_or(&mut self, otherwise: &'static str) -> Result<Number<'a>> {
        let rest = &self.data[self.at.min(self.data.len())..];
        for name in [&b"NaN"[..], b"Infinity", b"+Infinity", b"-Infinity", b"+INF", b"-INF"] {
            if rest.starts_with(name) {
                self.at += name.len();
                return Ok(Number {
                    raw: &rest[..name.len()],
                    mantissa: 0,
                    digits: 0,
                    fraction: 0,
                    integer: false,
                    scientific: true,
                });
            }
        }
        Err(Syntax(otherwise))
    }

    /// `true`, `false` or `null`.
    #[inline]
    pub(super) fn literal(&mut self, word: &'static str) -> Result<()> {
        if self.data[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Syntax("a word is neither true, false nor null"))
        }
    }

    /// Steps over a whole value and gives its text.
    #[inline]
    pub(super) fn value(&mut self, depth: usize) -> Result<&'a [u8]> {
        let start = self.at;
        match self.peek() {
            b'"' | b'\'' => {
                self.string()?;
            }
            b'0'..=b'9' | b'-' => {
                self.digits::<false>()?;
            }
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            b'{' | b'[' => self.nested(depth)?,
            _ => {
                self.special_or("a value is missing")?;
            }
        }
        Ok(&self.data[start..self.at])
    }

    /// Steps over an opening bracket and the blanks after it.
    pub(super) fn enter(&mut self, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(Syntax("values are nested deeper than 128 levels"));
        }
        self.step();
        self.skip_blank();
        Ok(())
    }

    fn nested(&mut self, depth: usize) -> Result<()> {
        let object = self.peek() == b'{';
        let close = if object { b'}' } else { b']' };
        self.enter(depth)?;
        if self.peek() == close {
            self.step();
            return Ok(());
        }
        loop {
            if object {
                self.key()?;
            }
            self.value(depth + 1)?;
            if !self.more(close)? {
                return Ok(());
            }
        }
    }

    /// A key and its colon, and the blanks around them.
    pub(super) fn key(&mut self) -> Result<Text<'a>> {
        if !matches!(self.peek(), b'"' | b'\'') {
            return Err(Syntax("a key lacks its quotes"));
        }
        let key = self.string()?;
        self.skip_blank();
        if self.peek() != b':' {
            return Err(Syntax("a key lacks its colon"));
        }
        self.step();
        self.skip_blank();
        Ok(key)
    }

    /// After a member: true when a comma says that another follows, false at the closing bracket.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool> {
        if self.peek() <= b' ' {
            self.skip_blank();
        }
        let byte = self.peek();
        self.step();
        if byte == b',' {
            if self.peek() <= b' ' {
                self.skip_blank();
            }
            Ok(true)
        } else if byte == close {
            Ok(false)
        } else {
            Err(Syntax("a value is followed by neither a comma nor the closing bracket"))
        }
    }
}

/// Resolves escapes that the scan has checked. A half of a surrogate pair becomes `?`, as it does on its way through Java.
#[cold]
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let unit = |at: usize| -> Option<u32> {
        let digits = raw.get(at..at + 6)?;
        let text = std::str::from_utf8(digits.strip_prefix(b"\\u")?).ok()?;
        u32::from_str_radix(text, 16).ok()
    };
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        if *byte != b'\\' {
            out.push(*byte);
            at += 1;
            continue;
        }
        let plain = match raw.get(at + 1) {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let first = unit(at).unwrap_or(0xfffd);
                at += 6;
                let letter = match (first, unit(at)) {
                    (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
                        at += 6;
                        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                    }
                    _ => char::from_u32(first),
                };
                out.extend_from_slice(letter.unwrap_or('?').encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            Some(other) => *other,
            None => b'\\',
        };
        out.push(plain);
        at += 2;
    }
}
