//! File names from the other side: made harmless, and never in the way of an existing file.

use std::path::{Path, PathBuf};

/// Bytes in a name; file systems commonly take 255, and a part file needs a few more.
const MAX_BYTES: usize = 200;

/// Copies of one name that are tried: `a (1).txt` to `a (999).txt`.
const MAX_COPIES: u32 = 999;

/// A name that means exactly one file in one folder, whatever the other side called it.
///
/// Only what follows the last separator counts; separators and characters that some system treats
/// specially become `_`; a name does not begin with a dot, so that nothing arrives hidden.
pub fn harmless(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| !c.is_control() && !"<>:\"|?*".contains(c);
    let cleaned: String = last.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut cleaned = cleaned.trim().trim_end_matches('.').to_owned();
    if cleaned.starts_with('.') {
        cleaned.replace_range(..1, "_");
    }
    while cleaned.len() > MAX_BYTES {
        cleaned.pop();
    }
    if cleaned.is_empty() { "file".to_owned() } else { cleaned }
}

/// The paths under which a file may be saved, in order: its name, then numbered copies.
pub fn places(folder: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem.to_owned(), format!(".{extension}")),
        _ => (name.to_owned(), String::new()),
    };
    let first = folder.join(name);
    let folder = folder.to_owned();
    std::iter::once(first)
        .chain((1..=MAX_COPIES).map(move |n| folder.join(format!("{stem} ({n}){extension}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_stays_as_it_is() {
        for name in ["a.txt", "Bericht März.pdf", "no extension", "a.tar.gz", "データ.csv"] {
            assert_eq!(harmless(name), name);
        }
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for (name, kept) in [
            ("../../etc/passwd", "passwd"),
            ("/etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("a/", "file"),
            (".bashrc", "_bashrc"),
            ("c:evil", "c_evil"),
            ("a\0b\n", "a_b_"),
        ] {
            assert_eq!(harmless(name), kept, "{name:?}");
            let path = Path::new("/inbox").join(harmless(name));
            assert_eq!(path.parent(), Some(Path::new("/inbox")), "{name:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let cut = harmless(&"ä".repeat(300));
        assert!(cut.len() <= MAX_BYTES && cut.chars().all(|c| c == 'ä'));
    }

    #[test]
    fn a_taken_name_gets_a_number_before_its_extension() {
        let mut places = places(Path::new("/in"), "a.txt");
        assert_eq!(places.next(), Some("/in/a.txt".into()));
        assert_eq!(places.next(), Some("/in/a (1).txt".into()));
        assert_eq!(places.next(), Some("/in/a (2).txt".into()));
    }
}
