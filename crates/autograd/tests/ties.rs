//! Equal largest or smallest elements get equal shares of the gradient.

use autograd::{Result, Tape, Var};
use proptest::collection::vec;
use proptest::prelude::*;
use tensor::Tensor;

/// The gradient of the sum of `f`.
fn gradient(x: &Tensor<f64>, f: impl Fn(&Var<f64>) -> Result<Var<f64>>) -> Tensor<f64> {
    let tape = Tape::new();
    let x = tape.variable(x.clone());
    let sum = f(&x).unwrap().sum(..).unwrap();
    sum.backward().unwrap().take(&x).unwrap()
}

/// The windows of `new` along `old` pixels: `⌊i old / new⌋ .. ⌈(i + 1) old / new⌉`.
fn windows(old: usize, new: usize) -> Vec<std::ops::Range<usize>> {
    let window = |i: usize| i * old / new..((i + 1) * old).div_ceil(new);
    (0..new).map(window).collect()
}

/// `1 / count` for each of the largest elements of each window, added up.
fn shares(
    x: &Tensor<f64>,
    rows: &[std::ops::Range<usize>],
    columns: &[std::ops::Range<usize>],
) -> Vec<f64> {
    let [batch, height, width, channels] = x.shape()[..] else {
        unreachable!();
    };
    let mut gradient = vec![0.0; x.len()];
    for (n, c) in (0..batch).flat_map(|n| (0..channels).map(move |c| (n, c))) {
        for (rows, columns) in rows
            .iter()
            .flat_map(|r| columns.iter().map(move |c| (r, c)))
        {
            let pixels = rows
                .clone()
                .flat_map(|i| columns.clone().map(move |j| [n, i, j, c]));
            let largest = pixels
                .clone()
                .map(|at| x[at])
                .fold(f64::NEG_INFINITY, f64::max);
            let winners: Vec<_> = pixels.filter(|&at| x[at] == largest).collect();
            for &[n, i, j, c] in &winners {
                gradient[((n * height + i) * width + j) * channels + c] +=
                    1.0 / winners.len() as f64;
            }
        }
    }
    gradient
}

fn close(found: &Tensor<f64>, expected: &[f64]) -> bool {
    found
        .iter()
        .zip(expected)
        .all(|(a, b)| (a - b).abs() < 1e-12)
}

#[test]
fn windows_that_overlap_share_equally_among_their_own_pixels() {
    let x = Tensor::ones([1, 1, 5, 1]).unwrap();
    let dx = gradient(&x, |x| x.adaptive_max_pool2d([1, 3]));
    let third = 1.0 / 3.0;
    assert!(
        close(&dx, &[0.5, 0.5 + third, third, third + 0.5, 0.5]),
        "{dx}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_elements_get_equal_shares(
        shape in [1_usize..3, 1_usize..6, 1_usize..6, 1_usize..3],
        size in [1_usize..7, 1_usize..7],
        // Few values, so that nearly every window has ties; −∞ is what padding might be.
        values in vec(prop_oneof![Just(f64::NEG_INFINITY), Just(0.0), Just(1.0)], 100),
    ) {
        let len = shape.iter().product();
        let values = values.iter().cycle().copied().take(len).collect();
        let x = Tensor::from_vec(values, shape).unwrap();
        let [_, height, width, _] = shape;
        let whole = |size: usize| Vec::from_iter(Some(0..size));
        let pixels = |size: usize| (0..size).map(|i| i..i + 1).collect::<Vec<_>>();

        let dx = gradient(&x, |x| x.adaptive_max_pool2d(size));
        let expected = shares(&x, &windows(height, size[0]), &windows(width, size[1]));
        prop_assert!(close(&dx, &expected), "{:?}: {} is not {:?}", size, dx, expected);

        let dx = gradient(&x, |x| x.global_max_pool2d());
        prop_assert!(close(&dx, &shares(&x, &whole(height), &whole(width))));
        let dx = gradient(&x, |x| x.max([1, 2]));
        prop_assert!(close(&dx, &shares(&x, &whole(height), &whole(width))));
        let dx = gradient(&x, |x| x.max(1));
        prop_assert!(close(&dx, &shares(&x, &whole(height), &pixels(width))));
        let dx = gradient(&x, |x| Ok(x.neg().min(2)?.neg()));
        let expected: Vec<f64> = shares(&x, &pixels(height), &whole(width));
        prop_assert!(close(&dx, &expected));
    }
}
