//! The HTTP API.

use std::sync::Arc;
use std::time::Duration;

use p2p_auth::{Claims, Scope};
use p2p_registry::tickets::Kept;
use p2p_registry::{Answer as RegistryAnswer, MemoryTickets, RegistryError, TicketBox};
use p2p_signaling::{Origins, RelayOffer};
use serde_json::json;

use crate::support::{Answer, World, all_for, claims, raw_request, token};

#[tokio::test]
async fn health_checks_and_pages_need_no_token_and_load_nothing_from_elsewhere() {
    let world = World::start().await;
    for (path, expected) in
        [("/livez", "ok"), ("/readyz", "ready"), ("/", "/v1/ice-servers"), ("/test", "WebSocket")]
    {
        let answer = world.get(path, None).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.contains(expected), "{path}: {}", answer.body);
        assert!(!answer.body.contains("https://") && !answer.body.contains("{{"), "{path}");
    }
}

#[tokio::test]
async fn pages_and_what_they_load_run_scripts_of_this_origin_alone_and_are_framed_by_nobody() {
    let world = World::start().await;
    let mut paths = vec!["/".to_owned(), "/test".to_owned()];
    for page in ["/", "/test"] {
        let body = world.get(page, None).await.body;
        let named = body.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next());
        paths.extend(named.map(|name| format!("/assets/{name}")));
    }
    assert!(paths.len() > 6, "{paths:?}");
    for path in paths {
        let answer = world.get(&path, None).await;
        assert_eq!(answer.status, 200, "{path}");
        let headers = answer.headers.to_lowercase();
        let policy = headers.lines().find(|line| line.starts_with("content-security-policy:"));
        let policy = policy.unwrap_or_else(|| panic!("{path}: {headers}"));
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{path}: {part} in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for part in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
        ] {
            assert!(headers.contains(part), "{path}: {part} in {headers}");
        }
        let media = match path.rsplit_once('.') {
            None => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            Some(_) => "text/javascript; charset=utf-8",
        };
        assert!(headers.contains(&format!("content-type: {media}")), "{path}: {headers}");
    }
    let nothing = world.get("/assets/nothing.js", None).await;
    assert_eq!((nothing.status, nothing.problem().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let world = World::start().await;
    let _alice = world.client("alice").await;
    let metrics = world.get("/metrics", None).await;
    assert!(metrics.headers.contains("text/plain; version=0.0.4"), "{}", metrics.headers);
    for name in ["p2p_signaling_connections", "p2p_signaling_messages_total", "p2p_build_info"] {
        assert!(metrics.body.contains(name), "{name}:\n{}", metrics.body);
    }
}

#[tokio::test]
async fn with_an_admin_port_metrics_are_served_only_there() {
    let world =
        World::with(|config| config.admin_listen = Some("127.0.0.1:0".parse().unwrap())).await;
    let main = world.get("/metrics", None).await;
    assert_eq!((main.status, main.problem().as_str()), (404, "not_found"));
    let admin = world.signaling.admin_addr().unwrap();
    assert_eq!(raw_request(admin, "GET", "/metrics", "").await.status, 200);
    assert_eq!(raw_request(admin, "GET", "/readyz", "").await.status, 200);
    assert_eq!(raw_request(admin, "GET", "/v1/stats", "").await.status, 404);
}

#[tokio::test]
async fn ice_servers_are_usable_as_they_are() {
    let world = World::with(|config| {
        config.stun = vec!["stun:192.0.2.9:3478".to_owned()];
        config.relays = vec![RelayOffer { urls: vec!["turn:192.0.2.9:3478".to_owned()] }];
        config.turn_secrets = secrecy::SecretString::from("a secret of the relay").into();
    })
    .await;
    let answer = world.get("/v1/ice-servers", Some(&claims("alice"))).await;
    assert!(answer.headers.contains("no-store"), "{}", answer.headers);
    let servers = answer.json();
    assert_eq!(servers["ttl"], 3600);
    assert_eq!(servers["iceServers"][0], json!({ "urls": ["stun:192.0.2.9:3478"] }));
    let relay = &servers["iceServers"][1];
    assert!(relay["username"].as_str().unwrap().ends_with(":default:alice"), "{relay}");
    assert!(relay["credential"].is_string());

    let without = claims("alice").with_scopes([Scope::Connect]);
    let servers = world.get("/v1/ice-servers", Some(&without)).await.json();
    assert_eq!(servers["iceServers"].as_array().unwrap().len(), 1, "no relay without its scope");
    assert_eq!(world.get("/v1/ice-servers", None).await.problem(), "token_missing");
}

#[tokio::test]
async fn discovery_is_off_unless_the_token_grants_it() {
    let world = World::start().await;
    let hello = json!({ "type": "hello", "peer": "alice", "meta": { "name": "A" } });
    let mut alice = world.client_with(&all_for("alice"), hello).await;
    let _bob = world.client("bob").await;
    alice.join("demo").await;
    let plain = claims("carol");
    for path in ["/v1/peers", "/v1/rooms", "/v1/rooms/demo"] {
        let refused = world.get(path, Some(&plain)).await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, "not_allowed"), "{path}");
    }
    let discoverer = claims("carol").with_scopes([Scope::Discover]);
    let peers = world.get("/v1/peers?limit=1", Some(&discoverer)).await.json();
    assert_eq!(peers["peers"][0]["peer"], "alice");
    assert_eq!(peers["peers"][0]["meta"]["name"], "A");
    assert_eq!(peers["next"], "alice");
    let peers = world.get("/v1/peers?limit=1&after=alice", Some(&discoverer)).await.json();
    assert_eq!((&peers["peers"][0]["peer"], &peers["next"]), (&json!("bob"), &json!(null)));
    let rooms = world.get("/v1/rooms", Some(&discoverer)).await.json();
    assert_eq!(rooms["rooms"], json!([{ "room": "demo", "members": 1 }]));
    let room = world.get("/v1/rooms/demo", Some(&discoverer)).await.json();
    assert_eq!(room["members"][0]["peer"], "alice");
    let nobody = world.get("/v1/rooms/empty", Some(&discoverer)).await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (404, "room_not_found"));
    let bad = world.get("/v1/peers?limit=many", Some(&discoverer)).await;
    assert_eq!((bad.status, bad.problem().as_str()), (400, "bad_message"));
}

#[tokio::test]
async fn statistics_are_for_admins_and_of_their_own_app() {
    let world = World::start().await;
    for path in ["/v1/stats", "/v1/stats/nat-matrix", "/v1/attempts", "/v1/attempts/x"] {
        assert_eq!(world.get(path, Some(&claims("a"))).await.problem(), "not_allowed", "{path}");
        assert_eq!(world.get(path, None).await.status, 401, "{path}");
    }
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
    let attempt = alice.expect("attempt").await["attempt"].as_str().unwrap().to_owned();
    bob.expect("attempt").await;
    bob.goodbye().await;
    alice.expect("ended").await;
    world.signaling.flush_stats().await;

    let admin = claims("admin").with_scopes([Scope::Admin]);
    let stats = world.get("/v1/stats", Some(&admin)).await.json();
    assert_eq!((&stats["attempts"], &stats["failed"]), (&json!(1), &json!(1)), "{stats}");
    assert_eq!(stats["live"]["peers_on"], 1);
    assert_eq!(stats["relays"], json!([]), "this instance has none");
    let sessions = &stats["usage"]["sessions"];
    assert_eq!((&sessions["opened"], &sessions["closed"]), (&json!(2), &json!(1)), "{stats}");
    let path = format!("/v1/attempts/{attempt}");
    assert_eq!(world.get(&path, Some(&admin)).await.json()["callee"], "bob");

    let stranger = admin.clone().with_app("other".parse().unwrap());
    let of_others = world.get("/v1/stats", Some(&stranger)).await.json();
    assert_eq!(of_others["attempts"], 0);
    assert_eq!(of_others["usage"]["sessions"]["opened"], 0);
    assert_eq!(world.get("/v1/attempts", Some(&stranger)).await.json()["attempts"], json!([]));
    let refused = world.get(&path, Some(&stranger)).await;
    assert_eq!((refused.status, refused.problem().as_str()), (404, "attempt_not_found"));
}

#[tokio::test]
async fn an_admin_of_no_app_sees_the_statistics_of_all_and_a_time_ends_where_it_says() {
    let world = World::start().await;
    for app in ["shop", "game"] {
        let of = |name: &str| all_for(name).with_app(app.parse().unwrap());
        let hello = |name: &str| json!({ "type": "hello", "peer": name });
        let mut alice = world.client_with(&of("alice"), hello("alice")).await;
        let bob = world.client_with(&of("bob"), hello("bob")).await;
        alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
        alice.expect("attempt").await;
        bob.goodbye().await;
        alice.expect("ended").await;
    }
    world.signaling.flush_stats().await;
    let every = claims("admin").with_scopes([Scope::Admin]);
    let listed = async |query: &str, claims: &Claims| {
        let page = world.get(&format!("/v1/attempts?{query}"), Some(claims)).await.json();
        let attempts = page["attempts"].as_array().unwrap();
        let apps = attempts.iter().map(|one| one["app"].as_str().unwrap().to_owned());
        for path in ["/v1/stats", "/v1/stats/nat-matrix"] {
            let told = world.get(&format!("{path}?{query}"), Some(claims)).await.json();
            let count = told["attempts"].as_u64().or_else(|| {
                let cells = told["cells"].as_array().unwrap().iter();
                Some(cells.map(|cell| cell["attempts"].as_u64().unwrap()).sum())
            });
            assert_eq!(count, Some(attempts.len() as u64), "{path}: {told}");
        }
        apps.collect::<Vec<_>>()
    };
    assert_eq!(listed("", &every).await, ["game", "shop"]);
    assert_eq!(listed("", &every.clone().with_app("shop".parse().unwrap())).await, ["shop"]);
    let of_default = every.clone().with_app("default".parse().unwrap());
    assert_eq!(listed("", &of_default).await.len(), 0);
    let of_game = world.get("/v1/attempts?limit=1", Some(&every)).await.json();
    let [id, began] = ["attempt", "started_unix_ms"].map(|name| &of_game["attempts"][0][name]);
    let path = format!("/v1/attempts/{}", id.as_str().unwrap());
    assert_eq!(world.get(&path, Some(&every)).await.json()["app"], "game");
    assert_eq!(world.get(&path, Some(&of_default)).await.status, 404);

    let began = began.as_i64().unwrap();
    assert_eq!(listed(&format!("before_unix_ms={}", began + 1), &every).await.len(), 2);
    assert!(!listed(&format!("before_unix_ms={began}"), &every).await.contains(&"game".to_owned()));
    let whole = format!("since_unix_ms={began}&before_unix_ms={}", began + 1);
    assert!(listed(&whole, &every).await.contains(&"game".to_owned()));
}

#[tokio::test]
async fn attempts_are_listed_newest_first_page_by_page() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let mut begun = Vec::new();
    for _ in 0..3 {
        alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
        let attempt = alice.expect("attempt").await["attempt"].as_str().unwrap().to_owned();
        bob.expect("attempt").await;
        for client in [&mut alice, &mut bob] {
            let report = json!({
                "type": "report", "attempt": attempt, "outcome": "direct", "method": "direct", "ms": 1,
            });
            client.send(report).await;
            client.expect_silence().await;
        }
        begun.push(attempt);
    }
    world.signaling.flush_stats().await;
    let admin = claims("admin").with_scopes([Scope::Admin]);
    let (mut told, mut path) = (Vec::new(), "/v1/attempts?limit=2".to_owned());
    loop {
        let page = world.get(&path, Some(&admin)).await.json();
        let attempts = page["attempts"].as_array().unwrap();
        assert!(attempts.len() <= 2);
        told.extend(attempts.iter().map(|one| one["attempt"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/attempts?limit=2&after={next}");
    }
    begun.sort();
    told.sort();
    assert_eq!(told, begun, "each once");
    let matrix = world.get("/v1/stats/nat-matrix", Some(&admin)).await.json();
    let direct = &matrix["methods"][0];
    assert_eq!(direct["method"], "direct");
    assert_eq!((direct["tried"].as_u64(), direct["worked"].as_u64()), (Some(3), Some(3)));
    let chance = |end: &str| direct["chance"][end].as_f64().unwrap();
    assert!(chance("low") < chance("expected") && chance("expected") <= chance("high"));
    for bad in ["after=nonsense", "limit=many", "since_unix_ms=x"] {
        let answer = world.get(&format!("/v1/attempts?{bad}"), Some(&admin)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_message"), "{bad}");
    }
}

#[tokio::test]
async fn an_unknown_path_or_method_is_answered_in_kind() {
    let world = World::start().await;
    let answer = world.get("/v2/nothing", None).await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"));
    assert!(answer.headers.contains("application/problem+json"), "{}", answer.headers);
    let answer = world.request("DELETE", "/v1/tickets", Some(&claims("a"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (405, "not_found"));
}

#[tokio::test]
async fn every_route_is_described_with_what_it_takes_and_answers() {
    let world = World::start().await;
    let document = world.get("/openapi.json", None).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    // The router is built from the same list: what is described is served.
    for (path, methods) in paths {
        let [(method, operation)] = methods.as_object().unwrap().iter().collect::<Vec<_>>()[..]
        else {
            panic!("{path}: {methods}")
        };
        let answer =
            world.request(&method.to_uppercase(), &path.replace(['{', '}'], ""), None).await;
        let needs_token = operation["security"].is_array();
        // A GET that asks for no upgrade is refused before its token is looked at.
        let expected = match operation["responses"]["101"].is_object() {
            true => 400,
            false if needs_token => 401,
            false => 200,
        };
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
    }
    for path in ["/v1/ws", "/v1/peers", "/v1/attempts/{id}", "/metrics", "/openapi.json", "/"]
        .into_iter()
        .chain(["/peerjs/peerjs", "/peerjs/{key}/id", "/peerjs/{key}/peers"])
    {
        assert!(paths.contains_key(path), "{path}");
    }
    let arguments = paths["/v1/attempts"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<_> = arguments.iter().map(|one| one["name"].as_str().unwrap()).collect();
    for name in ["since_unix_ms", "before_unix_ms", "after", "limit"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let admin = claims("admin").with_scopes([Scope::Admin]);
    let stats = world.get("/v1/stats", Some(&admin)).await.json();
    let fields = &document["components"]["schemas"]["Stats"]["properties"];
    for field in stats.as_object().unwrap().keys() {
        assert!(fields[field].is_object(), "{field} in {fields}");
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

/// What a browser asks before, and with, a request of a page at this origin.
async fn ask_from(world: &World, method: &str, path: &str, origin: &str) -> [Answer; 2] {
    let address = world.signaling.local_addr();
    let origin = format!("Origin: {origin}\r\n");
    let before = format!(
        "{origin}Access-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: authorization\r\n"
    );
    let with = format!("{origin}Authorization: Bearer {}\r\n", token(&claims("alice")).expose());
    [
        raw_request(address, "OPTIONS", path, &before).await,
        raw_request(address, method, path, &with).await,
    ]
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_for_tickets_and_relays_and_others_may_not() {
    const PAGE: &str = "https://app.example.org";
    for listed in [false, true] {
        let world = World::with(|config| {
            if listed {
                config.origins = Origins::Only(vec![PAGE.to_owned()]);
            }
        })
        .await;
        let expected = if listed { PAGE } else { "*" };
        let allows = format!("access-control-allow-origin: {expected}\r\n");
        for (method, path, status) in
            [("POST", "/v1/tickets", 201), ("GET", "/v1/ice-servers", 200)]
        {
            let [before, answer] = ask_from(&world, method, path, PAGE).await;
            assert_eq!((before.status, answer.status), (204, status), "{path}");
            for headers in [&before.headers, &answer.headers] {
                assert!(format!("{headers}\r\n").contains(&allows), "{path}: {headers}");
            }
            let methods = format!("access-control-allow-methods: {}", method.to_lowercase());
            assert!(before.headers.contains(&methods), "{}", before.headers);
            assert!(before.headers.contains("allow-headers: authorization"), "{}", before.headers);
            // Neither what a page of elsewhere asks, nor what nobody has opened.
            let elsewhere = ask_from(&world, method, path, "https://evil.example").await;
            for Answer { headers, .. } in elsewhere {
                assert_eq!(headers.contains("allow-origin"), !listed, "{path}: {headers}");
            }
        }
        for Answer { headers, .. } in ask_from(&world, "GET", "/v1/stats", PAGE).await {
            assert!(!headers.contains("access-control"), "{headers}");
        }
        // A page can read why it was refused.
        let page = format!("Origin: {PAGE}\r\n");
        let address = world.signaling.local_addr();
        let refused = raw_request(address, "POST", "/v1/tickets", &page).await;
        assert_eq!(refused.problem(), "token_missing");
        assert!(refused.headers.contains("access-control-allow-origin"), "{}", refused.headers);
    }
}

#[tokio::test]
async fn i5_nobody_takes_all_the_tickets_and_a_used_one_makes_room() {
    let world = World::start().await;
    let mallory = claims("mallory");
    let mut last = String::new();
    for _ in 0..64 {
        let given = world.request("POST", "/v1/tickets", Some(&mallory)).await;
        assert_eq!(given.status, 201);
        last = given.json()["ticket"].as_str().unwrap().to_owned();
    }
    let refused = world.request("POST", "/v1/tickets", Some(&mallory)).await;
    assert_eq!((refused.status, refused.problem().as_str()), (429, "limit_reached"));
    assert_eq!(world.request("POST", "/v1/tickets", Some(&claims("alice"))).await.status, 201);
    assert!(world.open(&format!("/v1/ws?ticket={last}"), &[]).await.is_ok());
    assert_eq!(world.request("POST", "/v1/tickets", Some(&mallory)).await.status, 201);
}

/// A place whose answers are lost: what is kept there is there.
#[derive(Debug)]
struct LosesAnswers(MemoryTickets);

impl TicketBox for LosesAnswers {
    fn keep<'a>(
        &'a self,
        ticket: &'a str,
        holder: &'a str,
        what: String,
        ttl: Duration,
    ) -> RegistryAnswer<'a, Kept> {
        Box::pin(async move {
            self.0.keep(ticket, holder, what, ttl).await?;
            Err(RegistryError::Unavailable("the answer was lost".to_owned()))
        })
    }

    fn take<'a>(&'a self, ticket: &'a str) -> RegistryAnswer<'a, Option<String>> {
        self.0.take(ticket)
    }
}

#[tokio::test]
async fn a_ticket_whose_keeping_was_not_answered_is_good_once_all_the_same() {
    let world = World::with(|config| {
        config.tickets = Some(Arc::new(LosesAnswers(MemoryTickets::new(10))));
    })
    .await;
    let given = world.request("POST", "/v1/tickets", Some(&claims("alice"))).await;
    assert_eq!(given.status, 201, "{given:?}");
    let path = format!("/v1/ws?ticket={}", given.json()["ticket"].as_str().unwrap());
    let mut first = world.open(&path, &[]).await.unwrap();
    first.send(json!({ "type": "hello", "peer": "alice" })).await;
    first.expect("welcome").await;
    let mut second = world.open(&path, &[]).await.unwrap();
    second.expect_error("token_invalid").await;
    assert_eq!(second.closed().await.0, 4401);
}
