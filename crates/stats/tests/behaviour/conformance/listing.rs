//! The list of attempts: newest first, page by page.

use p2p_stats::{Filter, MAX_PAGE, Store};
use p2p_wire::AppId;

use super::records::{begun, in_app};

async fn walk(store: &dyn Store, filter: &Filter, limit: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = store.attempts(filter, after.as_ref(), limit).await.unwrap();
        pages.push(page.attempts.iter().map(|record| record.attempt.to_string()).collect());
        // A cursor must also survive the trip through a URL.
        after = page.next.map(|next| next.to_string().parse().unwrap());
        if after.is_none() {
            return pages;
        }
    }
}

pub(crate) async fn pages_run_newest_first_and_end(store: &dyn Store) {
    assert_eq!(walk(store, &Filter::default(), 2).await, [Vec::<String>::new()]);
    for (id, started) in [("b", 20), ("a", 20), ("d", 40), ("c", 30)] {
        store.record_attempt(&begun(id, started)).await.unwrap();
    }
    // Attempts of one moment are ordered by id, so that a page may end between them.
    assert_eq!(walk(store, &Filter::default(), 3).await, [vec!["d", "c", "b"], vec!["a"]]);
    assert_eq!(walk(store, &Filter::default(), 2).await, [["d", "c"], ["b", "a"]]);
}

pub(crate) async fn attempts_recorded_between_pages_neither_repeat_nor_hide_others(
    store: &dyn Store,
) {
    for started in 1..=4 {
        store.record_attempt(&begun(&format!("a{started}"), started)).await.unwrap();
    }
    let first = store.attempts(&Filter::default(), None, 2).await.unwrap();
    store.record_attempt(&begun("new", 99)).await.unwrap();
    let second = store.attempts(&Filter::default(), first.next.as_ref(), 2).await.unwrap();
    let ids: Vec<_> = second.attempts.iter().map(|record| record.attempt.as_str()).collect();
    assert_eq!(ids, ["a2", "a1"]);
    assert_eq!(second.next, None);
}

pub(crate) async fn a_page_is_never_larger_than_the_bound(store: &dyn Store) {
    let records: Vec<_> = (0..MAX_PAGE + 5).map(|n| begun(&format!("a{n}"), n as i64)).collect();
    store.record_attempts(&records).await.unwrap();
    let page = store.attempts(&Filter::default(), None, usize::MAX).await.unwrap();
    assert_eq!(page.attempts.len(), MAX_PAGE);
    let page = store.attempts(&Filter::default(), None, 0).await.unwrap();
    assert_eq!(page.attempts.len(), 1);
    assert!(page.next.is_some());
}

pub(crate) async fn a_filter_holds_for_the_list_the_summary_and_the_matrix(store: &dyn Store) {
    store.record_attempt(&begun("old", 10)).await.unwrap();
    store.record_attempt(&begun("new", 20)).await.unwrap();
    store.record_attempt(&in_app("other", begun("foreign", 30))).await.unwrap();
    let app = |name: &str| Some(AppId::new(name).unwrap());
    for (filter, expected) in [
        (Filter::default(), vec!["foreign", "new", "old"]),
        (
            Filter { app: app("default"), since_unix_ms: None, before_unix_ms: None },
            vec!["new", "old"],
        ),
        (
            Filter { app: app("default"), since_unix_ms: Some(20), before_unix_ms: None },
            vec!["new"],
        ),
        (
            Filter { app: None, since_unix_ms: Some(20), before_unix_ms: None },
            vec!["foreign", "new"],
        ),
        (Filter { before_unix_ms: Some(30), ..Filter::default() }, vec!["new", "old"]),
        (Filter { since_unix_ms: Some(20), before_unix_ms: Some(20), app: None }, vec![]),
        (Filter { app: app("nobody"), since_unix_ms: None, before_unix_ms: None }, vec![]),
    ] {
        assert_eq!(walk(store, &filter, 10).await.concat(), expected, "{filter:?}");
        let summary = store.summary(&filter).await.unwrap();
        assert_eq!(summary.attempts, expected.len() as u64, "{filter:?}");
        let matrix = store.nat_matrix(&filter).await.unwrap();
        let attempts: u64 = matrix.iter().map(|cell| cell.attempts).sum();
        assert_eq!(attempts, expected.len() as u64, "{filter:?}");
    }
}
