//! What training takes: a steady step allocates nothing new but small bookkeeping, and memory
//! stays flat however long a program trains.
//!
//! One test, so that nothing else in the process allocates meanwhile.

use std::alloc::System;

use autograd::Tape;
use cap::Cap;
use nn::prelude::*;
use tensor::{Tensor, memory_statistics};
use tests::formula::scaled;

/// The system's allocator, counting.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn network(size: usize, width: usize) -> nn::Result<Sequential> {
    let mut model = Sequential::new();
    model.add(
        Conv2d::new(width, [3, 3])
            .padding(Padding::Same)
            .input_shape(&[size, size, 3]),
    );
    model.add(Activation::relu());
    model.add(Conv2d::new(width, [3, 3]));
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));
    model.add(Flatten::new());
    model.add(Dense::new(64));
    model.add(Activation::relu());
    model.add(Dropout::new(0.5));
    model.add(Dense::new(6));
    model.add(Activation::softmax());
    model.compile(
        CategoricalCrossentropy::new(),
        Adam::default(),
        [Accuracy::new()],
    )?;
    Ok(model)
}

fn data(count: usize, size: usize) -> nn::Result<(Tensor<f32>, Tensor<f32>)> {
    let x = scaled([count, size, size, 3], 1, 0.5, 0.5)?;
    let y = Tensor::from_fn([count, 6], |at| f32::from(u8::from(at[0] % 6 == at[1])))?;
    Ok((x, y))
}

/// Live bytes may differ by what fits in here after a thousand steps: threads' own buffers.
const FLAT: usize = 256 << 10;

/// Runs `step` a thousand times; live memory must be the same after 50 and after 1,000.
fn assert_flat(what: &str, mut step: impl FnMut() -> nn::Result<()>) -> nn::Result<()> {
    let mut early = 0;
    for i in 0..1000 {
        step()?;
        if i == 49 {
            early = ALLOCATOR.allocated();
        }
    }
    let late = ALLOCATOR.allocated();
    assert!(late <= early + FLAT, "{what}: {early} bytes grew to {late}");
    Ok(())
}

#[test]
fn training_recycles_its_memory() -> nn::Result<()> {
    // Each thread keeps room for the kernels it has run. On one thread, the first step has run
    // them all; on more, a late step may be the first that hands a kernel to some thread.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("one thread starts")
        .install(steady_steps_allocate_nothing)?;
    memory_stays_flat()
}

fn steady_steps_allocate_nothing() -> nn::Result<()> {
    let (x, y) = data(32, 24)?;
    let mut model = network(24, 16)?;
    model.train_on_batch(&x, &y)?;
    model.train_on_batch(&x, &y)?;
    let addresses = |model: &Sequential| -> Vec<*const f32> {
        let weights = model.parameters().filter_map(|p| p.value().as_slice());
        weights.map(<[f32]>::as_ptr).collect()
    };
    let places = addresses(&model);
    for _ in 0..10 {
        let fresh = memory_statistics().fresh;
        let requested = ALLOCATOR.total_allocated();
        model.train_on_batch(&x, &y)?;
        let statistics = memory_statistics();
        assert_eq!(statistics.fresh, fresh, "a buffer was asked of the system");
        let requested = ALLOCATOR.total_allocated() - requested;
        assert!(requested < 96 << 10, "{requested} bytes of bookkeeping");
    }
    assert_eq!(addresses(&model), places, "weights are changed in place");
    Ok(())
}

fn memory_stays_flat() -> nn::Result<()> {
    let (x, y) = data(4, 8)?;
    let mut model = network(8, 4)?;
    assert_flat("training", || model.train_on_batch(&x, &y).map(|_| ()))?;
    assert_flat("forward alone", || model.predict(&x).map(|_| ()))?;

    let (mut last, input) = (None, autograd::Var::from(&x));
    assert_flat("a loss that is kept", || {
        let tape = Tape::new();
        let weights = model.variables(&tape);
        let loss = model.forward(&input, &weights)?.log().mean(..)?;
        loss.backward()?;
        last = Some(loss);
        Ok(())
    })?;
    assert!(last.is_some_and(|loss| loss.is_tracked()));

    assert_flat("recording without a reverse pass", || {
        let tape = Tape::new();
        let weights = model.variables(&tape);
        model.forward(&input, &weights).map(|_| ())
    })?;
    assert_flat("models made anew", || {
        let mut model = network(8, 4)?;
        model.train_on_batch(&x, &y).map(|_| ())
    })
}
