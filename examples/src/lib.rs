//! The examples are the binaries of this package; see `cargo run --example`.
