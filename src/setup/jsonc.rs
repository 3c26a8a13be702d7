//! JSON read with the place of every value, so that a few bytes can be put in and all the others stay as they are:
//! key order, indentation, comments (where the format allows them) and numbers as written.

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// An object's members: name, value.
    Object(Vec<(String, Node)>),
    /// An array's items.
    Array(Vec<Node>),
    /// A string, unescaped.
    Text(String),
    /// A number, `true`, `false` or `null`.
    Other,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// For objects and arrays: whether a comma follows the last element.
    trailing_comma: bool,
}

/// The first thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl Node {
    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Whether any string in it contains `part`.
    pub fn mentions(&self, part: &str) -> bool {
        match &self.kind {
            Kind::Object(members) => members.iter().any(|(_, value)| value.mentions(part)),
            Kind::Array(items) => items.iter().any(|item| item.mentions(part)),
            Kind::Text(text) => text.contains(part),
            Kind::Other => false,
        }
    }

    fn last_end(&self) -> Option<usize> {
        match &self.kind {
            Kind::Object(members) => members.last().map(|(_, value)| value.end),
            Kind::Array(items) => items.last().map(|item| item.end),
            _ => None,
        }
    }

    /// `source` with `element` (`"name": value`, or an item) put in as this object's or array's last one.
    pub fn with_last(&self, source: &str, element: &str) -> String {
        let outer = indentation(source, self.start);
        let step = step(source);
        let element = element.replace('\n', &format!("\n{outer}{step}"));
        let (at, text) = match self.last_end() {
            // Right after the last value: a comment behind it stays behind the new one, which is legal and harmless.
            Some(end) if self.trailing_comma => {
                let comma = end + source[end..self.end].find(',').unwrap_or_default();
                (comma + 1, format!("\n{outer}{step}{element},"))
            }
            Some(end) => (end, format!(",\n{outer}{step}{element}")),
            None => (self.start + 1, format!("\n{outer}{step}{element}\n{outer}")),
        };
        // What stood between the brackets of an empty container was space (or a comment, which stays).
        let keep = if self.last_end().is_none() && source[self.start + 1..self.end - 1].trim().is_empty() {
            self.end - 1
        } else {
            at
        };
        format!("{}{text}{}", &source[..at], &source[keep..])
    }

    /// `source` with this value replaced.
    pub fn replaced(&self, source: &str, text: &str) -> String {
        let text = text.replace('\n', &format!("\n{}", indentation(source, self.start)));
        format!("{}{text}{}", &source[..self.start], &source[self.end..])
    }
}

/// The white space that the line of `at` begins with.
fn indentation(source: &str, at: usize) -> &str {
    let line = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let text = &source[line..];
    &text[..text.len() - text.trim_start_matches([' ', '\t']).len()]
}

/// One level of indentation, as the document's first indented member has it.
fn step(source: &str) -> &str {
    let first =
        source.lines().find(|line| line.starts_with([' ', '\t']) && line.trim_start().starts_with('"'));
    first.map_or("  ", |line| &line[..line.len() - line.trim_start_matches([' ', '\t']).len()])
}

/// Parses a document; with `comments`, also `//` and `/* */` and commas before a closing bracket, as devcontainer.json has.
pub fn parse(source: &str, comments: bool) -> Result<Node, SyntaxError> {
    let mut parser = Parser { source, at: 0, comments, depth: 0 };
    parser.space()?;
    let node = parser.value()?;
    parser.space()?;
    if parser.at < source.len() {
        return Err(parser.wrong("something follows the document"));
    }
    Ok(node)
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    comments: bool,
    depth: u32,
}

impl Parser<'_> {
    fn wrong(&self, what: &'static str) -> SyntaxError {
        SyntaxError { line: self.source[..self.at.min(self.source.len())].matches('\n').count() + 1, what }
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn space(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = &self.source[self.at..];
            let skipped = if rest.starts_with([' ', '\t', '\n', '\r']) {
                1
            } else if self.comments && rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if self.comments && rest.starts_with("/*") {
                rest.find("*/").ok_or_else(|| self.wrong("a comment does not end"))? + 2
            } else {
                return Ok(());
            };
            self.at += skipped;
        }
    }

    fn value(&mut self) -> Result<Node, SyntaxError> {
        let start = self.at;
        // Deep enough for any settings file, shallow enough for any stack.
        if self.depth > 100 {
            return Err(self.wrong("nested too deeply"));
        }
        self.depth += 1;
        let (kind, trailing_comma) = match self.peek() {
            Some(b'{') => {
                let (members, comma) = self.elements(b'}', Self::member)?;
                (Kind::Object(members), comma)
            }
            Some(b'[') => {
                let (items, comma) = self.elements(b']', Self::value)?;
                (Kind::Array(items), comma)
            }
            Some(b'"') => (Kind::Text(self.text()?), false),
            Some(_) => (self.other()?, false),
            None => return Err(self.wrong("the document ends too early")),
        };
        self.depth -= 1;
        Ok(Node { kind, start, end: self.at, trailing_comma })
    }

    fn elements<T>(
        &mut self,
        close: u8,
        one: impl Fn(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<(Vec<T>, bool), SyntaxError> {
        self.at += 1;
        let (mut found, mut comma) = (Vec::new(), false);
        loop {
            self.space()?;
            if self.peek() == Some(close) && (found.is_empty() || !comma || self.comments) {
                self.at += 1;
                return Ok((found, comma));
            }
            if !found.is_empty() && !comma {
                return Err(self.wrong("a comma or a closing bracket is missing"));
            }
            found.push(one(self)?);
            self.space()?;
            comma = self.take(b',');
        }
    }

    fn member(&mut self) -> Result<(String, Node), SyntaxError> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a name in quotes is missing"));
        }
        let name = self.text()?;
        self.space()?;
        if !self.take(b':') {
            return Err(self.wrong("a colon is missing"));
        }
        self.space()?;
        Ok((name, self.value()?))
    }

    /// A string; serde_json judges and unescapes it.
    fn text(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.wrong("a string does not end")),
            }
        }
        self.at += 1;
        let quoted = self.source.get(start..self.at).ok_or_else(|| self.wrong("not a string"))?;
        serde_json::from_str(quoted).map_err(|_| self.wrong("not a string"))
    }

    fn other(&mut self) -> Result<Kind, SyntaxError> {
        let rest = &self.source[self.at..];
        let end = rest.find([',', '}', ']', ' ', '\t', '\n', '\r', '/']).unwrap_or(rest.len());
        let word = &rest[..end];
        if serde_json::from_str::<serde_json::Value>(word).is_err() {
            return Err(self.wrong("not a value"));
        }
        self.at += end;
        Ok(Kind::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_serde_on_what_is_json() {
        let good = [
            "{}",
            "[]",
            " {\"a\": [1, -2.5e3, true, null, \"x\\n\\u00e9\\\"\"]} \n",
            "\"é\"",
            "[[[]], {\"\": {}}]",
        ];
        let bad = [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a: 1}",
            "[1 2]",
            "{} x",
            "\"open",
            "// c\n{}",
            "{\"a\" 1}",
            "[01]",
            "\"\\x\"",
        ];
        for (text, expected) in good.map(|text| (text, true)).into_iter().chain(bad.map(|text| (text, false)))
        {
            assert_eq!(parse(text, false).is_ok(), expected, "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(text).is_ok(), expected, "{text}");
        }
        assert_eq!(parse("{\n\"a\": x\n}", false).unwrap_err().line, 2);
        assert!(parse(&"[".repeat(5000), true).is_err());
    }

    #[test]
    fn elements_are_put_in_at_the_end_and_the_rest_is_kept() {
        let put = |source: &str| parse(source, true).unwrap().with_last(source, "\"b\": {\n  \"c\": 1\n}");
        assert_eq!(put("{}"), "{\n  \"b\": {\n    \"c\": 1\n  }\n}");
        assert_eq!(put("{ \n }\n"), "{\n  \"b\": {\n    \"c\": 1\n  }\n}\n");
        assert_eq!(
            put("{\n    \"a\": 1.0 // one\n}\n"),
            "{\n    \"a\": 1.0,\n    \"b\": {\n      \"c\": 1\n    } // one\n}\n"
        );
        assert_eq!(put("{\n\t\"a\": 1,\n}"), "{\n\t\"a\": 1,\n\t\"b\": {\n\t  \"c\": 1\n\t},\n}");
        let commented = put("{ /* nothing */ }");
        assert!(commented.contains("/* nothing */") && parse(&commented, true).is_ok(), "{commented}");
    }

    #[test]
    fn values_are_replaced_in_place() {
        let source = "{\"a\": \"x\", \"b\": 2}";
        let node = parse(source, false).unwrap();
        assert_eq!(node.get("a").unwrap().replaced(source, "[1]"), "{\"a\": [1], \"b\": 2}");
        assert!(node.mentions("x") && !node.mentions("y"));
    }
}
