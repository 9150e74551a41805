//! ringmesh: an MCP server for very many connections, one io_uring shard per core.
//!
//! A server is a list of tools, resources, templates and prompts, each a definition and a
//! function. The function says by the way it is given where it runs:
//!
//! | method | runs | for |
//! |---|---|---|
//! | `inline` | on the shard, between other requests | work of microseconds that never blocks |
//! | `asynchronous` | on a tokio pool (feature `tokio`, on by default) | what waits for others |
//! | `blocking` | on a bounded pool of threads | what computes long, or blocks |
//!
//! ```no_run
//! use ringmesh::{Call, Context, Server, Tool};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Add {
//!     /// The first number.
//!     a: i64,
//!     /// The second number.
//!     b: i64,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     // Takes the flags of `ringmesh serve`, such as --http 127.0.0.1:8080.
//!     ringmesh::cli::main(|_plan| {
//!         Server::builder("calculator", "1.0.0")
//!             .tool(
//!                 Tool::new("add")
//!                     .description("Adds two integers")
//!                     .inline(|Add { a, b }: Add, _: &Call| a.checked_add(b).ok_or("too large")),
//!             )
//!             .tool(
//!                 Tool::new("hostname")
//!                     .description("Names the machine")
//!                     .blocking(|(): (), _: &Context| std::fs::read_to_string("/etc/hostname")),
//!             )
//!             .build()
//!     })
//! }
//! ```
//!
//! What a handler may return is listed at [`IntoToolResult`], [`IntoReadResult`] and
//! [`IntoPromptResult`]; how it asks the client's user or model at [`InputRequired`]; how a server
//! changes while it runs at [`Handle`].

mod boot;
pub mod cli;
pub mod config;
mod control;
pub mod demo;
mod doctor;
mod load;
mod server;
mod stdio;
pub mod tools;
mod top;

pub use boot::{StartError, run};
pub use config::Plan;
pub use ringmesh_proto::mcp::{Capability, LogLevel};
pub use ringmesh_runtime::call::{Answer, Call, Context, Ending, NoteError, StateError};
pub use ringmesh_runtime::catalog::CatalogError;
pub use schemars;
pub use server::{
    Annotations, Blob, Builder, COMPLETION_VALUES_MAX, CacheScope, Completion, Content, Draft,
    Elicited, Error, Handle, Icon, InputRequired, IntoPromptResult, IntoReadResult, IntoToolResult,
    Json, Outcome, PAGE_SIZE_DEFAULT, Prompt, PromptMessage, PromptResult, Ready, Resource,
    ResourceContents, Role, Root, Roots, Rounds, Sampled, Sampling, Server, StatusSource, Template,
    Theme, Tool, ToolAnnotations, ToolResult, Variables, chosen_argument, schema_of,
};
