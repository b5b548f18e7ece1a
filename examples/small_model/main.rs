//! What a small network costs beside its arithmetic: a thousand parameters and small batches,
//! against the same steps written out in loops over slices.
//!
//! ```text
//! cargo run --release --example small_model
//! ```

use std::hint::black_box;
use std::time::Instant;

use nn::prelude::*;

mod by_hand;
use by_hand::Network;

const INPUTS: usize = 20;
const HIDDEN: usize = 32;
const CLASSES: usize = 10;
/// Samples a step.
const BATCHES: [usize; 3] = [1, 4, 32];

/// Steps whose losses are compared.
const CHECKED_STEPS: usize = 200;

/// Steps of each side before it is the other's turn, and turns; the fastest turn counts.
const STEPS: usize = 200;
const TURNS: usize = 40;

fn main() -> nn::Result<()> {
    println!("batch                    model    by hand   ratio");
    BATCHES.into_iter().try_for_each(compare)
}

/// Times both sides in turns, checks that they compute the same, and prints a line for training and
/// one for prediction.
fn compare(batch: usize) -> nn::Result<()> {
    let mut model = Sequential::new().seed(1);
    model.add(
        Dense::new(HIDDEN)
            .activation(ActivationFunction::Relu)
            .input_shape(&[INPUTS]),
    );
    model.add(Dense::new(CLASSES).activation(ActivationFunction::Softmax));
    model.compile(
        CategoricalCrossentropy::new(),
        Adam::default(),
        None::<Accuracy>,
    )?;
    let mut by_hand = Network::new(&model.weights(), batch);

    let wave = |at: &[usize]| (at[0] * INPUTS + at[1]) as f32;
    let x = Tensor::from_fn([batch, INPUTS], |at| (wave(at) * 0.7).sin())?;
    let labels: Vec<usize> = (0..batch).map(|row| row * 3 % CLASSES).collect();
    let y = Tensor::from_fn([batch, CLASSES], |at| f32::from(labels[at[0]] == at[1]))?;
    let rows = x.to_vec();

    // Later, Adam makes different numbers of different rounding.
    for step in 0..CHECKED_STEPS {
        let loss = model.train_on_batch(&x, &y)?.loss();
        let loss_by_hand = f64::from(by_hand.train(&rows, &labels));
        assert!(
            (loss - loss_by_hand).abs() < 1e-4,
            "step {step}: the loss is {loss}, by hand {loss_by_hand}"
        );
    }

    let (mut train, mut train_by_hand) = (f64::MAX, f64::MAX);
    let (mut predict, mut predict_by_hand) = (f64::MAX, f64::MAX);
    for _ in 0..TURNS {
        let time = microseconds_a_step(|| {
            model.train_on_batch(&x, &y)?;
            Ok(())
        })?;
        train = train.min(time);
        let time = microseconds_a_step(|| {
            black_box(by_hand.train(&rows, &labels));
            Ok(())
        })?;
        train_by_hand = train_by_hand.min(time);
        let time = microseconds_a_step(|| {
            black_box(model.predict(&x)?);
            Ok(())
        })?;
        predict = predict.min(time);
        let time = microseconds_a_step(|| {
            black_box(by_hand.predict(&rows));
            Ok(())
        })?;
        predict_by_hand = predict_by_hand.min(time);
    }

    for (name, time, by_hand) in [
        ("train_on_batch", train, train_by_hand),
        ("predict", predict, predict_by_hand),
    ] {
        let ratio = time / by_hand;
        println!("{batch:<5} {name:<14} {time:>7.2} µs {by_hand:>7.2} µs {ratio:>7.2}");
    }
    Ok(())
}

fn microseconds_a_step(mut step: impl FnMut() -> nn::Result<()>) -> nn::Result<f64> {
    let start = Instant::now();
    for _ in 0..STEPS {
        step()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / STEPS as f64)
}
