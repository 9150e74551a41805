//! What a server offers: tools, resources, prompts and completions, with the lists rendered once
//! for each version of the catalog, since lists never vary by connection.
//!
//! A [`Catalog`] is immutable. [`Published`] lives once per process: the control plane replaces
//! the catalog, and every shard compares a version number at each tick, without a lock.

mod entry;
mod handler;
mod template;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use entry::{CatalogError, NAME_BYTES_MAX, ParamHeader, Prompt, Resource, Template, Tool};
pub use handler::{AnswerFuture, AsyncFn, BlockingFn, Handler, InlineFn, Job, NoPool, Pool, Work};
pub use template::{TemplateError, UriTemplate};

/// Everything that a server offers, before it is rendered. Lists keep this order.
#[derive(Clone, Debug)]
pub struct Offer {
    /// JSON text of the server's `Implementation`: `name`, `version` and more.
    pub server_info: String,
    /// How to use the server, for models.
    pub instructions: Option<String>,
    /// Tools.
    pub tools: Vec<Arc<Tool>>,
    /// Resources.
    pub resources: Vec<Arc<Resource>>,
    /// Resource templates.
    pub templates: Vec<Arc<Template>>,
    /// Prompts.
    pub prompts: Vec<Arc<Prompt>>,
    /// Entries on one page of a list, at least 1.
    pub page_entries_max: usize,
    /// How long clients may reuse lists, in milliseconds.
    pub list_ttl_ms: u64,
    /// How long clients may reuse what they read, in milliseconds.
    pub read_ttl_ms: u64,
}

/// The kinds of list, each with its notification of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `tools/list`.
    Tools,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`; a change is told as one of resources.
    Templates,
    /// `prompts/list`.
    Prompts,
}

impl List {
    const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::Templates, Self::Prompts];

    fn key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }
}

/// Versions of the three lists that clients can listen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Counts changes of tools.
    pub tools: u64,
    /// Counts changes of resources and templates.
    pub resources: u64,
    /// Counts changes of prompts.
    pub prompts: u64,
}

/// An offer, indexed and rendered.
#[derive(Debug)]
pub struct Catalog {
    offer: Offer,
    /// Which version of each list this is.
    pub versions: Versions,
    tools: BTreeMap<String, usize>,
    resources: BTreeMap<String, usize>,
    prompts: BTreeMap<String, usize>,
    pages: [Vec<Page>; 4],
    discover: String,
    initialize: String,
}

/// Members of a list's result. What behind `legacy_len` says how to cache it is modern.
#[derive(Debug)]
struct Page {
    members: String,
    legacy_len: usize,
}

fn index<'o, T: 'o>(
    what: &'static str,
    entries: impl Iterator<Item = &'o T>,
    name: impl Fn(&T) -> &str,
) -> Result<BTreeMap<String, usize>, CatalogError> {
    let mut map = BTreeMap::new();
    for (at, entry) in entries.enumerate() {
        if map.insert(name(entry).to_owned(), at).is_some() {
            return Err(CatalogError::Duplicate(what, name(entry).to_owned()));
        }
    }
    Ok(map)
}

impl Catalog {
    /// Indexes and renders an offer.
    ///
    /// # Errors
    /// [`CatalogError::Duplicate`] where two entries share a name.
    pub fn new(offer: Offer, versions: Versions) -> Result<Self, CatalogError> {
        let tools = index("tool", offer.tools.iter().map(|e| &**e), |e: &Tool| &e.name)?;
        let resources =
            index("resource", offer.resources.iter().map(|e| &**e), |e: &Resource| &e.uri)?;
        let prompts = index("prompt", offer.prompts.iter().map(|e| &**e), |e: &Prompt| &e.name)?;
        let pages = List::ALL.map(|list| render_pages(&offer, list));
        let discover = render_discover(&offer);
        let initialize = render_initialize(&offer);
        Ok(Self { offer, versions, tools, resources, prompts, pages, discover, initialize })
    }

    /// What it was made of.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// A tool by name.
    pub fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(name).map(|&at| &self.offer.tools[at])
    }

    /// A resource by URI.
    pub fn resource(&self, uri: &str) -> Option<&Arc<Resource>> {
        self.resources.get(uri).map(|&at| &self.offer.resources[at])
    }

    /// The first template that a URI matches.
    pub fn template(&self, uri: &str) -> Option<&Arc<Template>> {
        self.offer.templates.iter().find(|template| template.uri.variables(uri).is_some())
    }

    /// A template by its own text.
    pub fn template_by_text(&self, text: &str) -> Option<&Arc<Template>> {
        self.offer.templates.iter().find(|template| template.uri.as_str() == text)
    }

    /// A prompt by name.
    pub fn prompt(&self, name: &str) -> Option<&Arc<Prompt>> {
        self.prompts.get(name).map(|&at| &self.offer.prompts[at])
    }

    /// Whether the server offers anything of this kind, and so declares the capability.
    pub fn offers(&self, list: List) -> bool {
        match list {
            List::Tools => !self.offer.tools.is_empty(),
            List::Prompts => !self.offer.prompts.is_empty(),
            List::Resources | List::Templates => {
                !(self.offer.resources.is_empty() && self.offer.templates.is_empty())
            }
        }
    }

    /// Whether any argument can be completed.
    pub fn completes(&self) -> bool {
        completes(&self.offer)
    }

    /// Members of the result of `server/discover`.
    pub fn discover(&self) -> &str {
        &self.discover
    }

    /// Members of the result of `initialize`, but for `protocolVersion`.
    pub fn initialize(&self) -> &str {
        &self.initialize
    }

    /// Members of a list's result, for a cursor; `None` where it is not one of ours.
    pub fn page(&self, list: List, cursor: Option<&str>) -> Option<&str> {
        self.page_at(list, cursor).map(|page| page.members.as_str())
    }

    /// The same for legacy versions, which have no hints on caching.
    pub fn legacy_page(&self, list: List, cursor: Option<&str>) -> Option<&str> {
        self.page_at(list, cursor).map(|page| &page.members[..page.legacy_len])
    }

    fn page_at(&self, list: List, cursor: Option<&str>) -> Option<&Page> {
        let first = match cursor {
            None | Some("") => 0,
            Some(cursor) => {
                let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
                let text = std::str::from_utf8(&bytes).ok()?;
                let (key, first) = text.split_once(':')?;
                if key != list.key() {
                    return None;
                }
                first.parse::<usize>().ok()?
            }
        };
        let page = first / self.offer.page_entries_max;
        let aligned = page * self.offer.page_entries_max == first;
        self.pages[list as usize].get(page).filter(|_| aligned)
    }

    /// Names the handler with this serial, for watchers.
    pub fn handler_name(&self, serial: u64) -> Option<&str> {
        let offer = &self.offer;
        let tools = offer.tools.iter().map(|e| (e.serial, e.name.as_str()));
        let prompts = offer.prompts.iter().map(|e| (e.serial, e.name.as_str()));
        let resources = offer.resources.iter().map(|e| (e.serial, e.uri.as_str()));
        let templates = offer.templates.iter().map(|e| (e.serial, e.uri.as_str()));
        let mut all = tools.chain(prompts).chain(resources).chain(templates);
        all.find_map(|(known, name)| (known == serial).then_some(name))
    }
}

fn completes(offer: &Offer) -> bool {
    offer.prompts.iter().any(|p| p.completer.is_some())
        || offer.templates.iter().any(|t| t.completer.is_some())
}

fn render_pages(offer: &Offer, list: List) -> Vec<Page> {
    let definitions: Vec<&str> = match list {
        List::Tools => offer.tools.iter().map(|e| e.definition.as_str()).collect(),
        List::Resources => offer.resources.iter().map(|e| e.definition.as_str()).collect(),
        List::Templates => offer.templates.iter().map(|e| e.definition.as_str()).collect(),
        List::Prompts => offer.prompts.iter().map(|e| e.definition.as_str()).collect(),
    };
    let size = offer.page_entries_max.max(1);
    let count = definitions.len().div_ceil(size).max(1);
    let render = |page: usize| {
        let end = ((page + 1) * size).min(definitions.len());
        let entries = definitions[page * size..end].join(",");
        let key = list.key();
        let next = if page + 1 < count {
            let cursor = URL_SAFE_NO_PAD.encode(format!("{key}:{end}"));
            format!(",\"nextCursor\":\"{cursor}\"")
        } else {
            String::new()
        };
        let ttl = offer.list_ttl_ms;
        let mut members = format!("\"{key}\":[{entries}]{next}");
        let legacy_len = members.len();
        members.push_str(&format!(",\"ttlMs\":{ttl},\"cacheScope\":\"public\""));
        Page { members, legacy_len }
    };
    (0..count).map(render).collect()
}

fn render_discover(offer: &Offer) -> String {
    format!(
        "\"supportedVersions\":[\"{}\"],\"capabilities\":{{{}}},\"ttlMs\":{},\
         \"cacheScope\":\"public\"{}",
        ringmesh_proto::mcp::VERSION_2026_07_28,
        render_capabilities(offer),
        offer.list_ttl_ms,
        render_instructions(offer),
    )
}

fn render_initialize(offer: &Offer) -> String {
    format!(
        "\"capabilities\":{{{}}},\"serverInfo\":{}{}",
        render_capabilities(offer),
        offer.server_info,
        render_instructions(offer),
    )
}

fn render_instructions(offer: &Offer) -> String {
    offer.instructions.as_ref().map_or_else(String::new, |text| {
        format!(",\"instructions\":{}", serde_json::Value::from(text.as_str()))
    })
}

fn render_capabilities(offer: &Offer) -> String {
    let mut capabilities = vec!["\"logging\":{}"];
    if !offer.tools.is_empty() {
        capabilities.push("\"tools\":{\"listChanged\":true}");
    }
    if !(offer.resources.is_empty() && offer.templates.is_empty()) {
        capabilities.push("\"resources\":{\"listChanged\":true,\"subscribe\":true}");
    }
    if !offer.prompts.is_empty() {
        capabilities.push("\"prompts\":{\"listChanged\":true}");
    }
    if completes(offer) {
        capabilities.push("\"completions\":{}");
    }
    capabilities.join(",")
}

/// The catalog in force. Replaced by the control plane, read by every shard.
pub struct Published {
    catalog: ArcSwap<Catalog>,
    version: AtomicU64,
}

impl Published {
    /// Publishes a first catalog.
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog: ArcSwap::from_pointee(catalog), version: AtomicU64::new(0) }
    }

    /// Replaces the catalog. The caller wakes the shards ([`crate::message::Address::wake`]).
    pub fn publish(&self, catalog: Catalog) {
        self.catalog.store(Arc::new(catalog));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Counts the catalogs published.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The catalog in force.
    pub fn load(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn offer(tools: usize, page_entries_max: usize) -> Offer {
        let tool = |n: usize| {
            let definition = json!({"name": format!("t{n:02}"), "inputSchema": {"type": "object"}});
            Arc::new(Tool::new(&definition, Handler::Inline(Arc::new(|_, _| {}))).expect("valid"))
        };
        Offer {
            server_info: r#"{"name":"s","version":"1"}"#.into(),
            instructions: Some("be \"kind\"".into()),
            tools: (0..tools).map(tool).collect(),
            resources: Vec::new(),
            templates: Vec::new(),
            prompts: Vec::new(),
            page_entries_max,
            list_ttl_ms: 0,
            read_ttl_ms: 0,
        }
    }

    fn members(text: &str) -> Value {
        serde_json::from_str(&format!("{{{text}}}")).expect("members are JSON")
    }

    #[test]
    fn pages_hold_every_entry_once_in_order() {
        let catalog = Catalog::new(offer(25, 10), Versions::default()).expect("valid");
        let (mut names, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let page = members(catalog.page(List::Tools, cursor.as_deref()).expect("a page"));
            pages += 1;
            for tool in page["tools"].as_array().expect("tools") {
                names.push(tool["name"].as_str().expect("name").to_owned());
            }
            cursor = page.get("nextCursor").map(|c| c.as_str().expect("string").to_owned());
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<_> = (0..25).map(|n| format!("t{n:02}")).collect();
        assert_eq!((names, pages), (expected, 3));
    }

    #[test]
    fn foreign_cursors_are_refused() {
        let catalog = Catalog::new(offer(25, 10), Versions::default()).expect("valid");
        let cursor = URL_SAFE_NO_PAD.encode("tools:10");
        assert!(catalog.page(List::Tools, Some(&cursor)).is_some());
        assert!(catalog.page(List::Prompts, Some(&cursor)).is_none());
        for bad in ["tools:11", "tools:30", "tools:-1", "prompts:0", "x"] {
            let cursor = URL_SAFE_NO_PAD.encode(bad);
            assert!(catalog.page(List::Tools, Some(&cursor)).is_none(), "{bad}");
        }
        assert!(catalog.page(List::Tools, Some("!")).is_none());
        assert!(catalog.page(List::Tools, Some("")).is_some());
    }

    #[test]
    fn discover_declares_what_is_offered() {
        let catalog = Catalog::new(offer(1, 10), Versions::default()).expect("valid");
        let discover = members(catalog.discover());
        assert_eq!(discover["capabilities"]["tools"]["listChanged"], json!(true));
        assert!(discover["capabilities"].get("prompts").is_none());
        assert_eq!(discover["instructions"], json!("be \"kind\""));
    }

    #[test]
    fn one_name_is_one_tool() {
        let mut twice = offer(1, 10);
        twice.tools.push(twice.tools[0].clone());
        let error = Catalog::new(twice, Versions::default());
        assert!(matches!(error, Err(CatalogError::Duplicate("tool", _))));
    }
}
