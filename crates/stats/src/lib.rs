//! Attempts and usage, behind one trait.
