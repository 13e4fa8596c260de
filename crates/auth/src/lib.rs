//! JWT claims and verification, TURN REST credentials.
