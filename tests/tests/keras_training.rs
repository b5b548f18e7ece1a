//! Fifty training steps of a small convolutional network against Keras's, in f64: every weight
//! after every step.

use nn::data::npz::Npz;
use nn::prelude::*;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/training_keras.npz");

fn read(name: &str) -> Tensor<f64> {
    let mut file = Npz::open(FIXTURE).unwrap();
    file.array(name).unwrap().to().unwrap()
}

fn network() -> nn::Result<Sequential<f64>> {
    let mut model = Sequential::default();
    model.add(
        Conv2d::new(2, [3, 3])
            .padding(Padding::Same)
            .input_shape(&[6, 6, 1]),
    );
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Flatten::new());
    model.add(Dense::new(3));
    model.add(Activation::softmax());
    model.compile(
        CategoricalCrossentropy::new(),
        Adam::new(0.01),
        [Accuracy::new()],
    )?;
    Ok(model)
}

#[track_caller]
fn assert_close(ours: &Tensor<f64>, theirs: &Tensor<f64>, what: &str) {
    assert_eq!(ours.shape(), theirs.shape(), "{what}");
    for (a, b) in ours.iter().zip(theirs.iter()) {
        assert!(
            (a - b).abs() <= 1e-10 * b.abs().max(1e-2),
            "{what}: {a} is not {b}"
        );
    }
}

#[test]
fn every_weight_after_every_step() -> nn::Result<()> {
    let names = ["conv/kernel", "conv/bias", "dense/kernel", "dense/bias"];
    let weights = names.map(|name| read(&format!("weights/{name}")));
    let at = |step: usize| -> Vec<Tensor<f64>> {
        let of_step = |weight: &Tensor<f64>| weight.index_axis(0, step).unwrap();
        weights.iter().map(of_step).collect()
    };
    let (images, labels) = (read("images"), read("labels"));
    let (batches, losses) = (read("batches"), read("loss"));
    let mut model = network()?;
    model.set_weights(at(0))?;
    for step in 0..batches.shape()[0] {
        let first = batches[[step, 0]] as isize;
        // Batches are four consecutive images, from the front again after the last.
        let rows = first..first + 4;
        let scores = model.train_on_batch(
            &images.slice_axis(0, rows.clone())?,
            &labels.slice_axis(0, rows)?,
        )?;
        let difference = (scores.loss() - losses[[step]]).abs();
        assert!(difference < 1e-10, "loss of step {step}: {difference:e}");
        for ((ours, theirs), name) in model.weights().iter().zip(at(step + 1)).zip(names) {
            assert_close(ours, &theirs, &format!("{name} after step {step}"));
        }
    }
    let scores = model.evaluate(&images, &labels)?;
    assert!((scores[0] - read("final/loss").item()?).abs() < 1e-10);
    assert_eq!(scores["accuracy"], read("final/accuracy").item()?);
    let probabilities = model.predict(&images)?;
    assert_close(
        &probabilities,
        &read("final/probabilities"),
        "probabilities",
    );
    Ok(())
}
