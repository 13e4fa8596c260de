//! The cores do no I/O and read no clock: neither through a crate nor through the standard library.

use super::direction::CORES;
use super::{Violation, lines_outside_tests};
use crate::workspace::{Package, SourceFile};

const RULE: &str = "pure core";

/// Crates that bring a runtime, sockets or storage with them.
const IMPURE_CRATES: [&str; 16] = [
    "async-std",
    "axum",
    "futures-util",
    "hyper",
    "if-addrs",
    "metrics",
    "mio",
    "quinn",
    "redis",
    "reqwest",
    "smol",
    "socket2",
    "sqlx",
    "tokio",
    "tokio-tungstenite",
    "tokio-util",
];

/// Names that mean a clock, a socket, a file or a thread wherever they stand in code.
const IMPURE_NAMES: [&str; 11] = [
    "Instant::now",
    "SystemTime::now",
    "UNIX_EPOCH.elapsed",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "rand::rng()",
];

pub(super) fn check(packages: &[Package], files: &[SourceFile]) -> Vec<Violation> {
    let cores = packages.iter().filter(|package| CORES.contains(&package.folder.as_str()));
    let dependencies = cores.flat_map(check_dependencies);
    dependencies
        .chain(files.iter().filter(|file| is_core_source(file)).flat_map(check_source))
        .collect()
}

fn check_dependencies(package: &Package) -> Vec<Violation> {
    let impure = package.dependencies.iter().filter(|dependency| {
        dependency.kind.as_deref() != Some("dev")
            && IMPURE_CRATES.contains(&dependency.name.as_str())
    });
    let manifest = format!("{}/Cargo.toml", package.folder);
    impure
        .map(|dependency| {
            let message = format!("depends on `{}`, which does I/O", dependency.name);
            Violation::new(manifest.clone(), 1, RULE, message)
        })
        .collect()
}

fn is_core_source(file: &SourceFile) -> bool {
    let in_core = CORES.iter().any(|core| file.path.starts_with(&format!("{core}/src/")));
    let is_test = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
    in_core && !is_test && file.path.ends_with(".rs")
}

fn check_source(file: &SourceFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in lines_outside_tests(file) {
        let code = line.split("//").next().unwrap_or_default();
        for name in IMPURE_NAMES.iter().filter(|name| code.contains(*name)) {
            let message = format!("uses `{name}`: take bytes and `now` as arguments");
            violations.push(Violation::new(file.path.clone(), number, RULE, message));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;
    use crate::workspace::Dependency;

    fn core(dependency: &str, kind: Option<&str>) -> Package {
        let kind = kind.map(str::to_owned);
        let dependency = Dependency { name: dependency.into(), kind, path: None };
        let (name, folder) = ("p2p-nat".into(), "crates/nat".into());
        Package { name, folder, dependencies: vec![dependency] }
    }

    #[test]
    fn a_core_that_depends_on_a_runtime_is_found_but_its_tests_may() {
        assert_eq!(check(&[core("tokio", None)], &[]).len(), 1);
        assert!(check(&[core("tokio", Some("dev"))], &[]).is_empty());
        assert!(check(&[core("bytes", None)], &[]).is_empty());
    }

    #[test]
    fn a_clock_in_a_core_is_found_with_its_line() {
        let source = file("crates/nat/src/lib.rs", "//! Doc.\nlet now = Instant::now();\n");
        let found = check(&[], &[source]);
        assert_eq!((found[0].line, found.len()), (2, 1));
    }

    #[test]
    fn comments_tests_and_other_crates_may_name_a_clock() {
        let in_test = "#[cfg(test)]\nmod tests {\n    let now = Instant::now();\n}\n";
        let files = [
            file("crates/nat/src/lib.rs", "// never Instant::now\n"),
            file("crates/nat/src/plan.rs", in_test),
            file("crates/nat/src/plan/tests.rs", "Instant::now()"),
            file("services/relay/src/lib.rs", "Instant::now()"),
        ];
        assert!(check(&[], &files).is_empty());
    }
}
