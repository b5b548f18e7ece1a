//! Filters whose transform is kept give the bits of new filters with the same values, whatever
//! happened to them.

use std::sync::Barrier;

use crate::conv::filters::Filters;
use crate::conv::job::Execution;
use crate::instances::Compiled;
use crate::matmul::Epilogue;
use crate::parallel::Par;
use crate::simd::Level;
use crate::{Conv2dOptions, Conv2dParams, ConvAlgorithm, Pool2dOptions, Tensor};

const ALGORITHMS: [ConvAlgorithm; 2] = [ConvAlgorithm::Winograd, ConvAlgorithm::Winograd2x2];

fn normal<const N: usize>(shape: [usize; N], seed: u64) -> Tensor<f32> {
    Tensor::normal(shape, 0.0, 1.0, &mut crate::generator(seed)).unwrap()
}

fn bits(x: &Tensor<f32>) -> Vec<u32> {
    x.iter().map(f32::to_bits).collect()
}

/// The values of `w` in memory of their own, for which nothing is kept.
fn renewed(w: &Tensor<f32>) -> Tensor<f32> {
    Tensor::from_vec(w.to_vec(), w.shape()).unwrap()
}

/// Some pictures convolved with `w`, plain and pooled.
fn convolved(w: &Tensor<f32>, options: Conv2dOptions) -> [Vec<u32>; 2] {
    let x = normal([2, 9, 10, w.shape()[2]], 1);
    let bias = normal([w.shape()[3]], 2);
    let plain = x.conv2d(w, &options).unwrap();
    let pooled = x.conv2d_relu_max_pool2d(w, &bias, &options, &Pool2dOptions::new([2, 2]));
    [bits(&plain), bits(&pooled.unwrap())]
}

/// The transpose of [`convolved`].
fn transposed(w: &Tensor<f32>, options: Conv2dOptions) -> Vec<u32> {
    let (input, filters) = ([2, 9, 10, w.shape()[2]], w.shape());
    let dy = normal([2, 7, 8, filters[3]], 3);
    bits(&dy.conv2d_input_gradient(w, &input, &options).unwrap())
}

/// Checks some convolutions with `w`, by all algorithms in turns, which leaves something kept.
#[track_caller]
fn assert_like_new(w: &Tensor<f32>) {
    for algorithm in ALGORITHMS.into_iter().cycle().take(3) {
        let options = Conv2dOptions::new().algorithm(algorithm);
        for call in 0..3 {
            let [found, expected] = [convolved(w, options), convolved(&renewed(w), options)];
            assert!(found == expected, "{algorithm:?}, call {call}");
            let [found, expected] = [transposed(w, options), transposed(&renewed(w), options)];
            assert!(found == expected, "{algorithm:?}, call {call}, transposed");
        }
    }
}

#[test]
fn each_way_of_writing_is_seen() {
    let ways: [fn(Tensor<f32>) -> Tensor<f32>; 5] = [
        |mut w| {
            w.make_mut()[77] += 1.0;
            w
        },
        |mut w| {
            w[[1, 2, 3, 4]] -= 5.0;
            w
        },
        |mut w| {
            let gradient = w.cos();
            w.update(&gradient, [], |w, g, []| (w - g, [])).unwrap();
            w
        },
        // A gradient's place: what an optimizer moves.
        |mut w| {
            let (mut parameter, gradient) = (w.sin(), w.cos());
            parameter
                .update(&gradient, [&mut w], |p, g, [w]| (p, [w + g]))
                .unwrap();
            w
        },
        // By a view of the same memory.
        |w| {
            let mut all = w.reshape([9 * 16 * 24]).unwrap();
            drop(w);
            all.make_mut()[5] += 7.0;
            all.reshape([3, 3, 16, 24]).unwrap()
        },
    ];
    for way in ways {
        let mut w = normal([3, 3, 16, 24], 4);
        for _ in 0..2 {
            assert_like_new(&w);
            let (before, place) = (bits(&w), w.as_slice().map(<[f32]>::as_ptr));
            w = way(w);
            // In place, so that nothing but forgetting helps.
            assert_eq!(w.as_slice().map(<[f32]>::as_ptr), place);
            assert!(bits(&w) != before);
        }
        assert_like_new(&w);
    }
}

#[test]
fn memory_that_is_used_again_keeps_nothing_of_its_past() {
    let w = normal([3, 3, 16, 24], 4);
    assert_like_new(&w);
    // An owned operand lends its memory.
    let place = w.as_slice().map(<[f32]>::as_ptr);
    let w = -w;
    assert_eq!(w.as_slice().map(<[f32]>::as_ptr), place);
    assert_like_new(&w);
    drop(w);
    // So does the pool.
    assert_like_new(&normal([3, 3, 16, 24], 5));
}

#[test]
fn views_do_not_get_what_is_kept_for_the_whole() {
    let w = normal([3, 3, 16, 16], 4);
    assert_like_new(&w);
    for view in [
        w.swap_axes(0, 1).unwrap(),
        w.swap_axes(2, 3).unwrap(),
        w.flip([0, 1]).unwrap(),
        w.reshape([3, 3, 8, 32]).unwrap(),
        w.clone(),
    ] {
        assert!(view.shares_memory_with(&w));
        assert_like_new(&view);
    }
    assert_like_new(&w);
    // Layers that lie one after another, the first of them at the beginning.
    let layers = normal([3, 3, 3, 16, 16], 5);
    let whole = layers.reshape([3, 3, 48, 16]).unwrap();
    for _ in 0..2 {
        for layer in 0..3 {
            assert_like_new(&layers.index_axis(0, layer).unwrap());
        }
        assert_like_new(&whole);
    }
    let mut last = layers.index_axis(0, 2).unwrap();
    drop((layers, whole));
    last.make_mut()[0] += 1.0;
    assert_like_new(&last);
}

#[test]
fn a_clone_that_is_changed_parts_from_the_original() {
    let w = normal([3, 3, 16, 24], 4);
    assert_like_new(&w);
    let mut other = w.clone();
    other.make_mut()[0] += 1.0;
    for w in [&other, &w, &other] {
        assert_like_new(w);
    }
    // The last owner writes in place.
    drop(other);
    let mut w = w;
    w.make_mut()[0] += 2.0;
    assert_like_new(&w);
}

#[test]
fn each_level_has_its_own() {
    let (x, w) = (normal([2, 9, 10, 16], 1), normal([3, 3, 16, 24], 4));
    for algorithm in ALGORITHMS {
        let options = Conv2dOptions::new().algorithm(algorithm);
        let params = Conv2dParams::new(x.shape(), w.shape(), &options).unwrap();
        let run = |level, filters: Filters<'_, f32>| {
            let par = Par::Sequential;
            let mut out = vec![f32::NAN; params.output_shape().elements()];
            (f32::kernels().conv.forward)(
                &params,
                Execution { par, level },
                x.as_slice().unwrap(),
                filters,
                Epilogue::NONE,
                &mut out,
            )
            .unwrap();
            out
        };
        for first in Level::available() {
            let w = renewed(&w);
            for level in [first, first].into_iter().chain(Level::available()) {
                let expected = run(level, w.as_slice().unwrap().into());
                assert_eq!(run(level, Filters::of(&w)), expected, "{level:?}");
            }
        }
    }
}

#[test]
fn threads_that_begin_together_are_all_right() {
    const THREADS: usize = 4;
    let options = Conv2dOptions::new().algorithm(ConvAlgorithm::Winograd);
    let mut w = normal([3, 3, 32, 32], 4);
    for _ in 0..20 {
        let expected = convolved(&renewed(&w), options);
        let barrier = Barrier::new(THREADS);
        let predict = |w: &Tensor<f32>| {
            barrier.wait();
            (0..3).all(|_| convolved(w, options) == expected)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| predict(&w.clone())))
                .collect();
            for thread in threads {
                assert!(thread.join().unwrap());
            }
        });
        w.make_mut()[3] += 1.0;
    }
}
