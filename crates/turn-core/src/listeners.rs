//! What the server knows of each listener: how clients reach it, and what came of that.

use crate::addr::ListenerId;

/// What one listener's clients hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenerLoad {
    /// Allocations that exist now.
    pub allocations: usize,
    /// Allocations made so far.
    pub allocations_created: u64,
}

/// By number: there are as many as the shell has opened.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Vec<Listener>);

#[derive(Debug, Clone, Copy, Default)]
struct Listener {
    stream: bool,
    load: ListenerLoad,
}

impl Listeners {
    pub(crate) fn set_stream(&mut self, id: ListenerId) {
        self.entry(id).stream = true;
    }

    /// Whether clients come over TCP or TLS: a handshake has proved their address, and nothing is
    /// lost or reordered on the way.
    pub(crate) fn is_stream(&self, id: ListenerId) -> bool {
        self.0.get(usize::from(id.0)).is_some_and(|listener| listener.stream)
    }

    pub(crate) fn load(&self, id: ListenerId) -> ListenerLoad {
        self.0.get(usize::from(id.0)).map_or_else(ListenerLoad::default, |listener| listener.load)
    }

    pub(crate) fn count_made(&mut self, id: ListenerId) {
        self.entry(id).load.allocations_created += 1;
    }

    pub(crate) fn count_held(&mut self, id: ListenerId) {
        self.entry(id).load.allocations += 1;
    }

    pub(crate) fn count_ended(&mut self, id: ListenerId) {
        self.entry(id).load.allocations -= 1;
    }

    fn entry(&mut self, ListenerId(number): ListenerId) -> &mut Listener {
        let index = usize::from(number);
        if self.0.len() <= index {
            self.0.resize(index + 1, Listener::default());
        }
        &mut self.0[index]
    }
}
