//! Who keeps an id that two connections want: not of the suite, because it is in the settings.

use tokio::time::sleep;

use super::{Session, claim};
use crate::{ConflictPolicy, Registry, RegistryError, Settings};

/// For a registry whose settings have this policy.
pub(crate) async fn a_policy_holds(
    registry: &dyn Registry,
    settings: &Settings,
    policy: ConflictPolicy,
) {
    let taken = async || match claim(registry, "alice").await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error, RegistryError::PeerTaken);
            true
        }
    };
    let alice = Session::begin(registry, "alice").await;
    if policy == ConflictPolicy::Takeover {
        assert!(!taken().await);
        return;
    }
    assert!(taken().await, "the older one is connected");
    let (alice, _) = alice.resume(registry, 0).await.expect("its own session");
    registry.detach(&alice.owner).await.unwrap();
    assert_eq!(taken().await, policy == ConflictPolicy::Resume, "the older one is away");
    if policy == ConflictPolicy::Resume {
        let (alice, _) = alice.resume(registry, 0).await.expect("its own session");
        registry.detach(&alice.owner).await.unwrap();
        sleep(settings.resume_window + settings.resume_window / 4).await;
        assert!(!taken().await, "the older one's window is over");
    }
}
