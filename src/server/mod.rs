//! The library: what a server offers, written in Rust.
//!
//! [`Server::builder`] collects tools, resources, templates and prompts and renders the first
//! catalog; a [`Handle`] changes it later. Lives once per process. Left out: running it
//! ([`crate::cli`]), and where handlers run that are not inline ([`crate::tools`]).

mod arguments;
mod completion;
mod content;
mod definition;
mod error;
mod handle;
mod handler;
mod input;
mod prompt;
mod resource;
mod result;
mod rounds;
mod schema;
#[cfg(test)]
mod tests;
mod tool;

use std::sync::Arc;
use std::time::Duration;

use ringmesh_runtime::catalog::{CatalogError, Offer, Published};
use serde_json::{Map, Value};

pub use completion::{COMPLETION_VALUES_MAX, Completion, chosen_argument};
pub use content::{Annotations, Blob, Content, ResourceContents, Role};
pub use definition::{Draft, Icon, Ready, Theme, ToolAnnotations};
pub use error::Error;
pub use handle::Handle;
pub use prompt::{IntoPromptResult, Prompt, PromptMessage, PromptResult};
pub use resource::{CacheScope, IntoReadResult, Resource, Template, Variables};
pub use result::{IntoToolResult, Json, ToolResult};
pub use rounds::{Elicited, InputRequired, Outcome, Root, Roots, Rounds, Sampled, Sampling};
pub use schema::schema_of;
pub use tool::Tool;

/// Entries on one page of a list, unless [`Builder::page_size`] says otherwise.
pub const PAGE_SIZE_DEFAULT: usize = 100;

/// Tells how a running server does: JSON text of an object, without the time that it runs.
pub type StatusSource = Arc<dyn Fn() -> String + Send + Sync>;

/// A server, ready to be run.
pub struct Server {
    handle: Handle,
    published: Arc<Published>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server with a name and a version, which clients are shown.
    pub fn builder(name: &str, version: &str) -> Builder {
        let mut info = Map::new();
        info.insert("name".into(), name.into());
        info.insert("version".into(), version.into());
        let handle = Handle::new(Offer {
            server_info: String::new(),
            instructions: None,
            tools: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            prompts: Vec::new(),
            page_entries_max: PAGE_SIZE_DEFAULT,
            list_ttl_ms: 0,
            read_ttl_ms: 0,
        });
        Builder {
            handle,
            info,
            tools: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            prompts: Vec::new(),
        }
    }

    /// The catalog, for the shards.
    #[doc(hidden)]
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// A way to change the server while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Collects what a server offers. Lists keep the order in which entries were added.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    handle: Handle,
    info: Map<String, Value>,
    tools: Vec<Tool>,
    resources: Vec<Resource>,
    templates: Vec<Template>,
    prompts: Vec<Prompt>,
}

impl Builder {
    /// A way to change the server while it runs, for handlers to take along.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The server's title for people; its name is for programs.
    pub fn title(self, title: &str) -> Self {
        self.info("title", title.into())
    }

    /// What the server is, for people.
    pub fn description(self, description: &str) -> Self {
        self.info("description", description.into())
    }

    /// The server's home page.
    pub fn website_url(self, url: &str) -> Self {
        self.info("websiteUrl", url.into())
    }

    /// Adds an icon.
    pub fn icon(mut self, icon: Icon) -> Self {
        let icons = self.info.entry("icons").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(icons) = icons.as_array_mut() {
            icons.push(icon.into_value());
        }
        self
    }

    /// How to use the server, for models.
    pub fn instructions(self, instructions: &str) -> Self {
        self.handle.prepare(|offer| offer.instructions = Some(instructions.to_owned()));
        self
    }

    /// Entries on one page of a list: [`PAGE_SIZE_DEFAULT`] if nothing is said, at least 1.
    pub fn page_size(self, entries: usize) -> Self {
        self.handle.prepare(|offer| offer.page_entries_max = entries.max(1));
        self
    }

    /// How long clients may reuse lists; not at all, if nothing is said. Clients that listen for
    /// changes learn of them at once all the same.
    pub fn list_ttl(self, ttl: Duration) -> Self {
        self.handle.prepare(|offer| offer.list_ttl_ms = millis(ttl));
        self
    }

    /// How long clients may reuse what they read from resources that do not say it themselves; not
    /// at all, if nothing is said.
    pub fn read_ttl(self, ttl: Duration) -> Self {
        self.handle.prepare(|offer| offer.read_ttl_ms = millis(ttl));
        self
    }

    /// Adds a tool.
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Adds a resource.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Adds a resource template. Of templates that match a URI the first is asked.
    pub fn template(mut self, template: Template) -> Self {
        self.templates.push(template);
        self
    }

    /// Adds a prompt.
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.prompts.push(prompt);
        self
    }

    /// Calls a function when the server starts to run, such as one that starts a thread which
    /// watches something and tells of updates. It must return soon.
    pub fn on_start(self, start: impl FnOnce(Handle) + Send + 'static) -> Self {
        self.handle.on_start(Box::new(start));
        self
    }

    /// Renders the catalog.
    ///
    /// # Errors
    /// [`CatalogError`] where two entries of a kind share a name, or a definition is invalid.
    pub fn build(self) -> Result<Server, CatalogError> {
        let handle = self.handle;
        let info = Value::Object(self.info).to_string();
        handle.prepare(|offer| offer.server_info = info);
        for tool in self.tools {
            handle.add_tool(tool)?;
        }
        for resource in self.resources {
            handle.add_resource(resource)?;
        }
        for template in self.templates {
            handle.add_template(template)?;
        }
        for prompt in self.prompts {
            handle.add_prompt(prompt)?;
        }
        let published = handle.publish()?;
        Ok(Server { handle, published })
    }

    fn info(mut self, key: &str, value: Value) -> Self {
        self.info.insert(key.to_owned(), value);
        self
    }
}

/// Milliseconds of a duration, at most 2^53 - 1, which every client can read.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min((1 << 53) - 1)
}
