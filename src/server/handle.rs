//! Changing what a server offers while it runs, and telling clients of changes.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ringmesh_runtime::catalog::{Catalog, CatalogError, Offer, Published, Versions};
use ringmesh_runtime::message::{Address, Event};

use super::definition::Defaults;
use super::{Prompt, Resource, StatusSource, Template, Tool};

type Starter = Box<dyn FnOnce(Handle) + Send>;

/// A way to a server from anywhere: any thread, any handler, inline ones too. Cheap to clone.
///
/// Clients that listen hear of every change. Calls that run keep what they run.
///
/// A change renders the lists anew, under a mutex that only changes take: microseconds for each
/// entry, so make many changes from a pool or a thread of your own rather than from an inline
/// handler. Announcing an updated resource takes no lock.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    starters: Mutex<Vec<Starter>>,
    published: OnceLock<Arc<Published>>,
    shards: OnceLock<Vec<Address>>,
    status: OnceLock<StatusSource>,
}

#[derive(Clone)]
struct State {
    offer: Offer,
    versions: Versions,
}

/// What an edit of the catalog may change: the vectors are replaced as a whole or not at all.
type Edit<'e> = &'e mut dyn FnMut(&mut Offer) -> Result<(), CatalogError>;

#[derive(Clone, Copy)]
enum Changed {
    Tools,
    Resources,
    Prompts,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("running", &self.0.shards.get().is_some()).finish()
    }
}

macro_rules! entries {
    ($field:ident, $kind:ident, $what:literal, $changed:ident, $key:expr, $add:ident,
        $replace:ident, $remove:ident, $key_doc:literal) => {
        #[doc = concat!("Adds a ", $what, " behind the others.")]
        ///
        /// # Errors
        /// [`CatalogError`] where it is there already, or invalid; then nothing changes.
        pub fn $add(&self, entry: $kind) -> Result<(), CatalogError> {
            let entry = Arc::new(entry.into_entry(&self.defaults())?);
            self.edit(Changed::$changed, &mut |offer| {
                if offer.$field.iter().any(|other| $key(other) == $key(&entry)) {
                    return Err(CatalogError::Duplicate($what, $key(&entry).to_owned()));
                }
                offer.$field.push(entry.clone());
                Ok(())
            })
        }

        #[doc = concat!("Replaces the ", $what, " with the same ", $key_doc, ", in its place.")]
        ///
        /// # Errors
        /// [`CatalogError`] where there is none, or the new one is invalid; then nothing changes.
        pub fn $replace(&self, entry: $kind) -> Result<(), CatalogError> {
            let entry = Arc::new(entry.into_entry(&self.defaults())?);
            self.edit(Changed::$changed, &mut |offer| {
                let place = offer.$field.iter_mut().find(|other| $key(other) == $key(&entry));
                let unknown = || CatalogError::Unknown($what, $key(&entry).to_owned());
                *place.ok_or_else(unknown)? = entry.clone();
                Ok(())
            })
        }

        #[doc = concat!("Removes the ", $what, " with this ", $key_doc, ".")]
        ///
        /// # Errors
        /// [`CatalogError::Unknown`] where there is none.
        pub fn $remove(&self, key: &str) -> Result<(), CatalogError> {
            self.edit(Changed::$changed, &mut |offer| {
                let at = offer.$field.iter().position(|other| $key(other) == key);
                let unknown = || CatalogError::Unknown($what, key.to_owned());
                offer.$field.remove(at.ok_or_else(unknown)?);
                Ok(())
            })
        }
    };
}

fn tool_key(tool: &ringmesh_runtime::catalog::Tool) -> &str {
    &tool.name
}

fn resource_key(resource: &ringmesh_runtime::catalog::Resource) -> &str {
    &resource.uri
}

fn template_key(template: &ringmesh_runtime::catalog::Template) -> &str {
    template.uri.as_str()
}

fn prompt_key(prompt: &ringmesh_runtime::catalog::Prompt) -> &str {
    &prompt.name
}

impl Handle {
    pub(super) fn new(offer: Offer) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State { offer, versions: Versions::default() }),
            starters: Mutex::new(Vec::new()),
            published: OnceLock::new(),
            shards: OnceLock::new(),
            status: OnceLock::new(),
        }))
    }

    entries!(tools, Tool, "tool", Tools, tool_key, add_tool, replace_tool, remove_tool, "name");
    entries!(
        resources,
        Resource,
        "resource",
        Resources,
        resource_key,
        add_resource,
        replace_resource,
        remove_resource,
        "URI"
    );
    entries!(
        templates,
        Template,
        "template",
        Resources,
        template_key,
        add_template,
        replace_template,
        remove_template,
        "URI template"
    );
    entries!(
        prompts,
        Prompt,
        "prompt",
        Prompts,
        prompt_key,
        add_prompt,
        replace_prompt,
        remove_prompt,
        "name"
    );

    /// Tells clients that the list of tools changed, whatever it holds.
    pub fn notify_tools_changed(&self) {
        self.announce(Changed::Tools);
    }

    /// Tells clients that the lists of resources and templates changed, whatever they hold.
    pub fn notify_resources_changed(&self) {
        self.announce(Changed::Resources);
    }

    /// Tells clients that the list of prompts changed, whatever it holds.
    pub fn notify_prompts_changed(&self) {
        self.announce(Changed::Prompts);
    }

    /// Tells the clients that subscribed to this URI that its contents changed.
    pub fn resource_updated(&self, uri: &str) {
        let uri: Arc<str> = uri.into();
        for shard in self.shards() {
            shard.send_event(Event::ResourceUpdated(uri.clone()));
        }
    }

    /// Names of the tools on offer, in order; none before the server is built.
    pub fn tool_names(&self) -> Vec<String> {
        let Some(published) = self.0.published.get() else { return Vec::new() };
        published.load().offer().tools.iter().map(|tool| tool.name.clone()).collect()
    }

    /// A tool's definition, as clients see it: JSON text.
    pub fn tool_definition(&self, name: &str) -> Option<String> {
        Some(self.0.published.get()?.load().tool(name)?.definition.clone())
    }

    /// How the running server does: JSON text of an object. `None` until it runs.
    pub fn status(&self) -> Option<String> {
        self.0.status.get().map(|source| source())
    }

    /// Says where [`Self::status`] comes from. The first one counts.
    pub(crate) fn attach_status(&self, source: StatusSource) {
        if self.0.status.set(source).is_err() {
            tracing::error!("a server has one source of its status");
        }
    }

    /// Says where the shards are and runs what waits for the start. Called once.
    pub(crate) fn attach(&self, shards: Vec<Address>) {
        if self.0.shards.set(shards).is_err() {
            tracing::error!("a server is started once");
            return;
        }
        // Shards serve already: what a handler changed until now woke nobody.
        self.shards().iter().for_each(Address::wake);
        let starters =
            std::mem::take(&mut *self.0.starters.lock().unwrap_or_else(PoisonError::into_inner));
        for start in starters {
            start(self.clone());
        }
    }

    pub(super) fn on_start(&self, start: Starter) {
        self.0.starters.lock().unwrap_or_else(PoisonError::into_inner).push(start);
    }

    /// Changes the offer before there is a catalog.
    pub(super) fn prepare(&self, change: impl FnOnce(&mut Offer)) {
        change(&mut self.lock().offer);
    }

    /// Makes the first catalog.
    pub(super) fn publish(&self) -> Result<Arc<Published>, CatalogError> {
        let state = self.lock();
        let catalog = Catalog::new(state.offer.clone(), state.versions)?;
        Ok(self.0.published.get_or_init(|| Arc::new(Published::new(catalog))).clone())
    }

    fn defaults(&self) -> Defaults {
        Defaults { read_ttl_ms: self.lock().offer.read_ttl_ms }
    }

    fn announce(&self, changed: Changed) {
        if let Err(error) = self.edit(changed, &mut |_| Ok(())) {
            tracing::error!(%error, "an unchanged catalog was refused");
        }
    }

    fn edit(&self, changed: Changed, change: Edit<'_>) -> Result<(), CatalogError> {
        let mut state = self.lock();
        let State { mut offer, mut versions } = state.clone();
        change(&mut offer)?;
        *match changed {
            Changed::Tools => &mut versions.tools,
            Changed::Resources => &mut versions.resources,
            Changed::Prompts => &mut versions.prompts,
        } += 1;
        if let Some(published) = self.0.published.get() {
            // Under the lock, so that the newest catalog is published last.
            published.publish(Catalog::new(offer.clone(), versions)?);
        }
        let old = std::mem::replace(&mut *state, State { offer, versions });
        drop(state);
        // What a removed handler owns may use this handle when it is dropped.
        drop(old);
        for shard in self.shards() {
            shard.wake();
        }
        Ok(())
    }

    fn shards(&self) -> &[Address] {
        self.0.shards.get().map_or(&[], Vec::as_slice)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside leaves the state as it was: it is replaced as a whole, at the end.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
