//! WebSocket sessions and HTTP API.
