//! Who keeps an id that two connections want, as flags write it.

use p2p_registry::{ConflictPolicy, Conflicts};
use p2p_wire::AppId;

/// The policy of one app, or of all that have none of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    app: Option<AppId>,
    policy: ConflictPolicy,
}

/// Reads `POLICY` or `APP=POLICY`.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse(text: &str) -> Result<Rule, String> {
    let (app, policy) = match text.split_once('=') {
        Some((app, policy)) => {
            let app = AppId::new(app).map_err(|error| format!("{app:?} is no app: {error}"))?;
            (Some(app), policy)
        }
        None => (None, text),
    };
    let policy = policy.parse().map_err(|error: p2p_registry::NoSuchPolicy| error.to_string())?;
    Ok(Rule { app, policy })
}

/// What several rules say together; of two for the same app, the later one counts.
pub fn by_app(rules: &[Rule]) -> Conflicts {
    let mut conflicts = Conflicts::default();
    for Rule { app, policy } in rules {
        match app {
            Some(app) => _ = conflicts.of.insert(app.clone(), *policy),
            None => conflicts.others = *policy,
        }
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_of_one_app_or_of_all_others() {
        let rules = ["reject", "bank=resume", "bank=takeover"].map(|text| parse(text).unwrap());
        let conflicts = by_app(&rules);
        let policy = |app: &str| conflicts.policy(&AppId::new(app).unwrap());
        assert_eq!(policy("bank"), ConflictPolicy::Takeover);
        assert_eq!(policy("chat"), ConflictPolicy::Reject);
        assert_eq!(by_app(&[]).others, ConflictPolicy::Takeover);
    }

    #[test]
    fn what_is_no_policy_is_named() {
        assert!(parse("bank=newest").unwrap_err().contains("`newest` is no policy"));
        assert!(parse("=reject").unwrap_err().contains("is no app"));
    }
}
