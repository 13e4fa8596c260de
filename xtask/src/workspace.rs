//! The workspace under check: its root, its files, its packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::run::output_of;

/// The repository that this xtask was built in.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
}

/// One file of the tree, with its path relative to the root.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One member of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its folder relative to the root: the room it has in the layout.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for a dependency inside the workspace.
    pub(crate) path: Option<String>,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().context("xtask has a parent folder")?;
        Ok(Self { root: root.to_owned() })
    }

    /// A binary of the development profile.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        target.unwrap_or_else(|| self.root.join("target")).join("debug").join(name)
    }

    /// A cargo command at the root, with the cargo that runs this xtask.
    pub(crate) fn cargo(&self, arguments: &str) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments.split_whitespace()).current_dir(&self.root);
        command
    }

    /// The text files git knows or would add. Files that are not UTF-8 are left out.
    pub(crate) fn files(&self) -> Result<Vec<SourceFile>> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listing = output_of(git.current_dir(&self.root))?;
        let mut files = Vec::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            // A file deleted but not yet committed is listed without being there.
            if let Ok(text) = fs::read_to_string(self.root.join(path)) {
                files.push(SourceFile { path: path.to_owned(), text });
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(files)
    }

    /// The members, as `cargo metadata` has them.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Member>,
        }
        #[derive(Deserialize)]
        struct Member {
            name: String,
            manifest_path: PathBuf,
            dependencies: Vec<Dependency>,
        }

        let json = output_of(&mut self.cargo("metadata --format-version 1 --no-deps"))?;
        let metadata: Metadata = serde_json::from_str(&json).context("cargo metadata")?;
        metadata
            .packages
            .into_iter()
            .map(|member| {
                let folder = member.manifest_path.parent().context("a manifest has a folder")?;
                let folder = folder.strip_prefix(&self.root).unwrap_or(folder);
                Ok(Package {
                    name: member.name,
                    folder: folder.to_string_lossy().into_owned(),
                    dependencies: member.dependencies,
                })
            })
            .collect()
    }
}
