//! What several of the tests in `tests/tests` share.

pub mod formula;
