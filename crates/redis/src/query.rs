//! The part of a URL behind `?`.

/// Names and values, as they are written.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The URL with one more parameter.
pub fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{name}={}", encoded(value))
}

/// RFC 3986 §2.1, §2.3: everything but unreserved characters.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// RFC 3986 §2.1, backwards. `None` where it is not text.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit()? * 16 + digit()?).ok()?,
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_as_it_was_written() {
        let url = with_parameter("redis://a", "sentinel_password", "p@ss&/ %é");
        let url = with_parameter(&url, "ca_file", "/etc/ca.pem");
        let (_, query) = url.split_once('?').unwrap();
        let read: Vec<_> = parameters(query).map(|(n, v)| (n, decoded(v).unwrap())).collect();
        assert_eq!(
            read,
            [("sentinel_password", "p@ss&/ %é".to_owned()), ("ca_file", "/etc/ca.pem".to_owned())]
        );
    }

    #[test]
    fn what_is_no_text_is_not_decoded() {
        for text in ["%", "%1", "%xy", "%FF"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
