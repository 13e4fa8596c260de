//! Who may depend on whom: the table of the architecture, over `cargo metadata`.

use std::path::Path;

use super::Violation;
use crate::workspace::{Dependency, Package};

const RULE: &str = "dependency direction";

/// Rooms of the pure cores. They do no I/O and read no clock.
pub(super) const CORES: [&str; 5] =
    ["crates/wire", "crates/nat", "crates/auth", "crates/turn-core", "crates/traversal"];

const CRATES: [&str; 9] = [
    "crates/wire",
    "crates/nat",
    "crates/auth",
    "crates/turn-core",
    "crates/traversal",
    "crates/redis",
    "crates/registry",
    "crates/stats",
    "crates/telemetry",
];

/// What the member in a room may depend on, or `None` for a room the table does not have.
fn allowed(folder: &str) -> Option<Vec<&'static str>> {
    let crates = || CRATES.to_vec();
    Some(match folder {
        "crates/wire" | "crates/redis" => vec![],
        "crates/nat" | "crates/auth" => vec!["crates/wire"],
        "crates/turn-core" | "crates/traversal" => {
            vec!["crates/wire", "crates/nat", "crates/auth"]
        }
        "crates/telemetry" => CORES.to_vec(),
        // Not on each other, but all may use telemetry and connect to Redis.
        "crates/registry" | "crates/stats" => {
            [&CORES[..], &["crates/telemetry", "crates/redis"]].concat()
        }
        "services/relay" | "services/signaling" | "clients/rust" => crates(),
        "clients/cli" => [&CRATES[..], &["clients/rust"]].concat(),
        // Without a server to join, the Node.js package starts a coordinator in its own process.
        "clients/node" => [&CRATES[..], &["clients/rust", "services/coordinator"]].concat(),
        // It only composes, so it alone may see other services and the client.
        "services/coordinator" => {
            [&CRATES[..], &["services/relay", "services/signaling", "clients/rust"]].concat()
        }
        "xtask" => vec![],
        _ => return None,
    })
}

pub(super) fn check(packages: &[Package], root: &Path) -> Vec<Violation> {
    packages.iter().flat_map(|package| check_one(package, root)).collect()
}

fn check_one(package: &Package, root: &Path) -> Vec<Violation> {
    let manifest = format!("{}/Cargo.toml", package.folder);
    let violation = |message: String| Violation::new(manifest.clone(), 1, RULE, message);
    let is_test = |folder: &str| folder.starts_with("tests/");
    // What only tests link does not ship: a client's tests may run against the real relay. The
    // shared crates, and whatever wants to use a test, have no such leave.
    let faces_others =
        package.folder.starts_with("services/") || package.folder.starts_with("clients/");
    let ours = package.dependencies.iter().filter_map(|dependency| {
        let room = room(dependency, root)?;
        let only_tests_link = dependency.kind.as_deref() == Some("dev");
        (!only_tests_link || !faces_others || is_test(&room)).then_some(room)
    });

    if is_test(&package.folder) {
        // Tests may use anything, and nothing may use them: not even each other.
        let broken = ours.filter(|room| is_test(room));
        return broken.map(|room| violation(format!("a test depends on {room}"))).collect();
    }
    let Some(allowed) = allowed(&package.folder) else {
        let message = format!("{} has no row in the table of allowed dependencies", package.name);
        return vec![violation(message)];
    };
    ours.filter(|room| !allowed.contains(&room.as_str()))
        .map(|room| violation(format!("{} may not depend on {room}", package.folder)))
        .collect()
}

/// The room of a dependency inside the workspace.
fn room(dependency: &Dependency, root: &Path) -> Option<String> {
    let path = Path::new(dependency.path.as_ref()?);
    Some(path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str, dependencies: &[&str]) -> Package {
        let dependency = |room: &&str| Dependency {
            name: room.replace('/', "-"),
            kind: None,
            path: Some(format!("/repository/{room}")),
        };
        Package {
            name: folder.replace('/', "-"),
            folder: folder.into(),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    fn messages(folder: &str, dependencies: &[&str]) -> Vec<String> {
        let found = check(&[package(folder, dependencies)], Path::new("/repository"));
        found.into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn dependencies_along_the_table_are_accepted() {
        assert!(messages("crates/turn-core", &["crates/auth", "crates/wire"]).is_empty());
        assert!(messages("services/coordinator", &["services/relay", "clients/rust"]).is_empty());
        assert!(messages("tests/natlab", &["services/relay", "clients/cli"]).is_empty());
    }

    #[test]
    fn a_core_may_not_look_up() {
        let found = messages("crates/traversal", &["crates/nat", "services/relay"]);
        assert_eq!(found, ["crates/traversal may not depend on services/relay"]);
    }

    #[test]
    fn services_and_registries_may_not_see_their_neighbours() {
        assert_eq!(messages("services/signaling", &["services/relay"]).len(), 1);
        assert_eq!(messages("crates/registry", &["crates/stats", "crates/telemetry"]).len(), 1);
    }

    #[test]
    fn the_tests_of_a_client_may_use_a_service_and_those_of_a_core_may_not() {
        let for_tests = |folder: &str| {
            let mut package = package(folder, &["services/relay"]);
            package.dependencies[0].kind = Some("dev".into());
            check(&[package], Path::new("/repository")).len()
        };
        assert_eq!(for_tests("clients/rust"), 0);
        assert_eq!(for_tests("crates/traversal"), 1);
    }

    #[test]
    fn nothing_depends_on_tests() {
        assert_eq!(messages("clients/cli", &["tests/natlab"]).len(), 1);
        assert_eq!(messages("tests/sim", &["tests/natlab"]).len(), 1);
    }

    #[test]
    fn a_member_without_a_row_is_named() {
        assert!(messages("crates/new", &[])[0].contains("no row"));
    }

    #[test]
    fn crates_from_elsewhere_are_no_concern_of_the_table() {
        let elsewhere = Dependency { name: "serde".into(), kind: None, path: None };
        let mut package = package("crates/wire", &[]);
        package.dependencies.push(elsewhere);
        assert!(check(&[package], Path::new("/repository")).is_empty());
    }
}
