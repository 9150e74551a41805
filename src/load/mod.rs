//! `ringmesh load`: many MCP clients against one or more servers, and the truth about them.
//!
//! Lives once per process. A scenario becomes a `Plan`; `run` starts one client role per core (the
//! runtime's `Load`), merges what they tell each second and gives it to a results folder; asserts
//! turn the summary into an exit code.
//!
//! Left out: what a client does on its connection (the runtime's), and how bytes get there (the
//! ring's).

mod assertion;
pub(crate) mod compare;
mod guard;
mod observe;
pub(crate) mod options;
pub(crate) mod plan;
mod record;
mod results;
pub(crate) mod run;
pub(crate) mod scenario;
