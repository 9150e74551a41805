//! Matching of URIs against templates (RFC 6570, level 1 and `{+name}` of level 2).

/// A URI template such as `file:///{+path}` or `db://{table}/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `reserved` values may hold `/`.
    Variable {
        name: String,
        reserved: bool,
    },
}

/// Why a text is no template that can be matched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("URI template '{0}' is invalid: use {{name}} and {{+name}}, apart from each other")]
pub struct TemplateError(String);

impl UriTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] on unbalanced braces, operators other than `+`, and variables that
    /// follow each other without a literal between, which no URI could be told apart by.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let error = || TemplateError(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let brace = rest.find(['{', '}']).unwrap_or(rest.len());
            if brace > 0 {
                parts.push(Part::Literal(rest[..brace].to_owned()));
                rest = &rest[brace..];
                continue;
            }
            let (inside, after) =
                rest.strip_prefix('{').and_then(|r| r.split_once('}')).ok_or_else(error)?;
            let (reserved, name) =
                inside.strip_prefix('+').map_or((false, inside), |name| (true, name));
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let follows_variable = matches!(parts.last(), Some(Part::Variable { .. }));
            if name.is_empty() || !name.bytes().all(valid) || follows_variable {
                return Err(error());
            }
            parts.push(Part::Variable { name: name.to_owned(), reserved });
            rest = after;
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The template's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has a variable of this name.
    pub fn has(&self, variable: &str) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Variable { name, .. } if name == variable))
    }

    /// The variables' values, as they stand in the URI, where it matches. A variable takes the
    /// shortest text that lets the rest match at its next literal, at least one byte.
    pub fn variables<'t, 'u>(&'t self, uri: &'u str) -> Option<Vec<(&'t str, &'u str)>> {
        let mut rest = uri;
        let mut found = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Part::Variable { name, reserved } => {
                    let end = match self.parts.get(at + 1) {
                        // The last literal must end the URI, so the longest match is the one.
                        Some(Part::Literal(next)) if at + 2 == self.parts.len() => {
                            rest.len().checked_sub(next.len())?
                        }
                        Some(Part::Literal(next)) => rest.find(next.as_str())?,
                        _ => rest.len(),
                    };
                    let value = rest.get(..end)?;
                    if value.is_empty() || (!reserved && value.contains('/')) {
                        return None;
                    }
                    found.push((name.as_str(), value));
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Bound = Option<&'static [(&'static str, &'static str)]>;

    #[test]
    fn matches_and_binds() {
        let table: [(&str, &str, Bound); 9] = [
            ("test://template/{id}/data", "test://template/123/data", Some(&[("id", "123")])),
            ("test://template/{id}/data", "test://template//data", None),
            ("test://template/{id}/data", "test://template/1/2/data", None),
            ("test://template/{id}/data", "test://template/data/data", Some(&[("id", "data")])),
            ("test://template/{id}/data", "test://template/1/data/x", None),
            ("file:///{+path}", "file:///a/b/c", Some(&[("path", "a/b/c")])),
            ("db://{t}/{id}", "db://users/7", Some(&[("t", "users"), ("id", "7")])),
            ("a://x", "a://x", Some(&[])),
            ("a://x", "a://y", None),
        ];
        for (template, uri, expected) in table {
            let parsed = UriTemplate::parse(template).expect("valid template");
            assert_eq!(parsed.variables(uri).as_deref(), expected, "{template} {uri}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_match() {
        for text in ["a{", "a}", "{}", "{?q}", "{a}{b}", "{a b}", "{a{b}}"] {
            assert!(UriTemplate::parse(text).is_err(), "{text}");
        }
    }
}
