//! A server of one page: a tool, a resource that changes and a prompt.
//!
//! ```text
//! cargo run --release --example hello
//!
//! curl -s http://127.0.0.1:8080/mcp \
//!   -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
//!   -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: greet' \
//!   -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet",
//!        "arguments":{"name":"Ada"},"_meta":{
//!        "io.modelcontextprotocol/protocolVersion":"2026-07-28",
//!        "io.modelcontextprotocol/clientCapabilities":{}}}}'
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringmesh::{Call, Prompt, Resource, Server, Tool};
use schemars::JsonSchema;
use serde::Deserialize;

/// The arguments of `greet`. Their JSON Schema is derived from this, comments included.
#[derive(Deserialize, JsonSchema)]
struct Greet {
    /// Whom to greet.
    name: String,
}

/// The arguments of the prompt; in prompts they are strings.
#[derive(Deserialize)]
struct Poem {
    topic: String,
}

fn main() -> ExitCode {
    // Takes the flags of `ringmesh serve`: --http, --shards, --config and so on.
    ringmesh::cli::main(|_plan| {
        let greeted = Arc::new(AtomicU64::new(0));
        let counter = greeted.clone();
        let builder = Server::builder("hello", "1.0.0").title("Hello");
        // Tells clients of changes, from any handler or thread.
        let handle = builder.handle();
        builder
            .tool(
                Tool::new("greet")
                    .description("Greets somebody by name")
                    // Runs on the shard: fast, and it must never block. `.blocking(..)` and
                    // `.asynchronous(..)` run elsewhere.
                    .inline(move |greet: Greet, _: &Call<'_>| {
                        counter.fetch_add(1, Ordering::Relaxed);
                        handle.resource_updated("hello://greeted");
                        format!("Hello, {}!", greet.name)
                    }),
            )
            .resource(
                Resource::new("hello://greeted", "greeted")
                    .description("How many were greeted")
                    .mime_type("text/plain")
                    .inline(move |_: &Call<'_>| greeted.load(Ordering::Relaxed).to_string()),
            )
            .prompt(
                Prompt::new("poem")
                    .description("Asks for a poem")
                    .required("topic", "What it is about")
                    .complete("topic", |_: &str, _: &Call<'_>| vec!["the sea", "rings"])
                    .inline(|poem: Poem, _: &Call<'_>| format!("A poem on {}.", poem.topic)),
            )
            .build()
    })
}
