//! Everything that a program which trains a network usually needs: `use nn::prelude::*`.

pub use tensor::{Padding, Tensor};

pub use crate::data::{RandomFlip, RandomTranslation, npy, to_categorical};
pub use crate::initializers::Initializer;
pub use crate::layer::{Layer, LayerOptions, Shared};
pub use crate::layers::{
    Activation, ActivationFunction, Add, Average, AvgPool2d, Concatenate, Conv2d, Dense, Dropout,
    Flatten, MaxPool2d, Maximum, Minimum, Multiply, Rescaling, Subtract,
};
pub use crate::losses::{
    BinaryCrossentropy, CategoricalCrossentropy, Loss, MeanSquaredError,
    SparseCategoricalCrossentropy,
};
pub use crate::metrics::{Accuracy, Metric};
pub use crate::model::{Input, Losses, Model, Sequential};
pub use crate::optimizers::{Adam, Optimizer, RmsProp, Sgd};
pub use crate::samples::{Inputs, TargetArrays};
pub use crate::training::{EarlyStopping, Fit, History, Verbosity};
