//! How many receipts of each status senders were told.

use metrics::Counter;
use p2p_telemetry::metrics::SIGNALING_RECEIPTS;
use p2p_wire::server::ReceiptStatus;

/// The counters, looked up once: a receipt follows every message.
pub(super) struct ReceiptCounters {
    delivered: Counter,
    queued: Counter,
    gone: Counter,
    rejected: Counter,
}

impl ReceiptCounters {
    pub(super) fn count(&self, status: ReceiptStatus) {
        let counter = match status {
            ReceiptStatus::Delivered => &self.delivered,
            ReceiptStatus::Queued => &self.queued,
            ReceiptStatus::Gone => &self.gone,
            ReceiptStatus::Rejected => &self.rejected,
        };
        counter.increment(1);
    }
}

impl Default for ReceiptCounters {
    fn default() -> Self {
        let of = |status| SIGNALING_RECEIPTS.with([status]);
        Self {
            delivered: of("delivered"),
            queued: of("queued"),
            gone: of("gone"),
            rejected: of("rejected"),
        }
    }
}
