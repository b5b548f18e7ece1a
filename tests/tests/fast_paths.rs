//! Which paths a training step of the creatures network takes, by counters: its convolutions run by
//! the fast algorithms, and its steps ask the system for no memory after the second. Predictions
//! transform filters no more after the second.
//!
//! One test, alone in its process: the counters belong to the whole of it.

use autograd::trace;
use nn::prelude::*;
use tensor::{conv_statistics, memory_statistics};
use tests::formula::scaled;

const BATCH: usize = 2;

/// Multiplications of the first convolution, forward and for its filters, by the direct method.
fn first_layer(size: usize) -> u64 {
    (2 * BATCH * size * size * 3 * 3 * 3 * 32) as u64
}

fn steps_take_the_fast_paths(size: usize, most_multiplications: f64) -> nn::Result<()> {
    let mut model = examples::classifier(&[size, size, 3], 6, 0)?;
    let x: Tensor<f32> = scaled([BATCH, size, size, 3], 1, 0.5, 0.5)?;
    let y = Tensor::from_fn([BATCH, 6], |at| f32::from(u8::from(at[0] == at[1])))?;
    // The first makes the optimizer's memory, so that the second may find other gaps than it did.
    for _ in 0..2 {
        model.train_on_batch(&x, &y)?;
    }
    let fresh = memory_statistics().fresh;
    for step in 3..7 {
        let before = conv_statistics();
        let (ran, spans) = trace(|| model.train_on_batch(&x, &y));
        ran?;
        let after = conv_statistics();
        let place = format!("size {size}, step {step}: {before:?} {after:?}");

        // Three of the four have 32 channels or more to read: forward, and two gradients each.
        assert_eq!(after.winograd - before.winograd, 9, "{place}");
        // The first reads 3, and nobody asks for the gradient of the pictures.
        assert_eq!(after.direct - before.direct, 2, "{place}");
        assert_eq!(after.im2col, before.im2col, "{place}");
        assert_eq!(after.winograd_2x2, before.winograd_2x2, "{place}");
        assert_eq!(after.depthwise, before.depthwise, "{place}");
        // Once for each but the gradients of filters: they are written after each step.
        let transforms = after.filter_transforms - before.filter_transforms;
        assert_eq!(transforms, 6, "{place}");
        // The trace tells of the same choices.
        let told = |name| {
            spans
                .iter()
                .filter(|span| span.algorithm == Some(name))
                .count()
        };
        assert_eq!([told("winograd"), told("direct")], [9, 2], "{place}");
        let first = |span: &&autograd::Span| span.scope == "conv2d" && span.algorithm.is_some();
        assert_eq!(spans.iter().filter(first).count(), 2, "{place}");

        let done = after.multiplications - before.multiplications;
        let direct = after.direct_multiplications - before.direct_multiplications;
        let first = first_layer(size);
        let ratio = (done - first) as f64 / (direct - first) as f64;
        assert!(ratio <= most_multiplications, "{ratio} at {place}");

        assert_eq!(memory_statistics().fresh, fresh, "a buffer, at {place}");
    }
    for expected in [3, 3, 0, 0] {
        let before = conv_statistics().filter_transforms;
        model.predict(&x)?;
        let transforms = conv_statistics().filter_transforms - before;
        assert_eq!(transforms, expected, "size {size}");
    }
    Ok(())
}

#[test]
fn training_takes_the_fast_paths() -> nn::Result<()> {
    // On more threads, a late step may be the first that hands a kernel to some thread, which then
    // makes room for it.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("one thread starts").install(|| {
        steps_take_the_fast_paths(100, 0.27)?;
        // Tiles cover 30², 15², 13² and 10² outputs less closely than 98², 49² and 46².
        steps_take_the_fast_paths(32, 0.28)?;
        steps_take_the_fast_paths(28, 0.3)
    })
}
