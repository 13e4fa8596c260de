//! Reading what a script answers: first the instances whose channel nobody heard, then a word, then
//! what the word brings.

use p2p_wire::RoomName;
use p2p_wire::server::{Member, PeerState, Receipt, ReceiptStatus};
use redis::Value;
use serde::de::DeserializeOwned;

use super::event::Mail;
use crate::error::RegistryError;

/// A script's answer.
pub(super) struct Reply {
    /// Instances that are restarting, or dead.
    pub(super) suspects: Vec<String>,
    /// What became of it.
    pub(super) word: String,
    values: std::vec::IntoIter<Value>,
}

impl Reply {
    pub(super) fn read(value: Value) -> Result<Self, RegistryError> {
        let mut values = list(value)?.into_iter();
        let suspects = list(values.next().unwrap_or_default())?;
        let suspects = suspects.into_iter().map(text).collect::<Result<_, _>>()?;
        let word = text(values.next().unwrap_or_default())?;
        Ok(Self { suspects, word, values })
    }

    pub(super) fn number(&mut self) -> Result<u64, RegistryError> {
        number(self.values.next().unwrap_or_default())
    }

    pub(super) fn text(&mut self) -> Result<String, RegistryError> {
        text(self.values.next().unwrap_or_default())
    }

    pub(super) fn list(&mut self) -> Result<std::vec::IntoIter<Value>, RegistryError> {
        Ok(list(self.values.next().unwrap_or_default())?.into_iter())
    }

    /// Messages with their numbers.
    pub(super) fn mail(&mut self) -> Result<Vec<(u64, Mail)>, RegistryError> {
        let mut values = self.list()?;
        let mut mail = Vec::with_capacity(values.len() / 6);
        while let Some(seq) = values.next() {
            let mut next = || text(values.next().unwrap_or_default());
            let entry = Mail {
                from: parsed(&next()?)?,
                session: parsed(&next()?)?,
                id: parsed(&next()?)?,
                to_room: next()? == "1",
                rest: next()?.into(),
            };
            mail.push((number(seq)?, entry));
        }
        Ok(mail)
    }

    /// What became of messages that a session sent.
    pub(super) fn receipts(&mut self) -> Result<Vec<Receipt>, RegistryError> {
        let mut values = self.list()?;
        let mut receipts = Vec::with_capacity(values.len() / 3);
        while let Some(id) = values.next() {
            let mut next = || text(values.next().unwrap_or_default());
            receipts.push(Receipt {
                id: parsed(&text(id)?)?,
                status: status(&next()?)?,
                reason: Some(next()?).filter(|reason| !reason.is_empty()),
            });
        }
        Ok(receipts)
    }

    /// Members of a room, by name.
    pub(super) fn members(&mut self) -> Result<Vec<Member>, RegistryError> {
        let mut values = self.list()?;
        let mut members = Vec::with_capacity(values.len() / 4);
        while let Some(peer) = values.next() {
            let mut next = || text(values.next().unwrap_or_default());
            members.push(Member {
                peer: parsed(&text(peer)?)?,
                role: role(&next()?),
                meta: json(&next()?)?,
                state: state(&next()?),
            });
        }
        members.sort_by(|a, b| a.peer.cmp(&b.peer));
        Ok(members)
    }

    /// Rooms and the role in each.
    pub(super) fn roles(&mut self) -> Result<Vec<(RoomName, Option<String>)>, RegistryError> {
        let mut values = self.list()?;
        let mut rooms = Vec::with_capacity(values.len() / 2);
        while let Some(room) = values.next() {
            let role = role(&text(values.next().unwrap_or_default())?);
            rooms.push((parsed(&text(room)?)?, role));
        }
        Ok(rooms)
    }
}

/// How a role is written: Redis has no optional values.
pub(super) fn written_role(role: Option<&str>) -> String {
    role.map(|role| format!("={role}")).unwrap_or_default()
}

fn role(written: &str) -> Option<String> {
    written.strip_prefix('=').map(str::to_owned)
}

pub(super) fn state(word: &str) -> PeerState {
    if word == "on" { PeerState::On } else { PeerState::Away }
}

/// What a script calls a receipt's status.
pub(super) fn status(word: &str) -> Result<ReceiptStatus, RegistryError> {
    json(&format!("\"{word}\""))
}

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, RegistryError> {
    serde_json::from_str(text).map_err(|error| garbled(&error.to_string()))
}

pub(super) fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, RegistryError> {
    text.parse().map_err(|_| garbled("an id that is none"))
}

pub(super) fn text(value: Value) -> Result<String, RegistryError> {
    match value {
        Value::BulkString(bytes) => {
            String::from_utf8(bytes).map_err(|_| garbled("text that is not UTF-8"))
        }
        Value::SimpleString(text) => Ok(text),
        Value::Okay => Ok("OK".to_owned()),
        Value::Int(number) => Ok(number.to_string()),
        _ => Err(garbled("no text where there should be one")),
    }
}

pub(super) fn number(value: Value) -> Result<u64, RegistryError> {
    text(value)?.parse().map_err(|_| garbled("no number where there should be one"))
}

fn list(value: Value) -> Result<Vec<Value>, RegistryError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(garbled("no list where there should be one")),
    }
}

/// Something else writes to these keys, or an instance of another version.
fn garbled(what: &str) -> RegistryError {
    RegistryError::Unavailable(format!("Redis answered {what}"))
}
