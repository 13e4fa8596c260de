//! STUN and TURN server state machine, sans-I/O.
