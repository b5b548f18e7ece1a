//! Same seed, same bits: a whole training run on one, two and five threads.

use nn::prelude::*;
use tests::formula::scaled;

/// What a run gives.
#[derive(PartialEq)]
struct Outcome {
    weights: Vec<Vec<f32>>,
    losses: Vec<f64>,
    predictions: Vec<f32>,
}

/// A run with everything that draws random numbers.
fn run(threads: usize, seed: u64) -> Outcome {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    pool.install(|| train(seed)).unwrap()
}

fn train(seed: u64) -> nn::Result<Outcome> {
    let x: Tensor<f32> = scaled([90, 12, 12, 3], 5, 0.5, 0.5)?;
    let y = Tensor::from_fn([90], |at| (at[0] % 4) as i64)?;
    let mut model = Sequential::new().seed(seed);
    model.add(
        Conv2d::new(16, [3, 3])
            .padding(Padding::Same)
            .input_shape(&x.shape()[1..]),
    );
    model.add(Activation::relu());
    model.add(Conv2d::new(16, [3, 3]).kernel_initializer(Initializer::HeNormal));
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));
    model.add(AvgPool2d::new([2, 2]));
    model.add(Flatten::new());
    // Large enough to be cut into several blocks of an optimizer's pass.
    model.add(Dense::new(600));
    model.add(Activation::gelu());
    model.add(Dropout::new(0.5));
    model.add(Dense::new(4));
    model.add(Activation::softmax());
    model.compile(
        SparseCategoricalCrossentropy::new(),
        Adam::default(),
        [Accuracy::new()],
    )?;
    let fit = Fit::new()
        .epochs(2)
        .validation_split(0.1)
        .verbosity(Verbosity::Silent);
    let history = model.fit(&x, &y, fit)?;
    let mut losses = history.get("loss");
    losses.extend(history.get("val_loss"));
    Ok(Outcome {
        weights: model.weights().iter().map(Tensor::to_vec).collect(),
        losses,
        predictions: model.predict(&x)?.to_vec(),
    })
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let one = run(1, 42);
    assert!(
        one.weights
            .iter()
            .flatten()
            .all(|weight| weight.is_finite())
    );
    for threads in [2, 5] {
        assert!(run(threads, 42) == one, "{threads} threads differ from one");
    }
    assert!(run(2, 43) != one, "another seed changes something");
}
