//! What was seen a moment ago, for everybody who asks meanwhile.
//!
//! Pages and health checks answer without a token: however often they are asked, what they cost is
//! one look in a while.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// A value that is found at once.
pub(crate) struct Recent<T> {
    seen: Mutex<Seen<T>>,
    age: Duration,
}

impl<T: Clone> Recent<T> {
    /// A value that may be as old as `age`.
    pub(crate) fn new(age: Duration) -> Self {
        Self { seen: Mutex::new(None), age }
    }

    /// The value, looked for where the last one is too old. Others wait for the look.
    pub(crate) fn get(&self, look: impl FnOnce() -> T) -> T {
        let mut seen = self.seen.lock().expect("a look does not panic");
        match &*seen {
            Some((at, value)) if at.elapsed() < self.age => value.clone(),
            _ => {
                let value = look();
                *seen = Some((Instant::now(), value.clone()));
                value
            }
        }
    }
}

/// What was seen, and when.
type Seen<T> = Option<(Instant, T)>;

/// A text that others are asked for.
pub(crate) struct RecentLook {
    seen: Arc<tokio::sync::Mutex<Seen<Arc<str>>>>,
    age: Duration,
}

impl RecentLook {
    /// A text that may be as old as `age`.
    pub(crate) fn new(age: Duration) -> Arc<Self> {
        Arc::new(Self { seen: Arc::default(), age })
    }

    /// The text, asked for where the last one is too old. One look goes on at a time, to its end
    /// even if whoever asked is gone by then: it has to have a bound of its own.
    pub(crate) async fn get(
        &self,
        look: impl Future<Output = String> + Send + 'static,
    ) -> Option<Arc<str>> {
        let mut seen = self.seen.clone().lock_owned().await;
        if let Some((at, text)) = &*seen
            && at.elapsed() < self.age
        {
            return Some(text.clone());
        }
        let looking = tokio::spawn(async move {
            let text: Arc<str> = look.await.into();
            *seen = Some((Instant::now(), text.clone()));
            text
        });
        looking.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const AGE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_look_serves_everybody_until_it_is_too_old() {
        let (recent, mut looks) = (Recent::new(AGE), 0);
        let mut get = || {
            recent.get(|| {
                looks += 1;
                looks
            })
        };
        assert_eq!([get(), get()], [1, 1]);
        tokio::time::advance(AGE).await;
        assert_eq!([get(), get()], [2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_goes_on_when_nobody_waits_for_it_and_serves_who_comes_next() {
        let (recent, looks) = (RecentLook::new(AGE), Arc::new(AtomicUsize::new(0)));
        let get = || {
            let looks = looks.clone();
            recent.get(async move {
                tokio::time::sleep(AGE / 2).await;
                (looks.fetch_add(1, Ordering::Relaxed) + 1).to_string()
            })
        };
        for _ in 0..3 {
            let left = tokio::time::timeout(AGE / 8, get()).await;
            assert!(left.is_err(), "whoever asks leaves before there is an answer");
        }
        let (one, other) = tokio::join!(get(), get());
        assert_eq!([one.as_deref(), other.as_deref()], [Some("1"); 2]);
        tokio::time::advance(AGE).await;
        assert_eq!(get().await.as_deref(), Some("2"));
    }
}
