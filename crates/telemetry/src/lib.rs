//! Logs, metrics, drain and shutdown.
