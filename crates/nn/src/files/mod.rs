//! Model files, checkpoints, and writing any file safely.

mod atomic;
#[cfg(feature = "safetensors")]
mod checkpoint;
#[cfg(feature = "hdf5")]
mod h5;
#[cfg(any(feature = "hdf5", feature = "safetensors"))]
mod json;
mod model;
mod saved;

pub use atomic::write_atomically;
#[cfg(feature = "safetensors")]
pub use checkpoint::{Checkpoint, read_checkpoint, write_checkpoint};
#[cfg(feature = "hdf5")]
pub use h5::{read_h5, write_h5};
pub(crate) use model::model_config;
pub use model::{LoadOptions, SaveOptions};
pub use saved::{SavedLayer, SavedModel, SavedObject, SavedState, SavedTraining};
