//! The client library: sockets, timers and QUIC around traversal.
