//! Tests that cross the crates live in `tests/tests`.
