//! What tools, resources, templates and prompts have in common: a definition for clients, written
//! first, and then the code.

use ringmesh_runtime::catalog::{CatalogError, Handler};
use serde::Serialize;
use serde_json::{Map, Value};

/// An entry whose code is still to be given.
#[derive(Debug)]
pub struct Draft(());

/// An entry that a server can offer.
pub struct Ready(pub(super) Box<Enter>);

/// Makes an entry's handler as the entry enters the catalog.
pub(super) type Enter = dyn FnOnce(&Defaults, &Definition) -> Result<Handler, CatalogError> + Send;

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ready(..)")
    }
}

impl Draft {
    pub(super) fn new() -> Self {
        Self(())
    }
}

impl Ready {
    pub(super) fn new(handler: Handler) -> Self {
        Self(Box::new(|_, _| Ok(handler)))
    }
}

/// What a server sets for entries that do not say otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) read_ttl_ms: u64,
}

/// The members of a definition.
#[derive(Clone, Debug)]
pub(super) struct Definition(Map<String, Value>);

impl Definition {
    pub(super) fn new(key: &str, value: String) -> Self {
        let mut definition = Self(Map::new());
        definition.set(key, value);
        definition
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Sets a member to what a type of this crate serialises to.
    pub(super) fn set_as<T: Serialize>(&mut self, key: &str, value: &T) {
        self.set(key, serde_json::to_value(value).unwrap_or_default());
    }

    /// Appends to a member that is an array.
    pub(super) fn push(&mut self, key: &str, value: Value) {
        let member = self.0.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        if let Some(array) = member.as_array_mut() {
            array.push(value);
        }
    }

    /// Sets a member of `_meta`.
    pub(super) fn set_meta(&mut self, key: String, value: Value) {
        let member = self.0.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
        if let Some(object) = member.as_object_mut() {
            object.insert(key, value);
        }
    }

    pub(super) fn member(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.member(key).and_then(Value::as_str)
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Setters of the members that every kind of definition has.
macro_rules! described {
    ($kind:ident) => {
        impl<S> $kind<S> {
            /// A title for people; the name is for programs.
            pub fn title(mut self, title: impl Into<String>) -> Self {
                self.definition.set("title", title.into());
                self
            }

            /// What it is for; models choose by this.
            pub fn description(mut self, description: impl Into<String>) -> Self {
                self.definition.set("description", description.into());
                self
            }

            /// Adds an icon.
            pub fn icon(mut self, icon: $crate::server::Icon) -> Self {
                self.definition.push("icons", icon.into_value());
                self
            }

            /// Sets a member of the definition's `_meta`.
            pub fn meta(
                mut self,
                key: impl Into<String>,
                value: impl Into<serde_json::Value>,
            ) -> Self {
                self.definition.set_meta(key.into(), value.into());
                self
            }
        }

        impl<S> std::fmt::Debug for $kind<S> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($kind)).field(&self.definition).finish()
            }
        }
    };
}
pub(super) use described;

/// An icon for user interfaces (2026-07-28 schema, Icon).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    src: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sizes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    theme: Option<Theme>,
}

/// The background that an [`Icon`] is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// A dark one.
    Dark,
    /// A light one.
    Light,
}

impl Icon {
    /// An icon at an `https:` or `data:` URI.
    pub fn new(src: impl Into<String>) -> Self {
        Self { src: src.into(), mime_type: None, sizes: Vec::new(), theme: None }
    }

    /// Its type, such as `image/png`.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// Adds a size that it is good for: `48x48`, or `any`.
    #[must_use]
    pub fn size(mut self, size: impl Into<String>) -> Self {
        self.sizes.push(size.into());
        self
    }

    /// The background that it is drawn for.
    #[must_use]
    pub fn theme(mut self, theme: Theme) -> Self {
        self.theme = Some(theme);
        self
    }

    pub(super) fn into_value(self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Hints on what a tool does (2026-07-28 schema, ToolAnnotations). Clients do not rely on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destructive_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotent_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_world_hint: Option<bool>,
}

impl ToolAnnotations {
    /// No hints.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it leaves its environment as it is.
    #[must_use]
    pub fn read_only(mut self, hint: bool) -> Self {
        self.read_only_hint = Some(hint);
        self
    }

    /// Whether it may destroy something.
    #[must_use]
    pub fn destructive(mut self, hint: bool) -> Self {
        self.destructive_hint = Some(hint);
        self
    }

    /// Whether calling it again with the same arguments changes nothing more.
    #[must_use]
    pub fn idempotent(mut self, hint: bool) -> Self {
        self.idempotent_hint = Some(hint);
        self
    }

    /// Whether it reaches things outside, such as the web.
    #[must_use]
    pub fn open_world(mut self, hint: bool) -> Self {
        self.open_world_hint = Some(hint);
        self
    }
}
