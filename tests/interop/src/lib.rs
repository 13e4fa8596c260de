//! Other people's clients and servers against ours; everything is in `tests/`.
