//! What several examples share; each is a program of its own, see `cargo run --example`.

use nn::prelude::*;
use tensor::{ConvAlgorithm, Float};

/// The layers of the network in `creatures`, up to the scores of the classes, for pictures
/// `[height, width, channels]`.
pub fn scorer<T: Float>(picture: &[usize; 3], classes: usize, seed: u64) -> Sequential<T> {
    scorer_by(ConvAlgorithm::Auto, picture, classes, seed)
}

fn scorer_by<T: Float>(
    algorithm: ConvAlgorithm,
    picture: &[usize; 3],
    classes: usize,
    seed: u64,
) -> Sequential<T> {
    let mut model = Sequential::default().seed(seed);
    model.add(
        Conv2d::new(32, [3, 3])
            .padding(Padding::Same)
            .input_shape(picture),
    );
    model.add(Activation::relu());
    model.add(Conv2d::new(32, [3, 3]).algorithm(algorithm));
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));

    model.add(
        Conv2d::new(64, [3, 3])
            .padding(Padding::Same)
            .algorithm(algorithm),
    );
    model.add(Activation::relu());
    model.add(Conv2d::new(64, [3, 3]).algorithm(algorithm));
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));

    model.add(Flatten::new());
    model.add(Dense::new(512));
    model.add(Activation::relu());
    model.add(Dropout::new(0.5));
    model.add(Dense::new(classes));
    model
}

/// The whole network in `creatures`, ready to train.
///
/// # Errors
/// If pictures are too small for its windows.
// Compiled by who calls it: most examples wait for this crate without calling it.
#[inline]
pub fn classifier(picture: &[usize; 3], classes: usize, seed: u64) -> nn::Result<Sequential> {
    classifier_by(ConvAlgorithm::Auto, picture, classes, seed)
}

/// [`classifier`] whose convolutions run by `algorithm`, but for the first, whose three channels are
/// too few for Winograd's.
///
/// # Errors
/// If pictures are too small for its windows.
#[inline]
pub fn classifier_by(
    algorithm: ConvAlgorithm,
    picture: &[usize; 3],
    classes: usize,
    seed: u64,
) -> nn::Result<Sequential> {
    let mut model = scorer_by(algorithm, picture, classes, seed);
    model.add(Activation::softmax());
    model.compile(
        CategoricalCrossentropy::new(),
        Adam::default(),
        [Accuracy::new()],
    )?;
    Ok(model)
}
