//! docs/protocol.md against the types.
