//! Where things are: the checkout, and the folder that cargo builds into.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::part::{Problem, Result};

pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever its configuration puts it.
    pub(crate) target: PathBuf,
}

impl Tree {
    pub(crate) fn find() -> Result<Self> {
        let root = root().canonicalize().map_err(Problem::failed)?;
        let output = cargo(&root)
            .args(["metadata", "--format-version=1", "--no-deps"])
            .output()
            .map_err(|error| Problem::Failed(format!("cannot start cargo: {error}")))?;
        let metadata: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_default();
        let Some(target) = metadata["target_directory"].as_str() else {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(Problem::Failed(format!("cargo metadata: {}", told.trim())));
        };
        Ok(Self { root, target: target.into() })
    }

    /// A program that a build in profile `quick` has left.
    pub(crate) fn quick(&self, program: &str) -> PathBuf {
        self.target.join("quick").join(program)
    }
}

/// The checkout that this program was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The cargo that runs this program, in `folder`.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    command
}
