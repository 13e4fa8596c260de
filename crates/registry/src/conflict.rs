//! Who keeps a peer id that two connections want.

use std::collections::HashMap;
use std::str::FromStr;

use p2p_wire::AppId;

/// What becomes of a claim while another session holds the id. A claim that resumes this very session
/// gets it whatever the policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConflictPolicy {
    /// The newer connection gets the id; the older one ends as [`crate::End::Replaced`].
    #[default]
    Takeover,
    /// The older connection keeps the id while it is connected.
    Reject,
    /// The older session keeps the id until it cannot be resumed any more: nobody gets it by being
    /// there while its peer is away for a moment.
    Resume,
}

impl ConflictPolicy {
    /// Its name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Takeover => "takeover",
            Self::Reject => "reject",
            Self::Resume => "resume",
        }
    }
}

/// A text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no policy: write takeover, reject or resume")]
pub struct NoSuchPolicy(String);

impl FromStr for ConflictPolicy {
    type Err = NoSuchPolicy;

    fn from_str(text: &str) -> Result<Self, NoSuchPolicy> {
        [Self::Takeover, Self::Reject, Self::Resume]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| NoSuchPolicy(text.to_owned()))
    }
}

/// The policy of each app.
#[derive(Debug, Clone, Default)]
pub struct Conflicts {
    /// Of apps that have none of their own. Takeover.
    pub others: ConflictPolicy,
    /// Of these apps.
    pub of: HashMap<AppId, ConflictPolicy>,
}

impl Conflicts {
    /// That of this app.
    pub fn policy(&self, app: &AppId) -> ConflictPolicy {
        self.of.get(app).copied().unwrap_or(self.others)
    }
}

impl From<ConflictPolicy> for Conflicts {
    fn from(others: ConflictPolicy) -> Self {
        Self { others, of: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_back_as_it_is_written_and_nothing_else_is() {
        for policy in [ConflictPolicy::Takeover, ConflictPolicy::Reject, ConflictPolicy::Resume] {
            assert_eq!(policy.as_str().parse(), Ok(policy));
        }
        let wrong = "Reject".parse::<ConflictPolicy>().unwrap_err();
        assert_eq!(wrong.to_string(), "`Reject` is no policy: write takeover, reject or resume");
    }

    #[test]
    fn an_app_has_its_own_policy_or_that_of_the_others() {
        let app = |name: &str| AppId::new(name).expect("a word is an id");
        let of = HashMap::from([(app("bank"), ConflictPolicy::Resume)]);
        let conflicts = Conflicts { others: ConflictPolicy::Reject, of };
        assert_eq!(conflicts.policy(&app("bank")), ConflictPolicy::Resume);
        assert_eq!(conflicts.policy(&app("chat")), ConflictPolicy::Reject);
    }
}
