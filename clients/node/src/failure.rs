//! Errors on their way to JavaScript: code, message and fix as JSON in the reason, because an
//! error of Node-API carries one text. `lib/errors.js` takes it apart.

use p2p_client::{Error, ErrorCode};

/// The client's error for JavaScript.
pub(crate) fn thrown(error: &Error) -> napi::Error {
    parts(error.code.as_str(), &error.cause, &error.fix)
}

/// An error of these parts for JavaScript.
pub(crate) fn parts(code: &str, message: &str, fix: &str) -> napi::Error {
    let text = serde_json::json!({ "code": code, "message": message, "fix": fix });
    napi::Error::from_reason(text.to_string())
}

/// The argument cannot be used.
pub(crate) fn usage(message: impl Into<String>, fix: &str) -> napi::Error {
    thrown(&Error::new(ErrorCode::Usage, message, fix))
}

/// The client, connection or stream has ended.
pub(crate) fn closed(message: &str) -> napi::Error {
    thrown(&Error::new(ErrorCode::Closed, message, "connect again"))
}
