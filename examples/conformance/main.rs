//! The fixtures that the official conformance suite calls, beside the demo tools, through the
//! public API alone.
//!
//! ```text
//! cargo run --release --example conformance -- --http 127.0.0.1:0
//! conformance server --url http://127.0.0.1:PORT/mcp --requirements 2026-07-28
//! conformance server --url http://127.0.0.1:PORT/mcp --requirements 2025-11-25
//! ```

mod content;
mod prompts;
mod questions;
mod resources;
mod rounds;
mod streams;

use std::process::ExitCode;
use std::time::Duration;

use ringmesh::{CatalogError, Plan, Server};

fn main() -> ExitCode {
    ringmesh::cli::main(server)
}

fn server(plan: &Plan) -> Result<Server, CatalogError> {
    // The suite looks at the first page alone, and calls the first tool without arguments.
    let builder =
        Server::builder("ringmesh-conformance", env!("CARGO_PKG_VERSION")).page_size(1_000);
    let builder = content::add(builder);
    let builder = streams::add(builder);
    let builder = questions::add(builder);
    let builder = rounds::add(builder);
    let builder = resources::add(builder);
    let builder = prompts::add(builder);
    let tool_timeout = Duration::from_millis(plan.limits.tool_timeout_ms);
    ringmesh::demo::install(builder, tool_timeout).build()
}
