//! Whether the code map of the README tells the truth: it names every top-level folder, and what
//! it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::tree;

/// The words in backticks that hold a slash, and where links lead to, in the section `## Code map`.
fn mapped(readme: &str) -> BTreeSet<String> {
    let section = readme.split("\n## ").find(|section| section.starts_with("Code map\n"));
    let section = section.unwrap_or_default();
    let words = section.split('`').skip(1).step_by(2).filter(|word| word.contains('/'));
    let links = section.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    words.chain(links).map(str::to_owned).collect()
}

#[test]
fn paths_stand_in_backticks_or_are_links() {
    let readme = "# r\n`a/`\n## Code map\n| `src/` | `Server` of [x](src/x.rs) |\n## Next\n`b/`\n";
    assert_eq!(mapped(readme), BTreeSet::from(["src/".to_owned(), "src/x.rs".to_owned()]));
    assert_eq!(mapped("# r\n"), BTreeSet::new());
}

#[test]
fn the_code_map_names_every_top_level_folder_and_nothing_that_is_not_there() {
    let readme = fs::read_to_string(tree::root().join("README.md")).expect("README.md");
    let mapped = mapped(&readme);
    assert!(!mapped.is_empty(), "README.md has no section `## Code map` with paths in backticks");
    for path in &mapped {
        assert!(tree::root().join(path).exists(), "README.md names {path}, which does not exist");
    }
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(tree::root())
        .output()
        .expect("git");
    let files = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let folders: BTreeSet<&str> =
        files.lines().filter_map(|file| file.split_once('/')).map(|(folder, _)| folder).collect();
    assert!(!folders.is_empty(), "git knows no files");
    for folder in folders {
        let named = mapped.iter().any(|path| path.split('/').next() == Some(folder));
        assert!(named, "the code map of README.md does not name {folder}/");
    }
}
