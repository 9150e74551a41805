//! Scripts of the repository: shellcheck for the shell's, a compiler's look at Python's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::child::Bench;
use crate::part::{Problem, Result};
use crate::tools;

const COMPILE: &str = "import sys\n\
    for path in sys.argv[1:]: compile(open(path, encoding='utf-8').read(), path, 'exec')";

pub(crate) fn shell(bench: &mut Bench) -> Result {
    let python = tools::python(bench)?;
    let (mut shells, mut pythons) = (Vec::new(), Vec::new());
    for path in files(bench)? {
        match language(bench, &path) {
            Some("sh") => shells.push(path),
            Some("python") => pythons.push(path),
            _ => {}
        }
    }
    if shells.is_empty() || pythons.is_empty() {
        return Err(Problem::Failed("found no scripts to check".to_owned()));
    }
    let mut command = Command::new(python.with_file_name("shellcheck"));
    command.current_dir(&bench.tree.root).arg("--external-sources").args(&shells);
    bench.run("shellcheck", command)?;
    let mut command = Command::new(&python);
    command.current_dir(&bench.tree.root).args(["-c", COMPILE]).args(&pythons);
    bench.run("compiling the Python scripts", command)?;
    Ok(format!("{} shell scripts, {} Python scripts", shells.len(), pythons.len()))
}

/// What git tracks or would track, relative to the root.
fn files(bench: &mut Bench) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.current_dir(&bench.tree.root);
    command.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = bench.run("git ls-files", command)?;
    Ok(output.lines().map(PathBuf::from).collect())
}

/// By its suffix, or by the first line of a program without one.
fn language(bench: &Bench, path: &std::path::Path) -> Option<&'static str> {
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("sh") => Some("sh"),
        Some("py") => Some("python"),
        Some(_) => None,
        None => {
            let text = fs::read_to_string(bench.tree.root.join(path)).ok()?;
            let first = text.lines().next().filter(|line| line.starts_with("#!"))?;
            let known = [("python", "python"), ("sh", "sh")];
            known.into_iter().find(|(word, _)| first.contains(word)).map(|(_, language)| language)
        }
    }
}
