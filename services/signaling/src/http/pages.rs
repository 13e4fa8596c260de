//! `GET /`, `GET /test`, and the files that they load: pages of this origin that ask nobody else.
//!
//! They are as they stand in `pages/`; nothing is generated, so a build needs no other tools. What
//! they show beyond `/` itself they ask the API for, with a token that stays in the browser.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};
use p2p_wire::Code;

use super::problem::ProblemResponse;
use crate::instance::Instance;

const DASHBOARD: &str = include_str!("../../pages/index.html");
const TEST: &str = include_str!("../../pages/test.html");

const CSS: &str = "text/css; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, type, text.
type File = (&'static str, &'static str, &'static str);

/// What the pages load.
const FILES: [File; 16] = [
    ("style.css", CSS, include_str!("../../pages/style.css")),
    ("icon.svg", SVG, include_str!("../../pages/icon.svg")),
    ("api.js", JS, include_str!("../../pages/api.js")),
    ("attempts.js", JS, include_str!("../../pages/attempts.js")),
    ("copying.js", JS, include_str!("../../pages/copying.js")),
    ("dashboard.js", JS, include_str!("../../pages/dashboard.js")),
    ("elements.js", JS, include_str!("../../pages/elements.js")),
    ("figures.js", JS, include_str!("../../pages/figures.js")),
    ("ice.js", JS, include_str!("../../pages/ice.js")),
    ("meeting.js", JS, include_str!("../../pages/meeting.js")),
    ("session.js", JS, include_str!("../../pages/session.js")),
    ("steps.js", JS, include_str!("../../pages/steps.js")),
    ("story.js", JS, include_str!("../../pages/story.js")),
    ("test.js", JS, include_str!("../../pages/test.js")),
    ("token.js", JS, include_str!("../../pages/token.js")),
    ("verdict.js", JS, include_str!("../../pages/verdict.js")),
];

/// A page runs scripts of this origin alone, none that stands in the page itself, and makes none out
/// of text; it asks this origin and nobody else, and no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

pub(super) async fn dashboard(State(instance): State<Arc<Instance>>) -> Response {
    let now = instance.recent_snapshot();
    let page = DASHBOARD
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{state}}", if now.draining { "draining" } else { "ready" })
        .replace("{{uptime}}", &age(now.uptime_secs))
        .replace("{{peers}}", &now.peers_on.to_string())
        .replace("{{away}}", &now.peers_away.to_string())
        .replace("{{rooms}}", &now.rooms.to_string())
        .replace("{{attempts}}", &now.open_attempts.to_string());
    served(HTML, page)
}

pub(super) async fn test() -> Response {
    served(HTML, TEST)
}

/// `GET /assets/{file}`.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, ProblemResponse> {
    let file = FILES.iter().find(|(file, _, _)| *file == name);
    let &(_, media, text) = file.ok_or_else(|| {
        ProblemResponse::new(
            Code::NotFound,
            "No such file",
            "no page of this version loads a file of this name",
            "load the page again: this instance may be newer or older than the one that sent it",
        )
    })?;
    Ok(served(media, text))
}

fn served(media: &'static str, text: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, media),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Two instances may be of two versions, and their files do not fit each other.
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A page that opened this one sees nothing of it, its fragment least of all.
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, text).into_response()
}

/// For people, by its two largest parts.
fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_parts_at_most() {
        for (seconds, expected) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(age(seconds), expected);
        }
    }

    /// A name in a page or script that no file has is a page that stays half.
    #[test]
    fn every_file_that_a_page_or_a_script_names_is_served_and_every_file_is_named() {
        let texts = [DASHBOARD, TEST].into_iter().chain(FILES.iter().map(|(_, _, text)| *text));
        let all: String = texts.collect();
        let from_pages = all.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next());
        let from_scripts =
            all.split(" from './").skip(1).filter_map(|rest| rest.split('\'').next());
        let named: Vec<&str> = from_pages.chain(from_scripts).collect();
        for name in &named {
            assert!(FILES.iter().any(|(file, _, _)| file == name), "{name}");
        }
        for (file, _, _) in FILES {
            assert!(named.contains(&file), "{file} is loaded by nothing");
        }
    }

    /// The policy forbids what stands in a page, so a page that has it would silently lack it.
    #[test]
    fn no_page_has_a_script_or_a_style_of_its_own_or_names_another_origin() {
        for page in [DASHBOARD, TEST] {
            assert!(!page.contains("<style") && !page.contains(" style="));
            assert!(
                page.matches("<script").count()
                    == page.matches("<script type=\"module\" src=").count()
            );
            for event in [" onclick=", " onload=", " onsubmit=", "javascript:"] {
                assert!(!page.contains(event), "{event}");
            }
        }
        for (name, _, text) in FILES {
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{name}");
            assert!(!text.contains("innerHTML"), "{name}");
        }
    }
}
