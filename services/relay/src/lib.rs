//! Sockets around the TURN state machine.
