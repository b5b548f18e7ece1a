//! Layers, losses, optimizers, training, data and files for convolutional networks.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod data;
mod error;
pub mod files;

pub use error::{Error, FileError, Result};
