//! Layers, losses, optimizers, training, data and files for convolutional networks.
//!
//! ```
//! use nn::prelude::*;
//!
//! let mut model = Sequential::new();
//! model.add(Conv2d::new(8, [3, 3]).padding(Padding::Same).input_shape(&[8, 8, 1]));
//! model.add(Activation::relu());
//! model.add(MaxPool2d::new([2, 2]));
//! model.add(Dropout::new(0.25));
//! model.add(Flatten::new());
//! model.add(Dense::new(2));
//! model.add(Activation::softmax());
//! model.compile(CategoricalCrossentropy::new(), Adam::default(), [Accuracy::new()])?;
//!
//! // Is the upper or the lower half brighter?
//! let x = Tensor::from_fn([64, 8, 8, 1], |at| ((at[0] % 2 == 0) == (at[1] < 4)) as u8 as f32)?;
//! let y = Tensor::from_fn([64, 2], |at| (at[0] % 2 == at[1]) as u8 as f32)?;
//! model.fit(&x, &y, Fit::new().batch_size(16).epochs(10).verbosity(Verbosity::Silent))?;
//! assert_eq!(model.evaluate(&x, &y)?["accuracy"], 1.0);
//! # Ok::<(), nn::Error>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod config;
pub mod data;
mod error;
pub mod files;
mod initializers;
mod layer;
pub mod layers;
pub mod losses;
pub mod metrics;
mod model;
pub mod optimizers;
mod parameter;
pub mod prelude;
mod samples;
pub mod training;

pub use config::{Config, ConfigReader};
pub use error::{Error, FileError, Result};
pub use initializers::Initializer;
pub use layer::{Context, Identity, IntoLayer, Layer, LayerOptions, Reach, Shared};
pub use model::{
    Compiled, Input, Losses, Model, NotFinite, Profile, ProfileRow, Scores, Sequential, Stage,
    Summary, SummaryRow, Symbol, Symbols,
};
pub use parameter::{Parameter, Weights};
pub use samples::{Inputs, TargetArrays, Targets};

/// The code in the README and the book compiles and runs.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/learn.md")]
    mod learn {}
    #[doc = include_str!("../../../docs/new-op.md")]
    mod new_op {}
    #[doc = include_str!("../../../docs/saving.md")]
    mod saving {}
}
