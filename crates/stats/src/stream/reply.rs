//! What Redis answers about entries of a stream.

/// An entry: its id, and its fields with their values in turn.
pub(super) type Entry = (String, Option<Vec<Vec<u8>>>);

/// The answer to `XREADGROUP`: nothing in time, or entries by stream.
pub(super) type Read = Option<Vec<(String, Vec<Entry>)>>;

/// The answer to `XAUTOCLAIM`: where to go on, what was taken over, what is gone.
pub(super) type Claimed = (String, Vec<Entry>, Vec<String>);

/// The event in an entry. One that was deleted meanwhile, or that is none of ours, has none.
pub(super) fn event_of(entry: &Entry) -> &[u8] {
    match entry.1.as_deref() {
        Some([name, event, ..]) if name == b"event" => event,
        Some(_) | None => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_of_an_entry_is_the_value_of_its_field() {
        let fields = |texts: &[&str]| Some(texts.iter().map(|t| t.as_bytes().to_vec()).collect());
        assert_eq!(event_of(&("1-0".to_owned(), fields(&["event", "{}"]))), b"{}");
        for other in [fields(&["x", "{}"]), fields(&["event"]), fields(&[]), None] {
            assert_eq!(event_of(&("1-0".to_owned(), other)), b"");
        }
    }
}
