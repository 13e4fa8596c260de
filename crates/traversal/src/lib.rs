//! One connection attempt: candidates, checks, paths, selection, keep-alive. Sans-I/O.
