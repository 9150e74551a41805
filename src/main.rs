//! The server that `cargo run --release` starts: tools to try ringmesh with.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringmesh::cli::main(ringmesh::demo::server)
}
