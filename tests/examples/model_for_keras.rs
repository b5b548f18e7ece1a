//! Writes a trained model for Keras to open, and what this crate computes with it.
//!
//! ```text
//! cargo run --release -p tests --example model_for_keras -- FOLDER [SIDE]
//! python tests/peers/keras_opens_h5.py FOLDER/model.h5 FOLDER/data.npz --fit
//! python tests/peers/keras_opens_h5.py FOLDER/model_with_state.h5 FOLDER/data.npz
//! ```
//!
//! The network is the creatures one, for images of SIDE × SIDE × 3 (32 by default; the file is 66 MB
//! at 100). The second file holds Adam's state too: Keras opens and evaluates it but cannot train on.

use std::path::PathBuf;

use nn::data::{Array, npz};
use nn::files::SaveOptions;
use nn::prelude::*;

const CLASSES: usize = 6;

/// Stripes whose direction and width depend on the class, with noise.
fn pictures(count: usize, side: usize, seed: usize) -> nn::Result<(Tensor<f32>, Tensor<f32>)> {
    let noise = |n: usize| ((n.wrapping_mul(2_654_435_761) >> 7) % 1000) as f32 / 1000.0;
    let pixel = |at: &[usize]| {
        let class = (at[0] % CLASSES) as f32;
        let along = at[1] as f32 * (class + 1.0) + at[2] as f32 * (CLASSES as f32 - class);
        let place = ((at[0] * side + at[1]) * side + at[2]) * 3 + at[3] + seed;
        0.5 + 0.3 * (along * 0.15 + at[3] as f32).sin() + 0.2 * noise(place)
    };
    let x = Tensor::from_fn([count, side, side, 3], pixel)?;
    let y = Tensor::from_fn([count, CLASSES], |at| {
        f32::from(u8::from(at[0] % CLASSES == at[1]))
    })?;
    Ok((x, y))
}

fn network(side: usize) -> Sequential {
    let mut model = examples::scorer(&[side, side, 3], CLASSES, 1);
    model.add(Activation::softmax());
    model
}

fn main() -> nn::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_string()));
    let side = arguments.next().and_then(|side| side.parse().ok());
    let side = side.unwrap_or(32);
    let mut model = network(side);
    model.compile(
        CategoricalCrossentropy::new(),
        Adam::default(),
        [Accuracy::new()],
    )?;
    let (x, y) = pictures(96, side, 0)?;
    model.fit(&x, &y, Fit::new().batch_size(16).epochs(2))?;

    let (x, y) = pictures(24, side, 12_345)?;
    let scores = model.evaluate(&x, &y)?;
    println!("{scores}");
    model.save(folder.join("model.h5"))?;
    let with_state = SaveOptions::new().optimizer_state(true);
    model.save_with(folder.join("model_with_state.h5"), with_state)?;
    let number = |value: f64| Array::from(Tensor::scalar(value));
    let arrays = [
        ("probabilities", Array::from(model.predict(&x)?)),
        ("x", x.into()),
        ("y", y.into()),
        ("loss", number(scores.loss())),
        ("accuracy", number(scores["accuracy"])),
    ];
    npz::save(folder.join("data.npz"), arrays)
}
