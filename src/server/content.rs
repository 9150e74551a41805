//! What results are made of: content blocks of tools and prompts, and contents of resources.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who speaks, or whom something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// Hints on how a client uses something (2026-07-28 schema, Annotations).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audience: Vec<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
}

impl Annotations {
    /// No hints.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds whom it is for.
    #[must_use]
    pub fn audience(mut self, role: Role) -> Self {
        self.audience.push(role);
        self
    }

    /// How much it matters, from 0 to 1; values outside are moved to the nearer end.
    #[must_use]
    pub fn priority(mut self, priority: f64) -> Self {
        self.priority = Some(priority.clamp(0.0, 1.0));
        self
    }

    /// When it last changed, in ISO 8601.
    #[must_use]
    pub fn last_modified(mut self, time: impl Into<String>) -> Self {
        self.last_modified = Some(time.into());
        self
    }
}

/// Bytes that travel as base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Blob(String);

impl Blob {
    /// Takes base64 text (RFC 4648, 4) as it is.
    pub fn base64(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Self(STANDARD.encode(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Blob {
    fn from(bytes: &[u8; N]) -> Self {
        Self(STANDARD.encode(bytes))
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(STANDARD.encode(bytes))
    }
}

/// One block of a tool's result or of a prompt's message.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    #[serde(flatten)]
    block: Block,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    meta: Map<String, Value>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    Image(Media),
    Audio(Media),
    ResourceLink {
        uri: String,
        name: String,
        #[serde(flatten)]
        more: Map<String, Value>,
    },
    Resource {
        resource: ResourceContents,
    },
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Media {
    data: Blob,
    mime_type: String,
}

impl Block {
    fn into_content(self) -> Content {
        Content { block: self, annotations: None, meta: Map::new() }
    }
}

impl Content {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Block::Text { text: text.into() }.into_content()
    }

    /// An image, with a type such as `image/png`.
    pub fn image(data: impl Into<Blob>, mime_type: impl Into<String>) -> Self {
        Block::Image(Media { data: data.into(), mime_type: mime_type.into() }).into_content()
    }

    /// A sound, with a type such as `audio/wav`.
    pub fn audio(data: impl Into<Blob>, mime_type: impl Into<String>) -> Self {
        Block::Audio(Media { data: data.into(), mime_type: mime_type.into() }).into_content()
    }

    /// A resource that the client can read, whether it is in the list or not.
    pub fn resource_link(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Block::ResourceLink { uri: uri.into(), name: name.into(), more: Map::new() }.into_content()
    }

    /// The contents of a resource, embedded.
    pub fn resource(resource: ResourceContents) -> Self {
        Block::Resource { resource }.into_content()
    }

    /// Sets a further member of a resource link, such as `mimeType`, `title` or `size`; does
    /// nothing to other blocks.
    #[must_use]
    pub fn link_member(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        if let Block::ResourceLink { more, .. } = &mut self.block {
            more.insert(key.into(), value.into());
        }
        self
    }

    /// Hints on its use.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = Some(annotations);
        self
    }

    /// Sets a member of the block's `_meta`.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<ResourceContents> for Content {
    fn from(contents: ResourceContents) -> Self {
        Self::resource(contents)
    }
}

/// What a resource, or a part of it, holds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceContents {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
    #[serde(flatten)]
    data: Data,
    #[serde(rename = "_meta", skip_serializing_if = "Map::is_empty")]
    meta: Map<String, Value>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Data {
    Text(String),
    Blob(Blob),
}

impl ResourceContents {
    /// Text.
    pub fn text(uri: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(uri.into(), Data::Text(text.into()))
    }

    /// Bytes.
    pub fn blob(uri: impl Into<String>, bytes: impl Into<Blob>) -> Self {
        Self::new(uri.into(), Data::Blob(bytes.into()))
    }

    fn new(uri: String, data: Data) -> Self {
        Self { uri, mime_type: None, data, meta: Map::new() }
    }

    /// Its type; else the one of the resource's definition is given.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// Sets a member of the contents' `_meta`.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    pub(super) fn or_mime_type(&mut self, default: Option<&str>) {
        if self.mime_type.is_none() {
            self.mime_type = default.map(str::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_are_written_as_the_schema_has_them() {
        let text = ResourceContents::text("a://b", "t").mime_type("text/plain");
        let table = [
            (Content::text("hi"), json!({"type": "text", "text": "hi"})),
            (
                Content::image(b"\x89P", "image/png")
                    .annotations(Annotations::new().audience(Role::User).priority(2.0)),
                json!({"type": "image", "data": "iVA=", "mimeType": "image/png",
                    "annotations": {"audience": ["user"], "priority": 1.0}}),
            ),
            (
                Content::audio(Blob::base64("AA=="), "audio/wav").meta("k", 1),
                json!({"type": "audio", "data": "AA==", "mimeType": "audio/wav",
                    "_meta": {"k": 1}}),
            ),
            (
                Content::resource_link("a://b", "b").link_member("size", 3),
                json!({"type": "resource_link", "uri": "a://b", "name": "b", "size": 3}),
            ),
            (
                Content::resource(text),
                json!({"type": "resource",
                    "resource": {"uri": "a://b", "mimeType": "text/plain", "text": "t"}}),
            ),
            (
                Content::resource(ResourceContents::blob("a://b", vec![0])),
                json!({"type": "resource", "resource": {"uri": "a://b", "blob": "AA=="}}),
            ),
        ];
        for (content, expected) in table {
            assert_eq!(serde_json::to_value(&content).expect("valid"), expected);
        }
    }
}
