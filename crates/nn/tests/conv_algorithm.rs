//! A model chooses the algorithm of its convolutions, by counters. Alone in its process: they belong to
//! the whole of it.

use nn::prelude::*;
use tensor::{ConvAlgorithm, conv_statistics};

/// Two layers that run by Winograd's algorithm, unless told otherwise.
fn model() -> Sequential {
    let mut model = Sequential::new();
    let same = |filters| Conv2d::new(filters, [3, 3]).padding(Padding::Same);
    model.add(
        same(16)
            .input_shape(&[20, 24, 8])
            .activation(ActivationFunction::Relu),
    );
    model.add(MaxPool2d::new([2, 2]));
    model.add(same(16));
    model.add(Flatten::new());
    model.add(Dense::new(3));
    model
}

/// Convolutions and gradients by Winograd's algorithm in a training step and a prediction, and the
/// prediction's bits on so many threads.
fn run(model: impl Into<Model>, threads: usize) -> nn::Result<(u64, Vec<u32>)> {
    let mut model = model.into();
    model.compile(MeanSquaredError::new(), Sgd::new(0.01), None::<Accuracy>)?;
    let x = Tensor::<f32>::from_fn([4, 20, 24, 8], |at| {
        (at[0] * 7 + at[1] * 5 + at[2] * 3 + at[3]) as f32 % 11.0 / 11.0
    })?;
    let y = Tensor::<f32>::zeros([4, 3])?;
    let before = conv_statistics();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let predicted = pool.expect("threads start").install(|| {
        model.train_on_batch(&x, &y)?;
        model.predict(&x)
    })?;
    let after = conv_statistics();
    let ran = after.winograd + after.winograd_2x2 - before.winograd - before.winograd_2x2;
    Ok((ran, predicted.iter().map(f32::to_bits).collect()))
}

#[test]
fn a_model_runs_without_winograd_in_one_line() -> nn::Result<()> {
    // Forward and the filters' gradient of both, the input's gradient of the second; and forward again.
    assert_eq!(run(model(), 1)?.0, 7);
    let without = || {
        let mut model = model();
        model.conv_algorithm(ConvAlgorithm::AutoWithoutWinograd);
        model
    };
    let (ran, bits) = run(without(), 1)?;
    assert_eq!(ran, 0);
    for threads in [2, 3] {
        assert_eq!(
            run(without(), threads)?,
            (0, bits.clone()),
            "{threads} threads"
        );
    }

    // Nested, in a model built from symbols that are still held, and for layers added later.
    let x = Input::new(&[20, 24, 8]);
    let y = model().apply(&x)?;
    let functional = || Model::new(&x, &y);
    assert_eq!(run(functional()?, 1)?.0, 7);
    let mut without = functional()?;
    without.conv_algorithm(ConvAlgorithm::AutoWithoutWinograd);
    assert_eq!(run(without, 1)?.0, 0);
    let mut early = Sequential::new();
    early.conv_algorithm(ConvAlgorithm::AutoWithoutWinograd);
    early.add(model());
    assert_eq!(run(early, 1)?.0, 0);
    // What a nested model was told holds where the model around it says nothing.
    let mut inner = model();
    inner.conv_algorithm(ConvAlgorithm::AutoWithoutWinograd);
    let mut outer = Sequential::new();
    outer.add(inner);
    assert_eq!(run(outer, 1)?.0, 0);
    Ok(())
}
