//! A server whose tools panic, overrun their time, flood, change what there is, and ask back.

#[path = "conversing.rs"]
mod conversing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ringmesh::{
    Builder, Call, CatalogError, Context, Handle, LogLevel, Plan, Prompt, Resource, Server,
    Template, Tool, Variables,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Resources `paged://0` and so on, in a list that comes in pages.
const PAGED: usize = 7;
const PAGE: usize = 3;

pub(crate) fn server(_: &Plan) -> Result<Server, CatalogError> {
    let builder = Server::builder("misbehaving", "1").page_size(PAGE);
    let handle = builder.handle();
    let builder = panics(builder);
    let builder = overruns(builder).tool(prints());
    let builder = changes(builder, &handle);
    let builder = conversing::add(checks(builder));
    (0..PAGED).fold(builder, |builder, at| builder.resource(page(at))).build()
}

/// One schema, whose check takes the validator, for a handler of each kind.
fn checks(builder: Builder) -> Builder {
    let tool = |name: &str| {
        Tool::new(name).input_schema(json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {
                "address": {"$anchor": "address", "type": "object", "properties": {
                    "street": {"type": "string", "maxLength": 20, "pattern": "^\\p{L}"},
                    "lines": {"type": "array", "prefixItems": [{"type": "integer"}]},
                }},
                "tree": {"anyOf": [
                    {"properties": {"leaf": {"const": true}, "next": {"$ref": "#/$defs/tree"}}},
                    {"properties": {"leaf": {"const": false}, "next": {"$ref": "#/$defs/tree"}}},
                ]},
            },
            "properties": {
                "address": {"$ref": "#address"},
                "tree": {"$ref": "#/$defs/tree"},
                "phone": {"type": "string"},
                "email": {"type": "string", "format": "email"},
            },
            "anyOf": [{"required": ["phone"]}, {"required": ["email"]}],
            "if": {"required": ["email"]},
            "then": {"required": ["address"]},
            "unevaluatedProperties": false,
        }))
    };
    builder
        .tool(tool("checks_inline").inline(|_: Value, _: &Call<'_>| "ran"))
        .tool(tool("checks_async").asynchronous(|_: Value, _: Context| async { "ran" }))
        .tool(tool("checks_blocking").blocking(|_: Value, _: &Context| "ran"))
}

/// As a library does that logs to standard output, and a child that inherits it.
#[expect(clippy::print_stdout, reason = "to be kept away from the protocol")]
fn prints() -> Tool {
    Tool::new("prints").blocking(|(): (), _: &Context| {
        println!("a stray line");
        let read = std::io::read_to_string(std::io::stdin()).map(|text| text.len());
        let child = std::process::Command::new("sh").args(["-c", "echo stray; cat"]).status();
        format!("{read:?} {:?}", child.map(|status| status.success()))
    })
}

fn panics(builder: Builder) -> Builder {
    builder
        .tool(Tool::new("panics_inline").inline(|(): (), _: &Call<'_>| boom()))
        .tool(Tool::new("panics_async").asynchronous(|(): (), _: Context| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            boom()
        }))
        .tool(
            Tool::new("panics_at_once")
                .asynchronous(|(): (), _: Context| std::future::ready(boom())),
        )
        .tool(Tool::new("panics_blocking").blocking(|(): (), _: &Context| boom()))
        .tool(Tool::new("panics_in_a_task").asynchronous(|(): (), _: Context| async {
            // A task of its own, on the pool's threads.
            let task = tokio::spawn(async { boom() });
            task.await.map_err(|_| "the task panicked")
        }))
        .tool(Tool::new("panics_midway").asynchronous(|(): (), context: Context| async move {
            context.progress(1.0, None, None)?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            boom();
            Ok::<_, ringmesh::NoteError>("never")
        }))
        .tool(Tool::new("panics_as_it_is_dropped").asynchronous(|(): (), _: Context| async {
            let _bomb = Bomb;
            std::future::pending::<String>().await
        }))
        .tool(
            Tool::new("panics_twice")
                .inline(|(): (), _: &Call<'_>| -> String { std::panic::panic_any(Bomb) }),
        )
        .resource(Resource::new("panics://inline", "inline").inline(|_: &Call<'_>| boom()))
        .template(
            Template::new("panics://blocking/{name}", "blocking")
                .blocking(|_: Variables, _: &Context| boom()),
        )
        .prompt(
            Prompt::new("panics")
                .required("word", "Completing it panics too")
                .complete("word", |_: &str, _: &Call<'_>| vec![boom()])
                .asynchronous(|(): (), _: Context| async { boom() }),
        )
}

/// Its type is one that every kind of handler may return.
fn boom() -> String {
    panic!("boom")
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb was dropped")
    }
}

#[derive(Deserialize, JsonSchema)]
struct Blocks {
    ms: u64,
}

/// Counts up when it is dropped.
struct Counts(Arc<AtomicU64>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn overruns(builder: Builder) -> Builder {
    let dropped = Arc::new(AtomicU64::new(0));
    let shown = dropped.clone();
    builder
        .tool(Tool::new("overruns_async").asynchronous(move |(): (), _: Context| {
            let counts = Counts(dropped.clone());
            async move {
                let _counts = counts;
                std::future::pending::<String>().await
            }
        }))
        .tool(Tool::new("overruns_blocking").blocking(|blocks: Blocks, _: &Context| {
            // As a library that knows of no cancellation.
            thread::sleep(Duration::from_millis(blocks.ms));
            "too late"
        }))
        .tool(Tool::new("overruns_inline").inline(|blocks: Blocks, _: &Call<'_>| {
            thread::sleep(Duration::from_millis(blocks.ms));
            "late"
        }))
        .tool(
            Tool::new("dropped")
                .inline(move |(): (), _: &Call<'_>| shown.load(Ordering::SeqCst).to_string()),
        )
        .tool(Tool::new("fine").inline(|(): (), _: &Call<'_>| "fine"))
}

#[derive(Deserialize, JsonSchema)]
struct Updates {
    events: u64,
    uri: String,
}

#[derive(Deserialize, JsonSchema)]
struct Floods {
    events: u64,
}

fn changes(builder: Builder, handle: &Handle) -> Builder {
    let (updates, lists, entries) = (handle.clone(), handle.clone(), handle.clone());
    builder
        .tool(Tool::new("updates").inline(move |asked: Updates, _: &Call<'_>| {
            (0..asked.events).for_each(|_| updates.resource_updated(&asked.uri));
            "updated"
        }))
        .tool(Tool::new("announces").inline(move |(): (), _: &Call<'_>| {
            lists.notify_tools_changed();
            lists.notify_prompts_changed();
            lists.notify_resources_changed();
            "announced"
        }))
        .tool(Tool::new("adds_a_tool").blocking(move |(): (), _: &Context| {
            let added = Tool::new("added").inline(|(): (), _: &Call<'_>| "here");
            entries.add_tool(added).map_err(|error| error.to_string()).map(|()| "added")
        }))
        .tool(Tool::new("logs").asynchronous(|floods: Floods, context: Context| async move {
            for at in 0..floods.events {
                // Lost where the lane is full: nobody waits for a log.
                context.log(LogLevel::Info, None, &format!("line {at}")).ok();
            }
            "logged"
        }))
}

fn page(at: usize) -> Resource {
    Resource::text(format!("paged://{at}"), format!("paged-{at}"), "one of many")
}
