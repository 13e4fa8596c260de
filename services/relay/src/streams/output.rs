//! What waits to be written to one connection.
//!
//! A client that reads slower than its peers send must not cost memory without end, nor may its
//! newest packets wait behind old ones: over the limit the oldest relayed packets are dropped, whole
//! messages each, as a full queue in a network would. Answers to requests are few and are kept.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Messages handed to the operating system in one call.
pub(super) const BATCH: usize = 64;

/// What a message costs at least.
const SMALL: usize = 64;

/// What a message is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An answer of the relay's.
    Answer,
    /// Data from a peer, which may be lost like any datagram.
    Data,
}

/// Too many answers wait: the client asks and does not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
pub(crate) struct Output {
    messages: VecDeque<(Kind, Box<[u8]>)>,
    /// Of all messages, written ones excepted.
    bytes: usize,
    /// Of the first message: it cannot be dropped any more once it has begun.
    written: usize,
    limit: usize,
}

impl Output {
    pub(crate) fn new(limit: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, written: 0, limit }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Queues a message and says how many older ones, or it itself, were dropped for the limit.
    pub(crate) fn push(&mut self, kind: Kind, message: &[u8]) -> Result<u64, Full> {
        let mut dropped = 0;
        while self.bytes + message.len() > self.limit || self.messages.len() >= self.max_messages()
        {
            if self.drop_oldest_data() {
                dropped += 1;
            } else if kind == Kind::Data {
                return Ok(dropped + 1);
            } else {
                return Err(Full);
            }
        }
        self.bytes += message.len();
        self.messages.push_back((kind, message.into()));
        Ok(dropped)
    }

    /// What is to be written next, for one vectored write.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices: Vec<_> =
            self.messages.iter().take(BATCH).map(|(_, message)| IoSlice::new(message)).collect();
        if let Some(first) = slices.first_mut() {
            first.advance(self.written);
        }
        slices
    }

    /// So many bytes have been written.
    pub(crate) fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some((_, first)) = self.messages.front() {
            let left = first.len() - self.written;
            if bytes < left {
                self.written += bytes;
                return;
            }
            bytes -= left;
            self.written = 0;
            self.messages.pop_front();
        }
    }

    /// Small messages cost more than their bytes.
    fn max_messages(&self) -> usize {
        (self.limit / SMALL).max(BATCH)
    }

    fn drop_oldest_data(&mut self) -> bool {
        let begun = usize::from(self.written > 0);
        let oldest = self.messages.iter().skip(begun).position(|(kind, _)| *kind == Kind::Data);
        let Some(index) = oldest else { return false };
        if let Some((_, dropped)) = self.messages.remove(begun + index) {
            self.bytes -= dropped.len();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(output: &mut Output, bytes: usize) -> Vec<u8> {
        let mut all: Vec<u8> = output.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        all.truncate(bytes);
        output.advance(all.len());
        all
    }

    #[test]
    fn messages_leave_in_order_whatever_is_written_at_once() {
        for step in 1..12 {
            let mut output = Output::new(100);
            for message in [&b"one"[..], b"three", b"", b"ten"] {
                output.push(Kind::Data, message).unwrap();
            }
            let mut all = Vec::new();
            while !output.is_empty() {
                all.extend(written(&mut output, step));
            }
            assert_eq!(all, b"onethreeten", "steps of {step}");
            assert_eq!(output.bytes, 0);
        }
    }

    #[test]
    fn over_the_limit_the_oldest_data_goes_and_answers_stay() {
        let mut output = Output::new(10);
        output.push(Kind::Data, b"aaaa").unwrap();
        output.push(Kind::Answer, b"bb").unwrap();
        output.push(Kind::Data, b"cccc").unwrap();
        assert_eq!(output.push(Kind::Data, b"dddd"), Ok(1));
        assert_eq!(written(&mut output, 100), b"bbccccdddd");
    }

    #[test]
    fn a_message_that_has_begun_is_finished() {
        let mut output = Output::new(10);
        output.push(Kind::Data, b"aaaa").unwrap();
        output.push(Kind::Data, b"bbbb").unwrap();
        assert_eq!(written(&mut output, 1), b"a");
        assert_eq!(output.push(Kind::Data, b"cccccc"), Ok(1));
        assert_eq!(written(&mut output, 100), b"aaacccccc");
    }

    #[test]
    fn empty_messages_have_a_bound_too() {
        let mut output = Output::new(100);
        let dropped = (0..1000).map(|_| output.push(Kind::Data, b"").unwrap()).sum::<u64>();
        assert_eq!(dropped, 1000 - BATCH as u64);
        assert_eq!(written(&mut output, 1), b"");
        assert!(output.is_empty());
    }

    #[test]
    fn data_that_finds_only_answers_is_dropped_and_an_answer_that_does_ends_it() {
        let mut output = Output::new(4);
        output.push(Kind::Answer, b"aaaa").unwrap();
        assert_eq!(output.push(Kind::Data, b"b"), Ok(1));
        assert_eq!(output.push(Kind::Answer, b"c"), Err(Full));
        assert_eq!(written(&mut output, 100), b"aaaa");
    }
}
