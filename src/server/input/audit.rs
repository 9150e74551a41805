//! What a schema must keep to before it is compiled, so that checking against it is bounded.
//!
//! - It is of a dialect that is known, and refers to places within itself alone.
//! - Its size and depth are bounded: compiling recurses.
//! - What applies to the *same* value (`allOf`, `anyOf`, `oneOf`, `not`, `if`, `then`, `else`,
//!   `dependentSchemas`, references) forms no cycle, which would not end; counted with each repetition
//!   it is at most [`IN_PLACE_MAX`] schemas, and at most [`IN_PLACE_DEPTH_MAX`] deep. Recursion
//!   through a member or an item is fine: it ends where the arguments do.
//!
//! Left out: whether keywords have values of the right kind, which the dialect's own schema tells.

use std::collections::HashMap;

use jsonschema::Draft;
use serde_json::Value;

use super::Flaw;

/// Most bytes of a schema's JSON text.
pub(super) const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Most levels of arrays and objects in a schema.
pub(super) const SCHEMA_DEPTH_MAX: usize = 64;
/// Most schemas that one value is checked against at one place.
pub(super) const IN_PLACE_MAX: u32 = 1_000;
/// Most schemas, each within the last, that one value is checked against at one place.
pub(super) const IN_PLACE_DEPTH_MAX: usize = 24;

/// Keywords whose value is a schema, an array or an object of schemas; and whether these apply to
/// the same value as the keyword. Of all dialects.
const KEYWORDS: [(&str, bool); 22] = [
    ("$defs", false),
    ("additionalItems", false),
    ("additionalProperties", false),
    ("allOf", true),
    ("anyOf", true),
    ("contains", false),
    ("contentSchema", false),
    ("definitions", false),
    ("dependencies", true),
    ("dependentSchemas", true),
    ("else", true),
    ("if", true),
    ("items", false),
    ("not", true),
    ("oneOf", true),
    ("patternProperties", false),
    ("prefixItems", false),
    ("properties", false),
    ("propertyNames", false),
    ("then", true),
    ("unevaluatedItems", false),
    ("unevaluatedProperties", false),
];
/// Of those, the ones whose value is an object of schemas.
const MAPS: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];

/// Audits a schema and tells its dialect: 2020-12, unless `$schema` names another that is known.
pub(super) fn audit(schema: &Value) -> Result<Draft, Flaw> {
    let draft = dialect(schema)?;
    check_size(schema)?;
    let mut graph = Graph::new(schema, draft);
    graph.collect(schema, "")?;
    graph.link()?;
    graph.measure()?;
    Ok(draft)
}

fn dialect(schema: &Value) -> Result<Draft, Flaw> {
    let Some(name) = schema.get("$schema") else { return Ok(Draft::Draft202012) };
    let known = match name.as_str().map(|name| name.trim_end_matches('#')) {
        Some("https://json-schema.org/draft/2020-12/schema") => Some(Draft::Draft202012),
        Some("https://json-schema.org/draft/2019-09/schema") => Some(Draft::Draft201909),
        Some("http://json-schema.org/draft-07/schema") => Some(Draft::Draft7),
        Some("http://json-schema.org/draft-06/schema") => Some(Draft::Draft6),
        Some("http://json-schema.org/draft-04/schema") => Some(Draft::Draft4),
        _ => None,
    };
    known.ok_or_else(|| {
        Flaw::new("/$schema", format!("{name} is no dialect known here, such as draft 2020-12's"))
    })
}

fn check_size(schema: &Value) -> Result<(), Flaw> {
    if depth(schema) > SCHEMA_DEPTH_MAX {
        return Err(Flaw::new("", format!("is nested more than {SCHEMA_DEPTH_MAX} levels deep")));
    }
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES_MAX {
        let reason = format!("has {bytes} bytes, more than {SCHEMA_BYTES_MAX}");
        return Err(Flaw::new("", reason));
    }
    Ok(())
}

/// Levels of arrays and objects; counts no further than one too many.
fn depth(schema: &Value) -> usize {
    let mut level = vec![schema];
    for depth in 0..=SCHEMA_DEPTH_MAX {
        let mut next = Vec::new();
        for value in level {
            match value {
                Value::Array(items) => next.extend(items),
                Value::Object(members) => next.extend(members.values()),
                _ => {}
            }
        }
        if next.is_empty() {
            return depth;
        }
        level = next;
    }
    SCHEMA_DEPTH_MAX + 1
}

/// The schemas within a schema, and which of them apply to the same value.
struct Graph<'s> {
    root: &'s Value,
    id: Option<&'s str>,
    id_keyword: &'static str,
    nodes: Vec<Node<'s>>,
    /// Nodes by the address of their value.
    places: HashMap<*const Value, usize>,
    anchors: HashMap<&'s str, usize>,
}

struct Node<'s> {
    pointer: String,
    schema: &'s Value,
    in_place: Vec<usize>,
    measured: Measured,
}

#[derive(Clone, Copy)]
enum Measured {
    No,
    Running,
    Done { count: u32, depth: usize },
}

impl<'s> Graph<'s> {
    fn new(root: &'s Value, draft: Draft) -> Self {
        let id_keyword = draft.id_keyword();
        Self {
            root,
            id: root.get(id_keyword).and_then(Value::as_str).map(|id| id.trim_end_matches('#')),
            id_keyword,
            nodes: Vec::new(),
            places: HashMap::new(),
            anchors: HashMap::new(),
        }
    }

    /// Notes a schema and those within it. Recurses at most [`SCHEMA_DEPTH_MAX`] times.
    fn collect(&mut self, schema: &'s Value, pointer: &str) -> Result<usize, Flaw> {
        let at = self.nodes.len();
        self.places.insert(schema, at);
        self.nodes.push(Node {
            pointer: pointer.to_owned(),
            schema,
            in_place: Vec::new(),
            measured: Measured::No,
        });
        let Some(members) = schema.as_object() else { return Ok(at) };
        self.check_own(schema, pointer)?;
        for name in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = members.get(name).and_then(Value::as_str)
                && self.anchors.insert(anchor, at).is_some_and(|other| other != at)
            {
                return Err(Flaw::new(pointer, format!("the anchor '{anchor}' is there twice")));
            }
        }
        for (keyword, value) in members {
            let Some(&(_, in_place)) = KEYWORDS.iter().find(|(known, _)| known == keyword) else {
                continue;
            };
            let place = format!("{pointer}/{keyword}");
            let mut found = Vec::new();
            match value {
                Value::Object(schemas) if MAPS.contains(&keyword.as_str()) => {
                    for (name, schema) in schemas {
                        let name = name.replace('~', "~0").replace('/', "~1");
                        found.push(self.collect(schema, &format!("{place}/{name}"))?);
                    }
                }
                Value::Array(schemas) => {
                    for (index, schema) in schemas.iter().enumerate() {
                        found.push(self.collect(schema, &format!("{place}/{index}"))?);
                    }
                }
                Value::Object(_) | Value::Bool(_) => found.push(self.collect(value, &place)?),
                _ => {}
            }
            if in_place {
                self.nodes[at].in_place.extend(found);
            }
        }
        Ok(at)
    }

    /// Schemas with an identity or dialect of their own are other documents, embedded.
    fn check_own(&self, schema: &Value, pointer: &str) -> Result<(), Flaw> {
        if pointer.is_empty() {
            return Ok(());
        }
        for keyword in [self.id_keyword, "$schema"] {
            if schema.get(keyword).is_some_and(Value::is_string) {
                let reason = format!("has a {keyword} of its own: embed no other documents");
                return Err(Flaw::new(pointer, reason));
            }
        }
        Ok(())
    }

    /// Finds what references refer to.
    fn link(&mut self) -> Result<(), Flaw> {
        for at in 0..self.nodes.len() {
            for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
                let Some(reference) = self.nodes[at].schema.get(keyword).and_then(Value::as_str)
                else {
                    continue;
                };
                let target = self.find(reference).map_err(|reason| {
                    let reason = format!("'{}' {reason}", super::report::shortened(reference));
                    Flaw::new(format!("{}/{keyword}", self.nodes[at].pointer), reason)
                })?;
                self.nodes[at].in_place.push(target);
            }
        }
        Ok(())
    }

    fn find(&self, reference: &str) -> Result<usize, &'static str> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if !document.is_empty() && Some(document) != self.id {
            return Err("refers to another document: none is fetched");
        }
        if reference.is_empty() {
            return Err("refers to nothing: the schema itself is '#'");
        }
        let fragment = percent_decoded(fragment).ok_or("is no valid reference")?;
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return self.anchors.get(&*fragment).copied().ok_or("names no anchor");
        }
        let target = self.root.pointer(&fragment).ok_or("refers to nothing")?;
        let place: *const Value = target;
        self.places.get(&place).copied().ok_or("refers to a place where no schema is")
    }

    fn measure(&mut self) -> Result<(), Flaw> {
        (0..self.nodes.len()).try_for_each(|at| self.measure_from(at, 0).map(drop))
    }

    /// How many schemas apply where this does, and how deep. Recurses as deep as is allowed.
    fn measure_from(&mut self, at: usize, above: usize) -> Result<(u32, usize), Flaw> {
        let flaw = |graph: &Self, reason| Err(Flaw::new(graph.nodes[at].pointer.clone(), reason));
        match self.nodes[at].measured {
            Measured::Done { count, depth } => return Ok((count, depth)),
            Measured::Running => {
                return flaw(self, "refers to itself without an end".to_owned());
            }
            Measured::No => {}
        }
        if above > IN_PLACE_DEPTH_MAX {
            return flaw(self, too_deep());
        }
        self.nodes[at].measured = Measured::Running;
        let (mut count, mut depth) = (1_u32, 0);
        for edge in 0..self.nodes[at].in_place.len() {
            let (more, deeper) = self.measure_from(self.nodes[at].in_place[edge], above + 1)?;
            count = count.saturating_add(more);
            depth = depth.max(deeper + 1);
        }
        if count > IN_PLACE_MAX {
            return flaw(
                self,
                format!("is checked against more than {IN_PLACE_MAX} schemas at one place"),
            );
        }
        if depth > IN_PLACE_DEPTH_MAX {
            return flaw(self, too_deep());
        }
        self.nodes[at].measured = Measured::Done { count, depth };
        Ok((count, depth))
    }
}

fn too_deep() -> String {
    format!("nests more than {IN_PLACE_DEPTH_MAX} schemas for the same value")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(rest.next()?)? * 16 + digit(rest.next()?)?);
    }
    String::from_utf8(bytes).ok()
}
