//! What cargo checks: format, lints, docs, tests.

use std::path::PathBuf;

use crate::child::Bench;
use crate::part::{Problem, Result};

/// Crates that the workspace leaves out: a peer's dependencies and the fuzzer's stay out of the
/// root's lock file.
const OUTSIDE: [&str; 4] =
    ["perf/peers/echo", "perf/peers/hammer", "perf/peers/rmcp", "shards/fuzz"];

pub(crate) fn format(bench: &mut Bench) -> Result {
    let command = bench.cargo("fmt --all --check -- --color=never");
    bench.run("cargo fmt", command)?;
    let outside = outside(bench);
    for (name, manifest) in &outside {
        let mut command = bench.cargo("fmt --check --manifest-path");
        command.arg(manifest).args(["--", "--color=never"]);
        bench.run(&format!("cargo fmt in {name}"), command)?;
    }
    Ok(format!("the workspace and {} crates outside", outside.len()))
}

pub(crate) fn clippy(bench: &mut Bench) -> Result {
    let command = bench.cargo("clippy --workspace --all-targets -- -D warnings");
    bench.run("clippy of the workspace", command)?;
    let command = bench.cargo("clippy -p ringmesh --lib --no-default-features -- -D warnings");
    bench.run("clippy of the library without features", command)?;
    let outside = outside(bench);
    for (name, manifest) in &outside {
        // Without features, the fuzzers need no C++ compiler.
        let mut command = bench.cargo("clippy --all-targets --no-default-features");
        command.arg("--manifest-path").arg(manifest);
        command.arg("--target-dir").arg(bench.tree.target.join("outside"));
        command.args(["--", "-D", "warnings"]);
        bench.run(&format!("clippy in {name}"), command)?;
    }
    Ok(format!("the workspace and {} crates outside", outside.len()))
}

pub(crate) fn docs(bench: &mut Bench) -> Result {
    let mut command = bench.cargo("doc --workspace --no-deps");
    command.env("RUSTDOCFLAGS", "-D warnings");
    bench.run("cargo doc", command)?;
    Ok("no warning".to_owned())
}

pub(crate) fn unit(bench: &mut Bench) -> Result {
    let command = bench.cargo("test --workspace --no-fail-fast");
    counted(&bench.run("cargo test", command)?)
}

/// The tests `tests/release*.rs` once more, this time with the optimiser on.
pub(crate) fn release(bench: &mut Bench) -> Result {
    let mut tests = Vec::new();
    for entry in std::fs::read_dir(bench.tree.root.join("tests")).map_err(Problem::failed)? {
        let name = entry.map_err(Problem::failed)?.file_name().to_string_lossy().into_owned();
        if let Some(test) = name.strip_suffix(".rs").filter(|name| name.starts_with("release")) {
            tests.push(test.to_owned());
        }
    }
    if tests.is_empty() {
        return Err(Problem::Failed("there is no tests/release*.rs".to_owned()));
    }
    let mut command = bench.cargo("test --profile quick -p ringmesh");
    for test in &tests {
        command.args(["--test", test]);
    }
    counted(&bench.run("cargo test --profile quick", command)?)
}

/// Every bench once, in the build of the tests: whether it works, not how fast. Not `--benches`,
/// which would run the unit tests of the other crates as well.
pub(crate) fn benches(bench: &mut Bench) -> Result {
    let command = bench.cargo("test --workspace --bench *");
    let output = bench.run("cargo test --bench", command)?;
    match output.lines().filter(|&line| line == "Success").count() {
        0 => Err(Problem::Failed("no bench ran".to_owned())),
        count => Ok(format!("{count} benches, once each")),
    }
}

pub(crate) fn loom(bench: &mut Bench) -> Result {
    let mut command = bench.cargo("test -p ringmesh-runtime --lib --profile quick");
    command.arg("--target-dir").arg(bench.tree.target.join("loom")).arg("doze");
    command.env("RUSTFLAGS", "--cfg loom");
    counted(&bench.run("cargo test with loom", command)?)
}

fn outside(bench: &Bench) -> Vec<(&'static str, PathBuf)> {
    let manifests = OUTSIDE.map(|name| (name, bench.tree.root.join(name).join("Cargo.toml")));
    manifests.into_iter().filter(|(_, manifest)| manifest.exists()).collect()
}

/// Adds up cargo's `test result:` lines. A run in which no test ran has shown nothing.
fn counted(output: &str) -> Result {
    let (mut passed, mut ignored) = (0, 0);
    for line in output.lines().filter(|line| line.starts_with("test result:")) {
        passed += count(line, " passed;");
        ignored += count(line, " ignored;");
    }
    match (passed, ignored) {
        (0, _) => Err(Problem::Failed("no test ran".to_owned())),
        (_, 0) => Ok(format!("{passed} tests")),
        (_, _) => Ok(format!("{passed} tests, {ignored} ignored")),
    }
}

/// The number before `unit` in a line such as `test result: ok. 3 passed; 0 failed; 1 ignored;`.
fn count(line: &str, unit: &str) -> usize {
    let before = line.split(unit).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_among_the_peers_is_checked() {
        let peers = crate::tree::root().join("perf/peers");
        for peer in std::fs::read_dir(peers).expect("perf/peers") {
            let peer = peer.expect("an entry");
            let name = format!("perf/peers/{}", peer.file_name().to_string_lossy());
            let listed = OUTSIDE.contains(&name.as_str());
            assert!(listed || !peer.path().join("Cargo.toml").exists(), "{name} is not in OUTSIDE");
        }
    }

    #[test]
    fn tests_are_added_up() {
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out\n";
        let counts = |text: &str| counted(text).map_err(|problem| problem.to_string());
        assert_eq!(counts(&line.repeat(2)), Ok("6 tests, 2 ignored".to_owned()));
        assert_eq!(counts(&line.replace(" 1 ", " 0 ")), Ok("3 tests".to_owned()));
        assert_eq!(counts(&line.replace(" 3 ", " 0 ")), Err("no test ran".to_owned()));
        assert_eq!(counts(""), Err("no test ran".to_owned()));
    }
}
