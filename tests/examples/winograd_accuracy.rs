//! Trains one network by Winograd's algorithm and by im2col, and compares what both have learned.
//!
//! ```text
//! cargo run --release -p tests --example winograd_accuracy -- FOLDER [EPOCHS [SEEDS]]
//! ```
//!
//! FOLDER holds a folder of pictures for each class; they are scaled to 32×32, and a tenth is held
//! out. The network is the creatures one, but for what computes its convolutions.

use std::time::Instant;

use nn::data::{Array, ImageSet};
use nn::prelude::*;
use tensor::ConvAlgorithm;

fn main() -> nn::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().map_or(".", String::as_str);
    let number = |i: usize, default| {
        let given = arguments.get(i).and_then(|number| number.parse().ok());
        given.unwrap_or(default)
    };
    let (epochs, seeds) = (number(1, 25), number(2, 3));

    let set = ImageSet::from_folder(folder, [32, 32])?;
    println!("| seed | algorithm | loss | accuracy | seconds |\n|---|---|---|---|---|");
    for seed in 1..=seeds {
        let (train, test) = set.split(0.1, seed as u64)?;
        let classes = train.classes.len();
        let prepare = |set: ImageSet| -> nn::Result<(Inputs, Tensor<f32>)> {
            let labels = to_categorical(Array::from(set.labels), classes)?;
            Ok((Array::from(set.images) / 256.0, labels))
        };
        let ((x, y), (x_test, y_test)) = (prepare(train)?, prepare(test)?);
        for algorithm in [ConvAlgorithm::Winograd, ConvAlgorithm::Im2col] {
            let mut model = examples::classifier_by(algorithm, &[32, 32, 3], classes, seed as u64)?;
            let start = Instant::now();
            let fit = Fit::new().epochs(epochs).verbosity(Verbosity::Silent);
            model.fit(&x, &y, fit)?;
            let seconds = start.elapsed().as_secs_f64();
            let scores = model.evaluate(&x_test, &y_test)?;
            let [loss, accuracy] = [scores["loss"], scores["accuracy"]];
            let name = algorithm.name();
            println!("| {seed} | {name} | {loss:.3} | {accuracy:.3} | {seconds:.0} |");
        }
    }
    Ok(())
}
