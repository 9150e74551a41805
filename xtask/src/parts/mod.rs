//! The parts of `cargo xtask test`, in the order in which they run: what is quick to fail first.

mod black_box;
mod fuzz;
mod rust;
mod scripts;
mod simulation;

pub(crate) use black_box::build_servers;
pub(crate) use fuzz::{Fuzzer, targets as fuzz_targets};

use crate::part::Part;

/// Bounds are for two slow cores with nothing built yet; most of each is compilation.
pub(crate) const ALL: &[Part] = &[
    Part {
        name: "format",
        what: "cargo fmt, the crates outside the workspace too",
        limit_s: 120,
        run: rust::format,
    },
    Part {
        name: "shell",
        what: "shellcheck, and whether the Python scripts compile",
        limit_s: 600,
        run: scripts::shell,
    },
    Part {
        name: "clippy",
        what: "lints of all crates and targets, warnings are errors",
        limit_s: 1500,
        run: rust::clippy,
    },
    Part { name: "docs", what: "rustdoc, warnings are errors", limit_s: 900, run: rust::docs },
    Part {
        name: "unit",
        what: "all tests of the workspace, black-box tests and doc tests included",
        limit_s: 1800,
        run: rust::unit,
    },
    Part {
        name: "benches",
        what: "every bench once: whether it works, not how fast",
        limit_s: 900,
        run: rust::benches,
    },
    Part {
        name: "release",
        what: "tests of release behaviour: a tool that panics",
        limit_s: 1200,
        run: rust::release,
    },
    Part {
        name: "loom",
        what: "every order of the sleep-and-ring protocol",
        limit_s: 900,
        run: rust::loom,
    },
    Part {
        name: "fuzz",
        what: "every fuzz target for a few seconds, from the committed seeds",
        limit_s: 1200,
        run: fuzz::fuzz,
    },
    Part {
        name: "simulation",
        what: "300 seeds of whole shards; bugs put in on purpose are found",
        limit_s: 1500,
        run: simulation::simulation,
    },
    Part {
        name: "conformance",
        what: "the MCP conformance suite in four revisions, every check counted",
        limit_s: 1500,
        run: black_box::conformance,
    },
    Part {
        name: "clients",
        what: "the SDKs for Python and TypeScript as clients",
        limit_s: 900,
        run: black_box::clients,
    },
];
