//! What a token says, claim by claim.
//!
//! Times are NumericDates: seconds since the Unix epoch (RFC 7519 §2).

use std::fmt;

use p2p_wire::AppId;
use serde::{Deserialize, Deserializer, Serialize};

use crate::pattern::Pattern;

/// The claims of a token (RFC 7519 §4), with what this service adds to them.
///
/// Everything but `sub` and `exp` may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The peer id that the bearer may register, or a prefix of it followed by `*`.
    pub sub: Pattern,
    /// When the token ends.
    #[serde(deserialize_with = "numeric_date")]
    pub exp: u64,
    /// When the token begins.
    #[serde(
        default,
        deserialize_with = "optional_numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub nbf: Option<u64>,
    /// When the token was made.
    #[serde(
        default,
        deserialize_with = "optional_numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub iat: Option<u64>,
    /// Who made the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom the token is meant for.
    #[serde(default, skip_serializing_if = "Audience::is_empty")]
    pub aud: Audience,
    /// The tenant, without a `:`. Absent: `default`, and with the scope `admin` the statistics of every tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// The rooms that the bearer may use. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<RoomGrant>,
    /// What the bearer may do. Absent: `connect` and `relay`.
    #[serde(default)]
    pub scope: Scopes,
    /// Bytes that a relay might carry for this token's credentials. No relay heeds it: relays have
    /// limits of their own, and signaling warns of a token that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_quota: Option<u64>,
}

impl Claims {
    /// Claims for one peer until `exp`, with default scopes and no rooms.
    pub fn new(sub: Pattern, exp: u64) -> Self {
        Self {
            sub,
            exp,
            nbf: None,
            iat: None,
            iss: None,
            aud: Audience::default(),
            app: None,
            rooms: Vec::new(),
            scope: Scopes::default(),
            relay_quota: None,
        }
    }

    /// The same claims with these rooms, every verb allowed.
    pub fn with_rooms(mut self, rooms: impl IntoIterator<Item = Pattern>) -> Self {
        self.rooms.extend(rooms.into_iter().map(RoomGrant::all));
        self
    }

    /// The same claims with exactly these scopes.
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.scope = Scopes(scopes.into_iter().collect());
        self
    }

    /// The same claims for another app.
    pub fn with_app(mut self, app: AppId) -> Self {
        self.app = Some(app);
        self
    }
}

/// One thing that a token may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Ask for connections to peers.
    Connect,
    /// List peers and rooms.
    Discover,
    /// Get relay credentials.
    Relay,
    /// Read statistics and attempts: of the app that the token names, of all where it names none.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Discover, Self::Relay, Self::Admin];

    /// The name in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Discover => "discover",
            Self::Relay => "relay",
            Self::Admin => "admin",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The scopes of a token: a list, or a text with spaces between them (RFC 8693 §4.2).
///
/// Names from a newer issuer are skipped: they can only add to what a token allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ListOrText", into = "Vec<&'static str>")]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Whether the scope is among them.
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

impl Default for Scopes {
    fn default() -> Self {
        Self(vec![Scope::Connect, Scope::Relay])
    }
}

impl From<ListOrText> for Scopes {
    fn from(names: ListOrText) -> Self {
        Self(match names {
            ListOrText::List(names) => names.iter().filter_map(|n| Scope::named(n)).collect(),
            ListOrText::Text(text) => text.split_whitespace().filter_map(Scope::named).collect(),
        })
    }
}

impl From<Scopes> for Vec<&'static str> {
    fn from(scopes: Scopes) -> Self {
        scopes.0.into_iter().map(Scope::as_str).collect()
    }
}

/// Whom a token is meant for: one name or several (RFC 7519 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "ListOrText")]
pub struct Audience(pub Vec<String>);

impl Audience {
    /// Whether the token names nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the token names this service.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|aud| aud == name)
    }
}

impl From<ListOrText> for Audience {
    fn from(names: ListOrText) -> Self {
        Self(match names {
            ListOrText::List(names) => names,
            ListOrText::Text(name) => vec![name],
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ListOrText {
    List(Vec<String>),
    Text(String),
}

/// What may be done in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomVerb {
    /// Enter it and hear what is said in it.
    Join,
    /// Send to everybody in it.
    Send,
}

/// A room, or a prefix of rooms followed by `*`, and what may be done there.
///
/// In a token either a text (`"demo"`, every verb) or an object
/// (`{"room": "team-*", "verbs": ["join"]}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenRoomGrant", into = "WrittenRoomGrant")]
pub struct RoomGrant {
    /// Which rooms.
    pub room: Pattern,
    /// Which verbs; `None` is every verb.
    pub verbs: Option<Vec<RoomVerb>>,
}

impl RoomGrant {
    /// Every verb in the rooms of a pattern.
    pub fn all(room: Pattern) -> Self {
        Self { room, verbs: None }
    }

    /// Whether the verb is allowed in the room.
    pub fn allows(&self, room: &str, verb: RoomVerb) -> bool {
        self.room.matches(room) && self.verbs.as_ref().is_none_or(|verbs| verbs.contains(&verb))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenRoomGrant {
    Name(Pattern),
    Object { room: Pattern, verbs: Option<Vec<RoomVerb>> },
}

impl From<WrittenRoomGrant> for RoomGrant {
    fn from(written: WrittenRoomGrant) -> Self {
        match written {
            WrittenRoomGrant::Name(room) => Self::all(room),
            WrittenRoomGrant::Object { room, verbs } => Self { room, verbs },
        }
    }
}

impl From<RoomGrant> for WrittenRoomGrant {
    fn from(grant: RoomGrant) -> Self {
        match grant.verbs {
            None => Self::Name(grant.room),
            verbs => Self::Object { room: grant.room, verbs },
        }
    }
}

/// Reads a NumericDate, which may have a fraction (RFC 7519 §2).
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    number
        .as_u64()
        // `as` saturates: a negative date is long past and a huge one never comes.
        .or_else(|| number.as_f64().map(|seconds| seconds as u64))
        .ok_or_else(|| serde::de::Error::custom("a date is a number of seconds"))
}

fn optional_numeric_date<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    numeric_date(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_only_subject_and_end_gets_the_defaults() {
        let claims: Claims = serde_json::from_str(r#"{"sub":"alice","exp":1700000000}"#).unwrap();
        assert_eq!(claims.app, None);
        assert!(claims.scope.contains(Scope::Connect) && claims.scope.contains(Scope::Relay));
        assert!(!claims.scope.contains(Scope::Discover) && !claims.scope.contains(Scope::Admin));
        assert!(claims.rooms.is_empty());
    }

    #[test]
    fn scopes_and_audience_are_read_as_text_and_as_list() {
        for (scope, aud) in
            [(r#""connect admin later""#, r#""p2p""#), (r#"["connect","admin"]"#, r#"["x","p2p"]"#)]
        {
            let text = format!(r#"{{"sub":"a","exp":1.5,"scope":{scope},"aud":{aud}}}"#);
            let claims: Claims = serde_json::from_str(&text).unwrap();
            assert!(claims.scope.contains(Scope::Admin) && !claims.scope.contains(Scope::Relay));
            assert!(claims.aud.contains("p2p"));
        }
    }

    #[test]
    fn a_room_grant_may_name_its_verbs() {
        let text = r#"{"sub":"a","exp":1,"rooms":["demo",{"room":"team-*","verbs":["join"]}]}"#;
        let claims: Claims = serde_json::from_str(text).unwrap();
        assert!(claims.rooms[0].allows("demo", RoomVerb::Send));
        assert!(claims.rooms[1].allows("team-7", RoomVerb::Join));
        assert!(!claims.rooms[1].allows("team-7", RoomVerb::Send));
        assert!(!claims.rooms[1].allows("demo", RoomVerb::Join));
    }

    #[test]
    fn claims_read_back_as_they_were_written() {
        let claims = Claims::new("alice".parse().unwrap(), 9)
            .with_rooms(["demo".parse().unwrap()])
            .with_scopes([Scope::Discover]);
        let text = serde_json::to_string(&claims).unwrap();
        assert_eq!(serde_json::from_str::<Claims>(&text).unwrap(), claims);
    }
}
