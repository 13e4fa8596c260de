//! Origins of web pages (RFC 6454 §6.1), as flags write them.

use url::Url;

/// Reads `https://HOST` or `https://HOST:PORT`, and gives it as browsers send it.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not an origin: write for example https://app.example.org");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_anybodys = url.username().is_empty() && url.password().is_none();
    // Other schemes have an opaque origin, which is sent as `null` (RFC 6454 §4).
    if !is_bare || !is_anybodys || !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_given_as_browsers_send_it() {
        for (written, sent) in [
            ("https://app.example.org", "https://app.example.org"),
            ("https://app.example.org/", "https://app.example.org"),
            ("https://APP.example.org:443", "https://app.example.org"),
            ("http://localhost:5173", "http://localhost:5173"),
        ] {
            assert_eq!(parse(written).as_deref(), Ok(sent));
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in ["app.example.org", "https://a.example/page", "ftp://a.example", "*", "null"] {
            assert!(parse(text).unwrap_err().contains("is not an origin"), "{text}");
        }
    }
}
