//! Every statement of the source is one that its real database takes, with the schema of this
//! version. That stands in for `sqlx::query!`, whose offline data knows one database for a crate and
//! no statement that is put together.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

use crate::server::Server;

#[tokio::test]
async fn postgresql_takes_every_statement() {
    let Some(server) = Server::shared() else { return };
    let url = server.database();
    p2p_stats::postgres::migrate(&url).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    for statement in p2p_stats::postgres::statements() {
        let prepared = (&mut connection).prepare(AssertSqlSafe(statement).into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{error}:\n{statement}"));
    }
}

#[tokio::test]
async fn sqlite_takes_every_statement() {
    let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:").await.unwrap();
    p2p_stats::sqlite::MIGRATIONS.run_direct(None, &mut connection, false).await.unwrap();
    for statement in p2p_stats::sqlite::statements() {
        let prepared = (&mut connection).prepare(AssertSqlSafe(statement).into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{error}:\n{statement}"));
    }
}

/// The lists that the tests above go through are written by hand.
#[test]
fn every_statement_of_the_source_is_in_the_lists() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for name in ["postgres", "sqlite"] {
        let mut files: Vec<PathBuf> = vec![source.join(format!("{name}.rs"))];
        let entries = std::fs::read_dir(source.join(name)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            seen += check(&file, &text);
        }
    }
    assert!(seen > 40, "the search finds what there is: {seen}");
}

/// Says how many constants with statements there are. Panics where one is in no list, and where a
/// statement is no constant.
fn check(file: &Path, text: &str) -> usize {
    let list = text
        .split_once("fn statements()")
        .map_or("", |(_, rest)| rest.split_once("\n}").map_or(rest, |(body, _)| body));
    let (mut item, mut seen) = (String::new(), 0);
    for line in text.lines() {
        let code = line.trim_start();
        let begins = line.strip_prefix("const ").or_else(|| line.strip_prefix("pub(super) const "));
        if let Some(rest) = begins {
            let (name, of) = rest.split_once(':').unwrap_or((rest, ""));
            item = format!("const {name}");
            let is_statement = [" &str", " [&str", " Statement"].iter().any(|t| of.starts_with(t));
            if is_statement {
                let words = list.split(|c: char| !c.is_alphanumeric() && c != '_');
                assert!(words.into_iter().any(|word| word == name), "{name} of {}", file.display());
                seen += 1;
            }
        } else if ["fn ", "async fn ", "pub ", "pub(", "macro_rules! ", "impl", "struct ", "enum "]
            .iter()
            .any(|begin| code.starts_with(begin))
        {
            item = code.to_owned();
        }
        let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ", "BEGIN "];
        let has_one = verbs.iter().any(|verb| code.contains(&format!("\"{verb}")));
        let is_kept = item.starts_with("const ") || item.starts_with("macro_rules!");
        assert!(!has_one || is_kept, "a statement that is no constant: {}: {line}", file.display());
    }
    seen
}
