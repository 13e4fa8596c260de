//! Signaling messages, ids, close codes and limits: pure data.
