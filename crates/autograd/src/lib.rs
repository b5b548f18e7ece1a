#![doc = ""]
//! See the crate documentation.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
