//! Rounding errors against `f64`, on data like that of a trained network.

use crate::conv::{Conv2dOptions, ConvAlgorithm, Padding};
use crate::tensor::Tensor;

/// Normally distributed numbers, by the sum of twelve uniform ones.
fn normal(shape: [usize; 4], deviation: f64, mut state: u64) -> Tensor<f64> {
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f64 / (1 << 24) as f64
    };
    let value = |_: &[usize]| deviation * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0);
    // Rounded to `f32`, so that both precisions compute with the same numbers.
    Tensor::from_fn(shape, value).unwrap().cast::<f32>().cast()
}

/// The largest error of `algorithm` forward, in the input gradient and in the filter gradient,
/// each in units of the largest magnitude of its result.
fn errors(algorithm: ConvAlgorithm) -> [f64; 3] {
    let exact = Conv2dOptions::new().padding(Padding::Same);
    let options = exact.algorithm(algorithm);
    let x = normal([2, 25, 27, 64], 1.0, 1);
    // He's deviation: outputs are as large as inputs.
    let w = normal([3, 3, 64, 48], (2.0_f64 / 576.0).sqrt(), 2);
    let dy = normal([2, 25, 27, 48], 1.0, 3);
    let (x32, w32, dy32) = (x.cast::<f32>(), w.cast::<f32>(), dy.cast::<f32>());
    let (input, filters) = (x.shape(), w.shape());
    let pairs = [
        (x.conv2d(&w, &exact), x32.conv2d(&w32, &options)),
        (
            dy.conv2d_input_gradient(&w, input, &exact),
            dy32.conv2d_input_gradient(&w32, input, &options),
        ),
        (
            x.conv2d_filter_gradient(&dy, filters, &exact),
            x32.conv2d_filter_gradient(&dy32, filters, &options),
        ),
    ];
    pairs.map(|(exact, rounded)| {
        let (exact, rounded) = (exact.unwrap(), rounded.unwrap());
        let largest = exact.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let errors = exact.iter().zip(rounded.iter());
        errors.fold(0.0_f64, |m, (a, b)| m.max((a - f64::from(b)).abs())) / largest
    })
}

#[test]
fn errors_are_as_documented() {
    for (algorithm, bound) in [
        (ConvAlgorithm::Direct, 2e-6),
        (ConvAlgorithm::Im2col, 2e-6),
        (ConvAlgorithm::Winograd2x2, 2e-6),
        (ConvAlgorithm::Winograd, 1e-5),
    ] {
        let errors = errors(algorithm);
        // Written so that NaN fails.
        assert!(
            errors.iter().all(|&e| e <= bound),
            "{algorithm:?} {errors:?}"
        );
    }
}
