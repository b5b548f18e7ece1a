//! Broadcasting and views through every loop of `walk`, against element-by-element oracles.

use crate::{Slice, Tensor};

/// Views of every kind of one 4×6 table.
fn views() -> Vec<Tensor<f64>> {
    let base = Tensor::from_fn([4, 6], |at| (at[0] * 10 + at[1]) as f64 - 7.5).unwrap();
    vec![
        base.clone(),
        base.t(),
        base.flip(..).unwrap(),
        base.slice(&[Slice::from(..).step(2), Slice::from(1..).step(-2)])
            .unwrap(),
        base.slice_axis(0, 1..2)
            .unwrap()
            .broadcast_to([4, 6])
            .unwrap(),
        base.slice_axis(1, 2..3)
            .unwrap()
            .broadcast_to([4, 6])
            .unwrap(),
        base.slice(&[(0..0).into()]).unwrap(),
        Tensor::scalar(2.0),
        Tensor::scalar(2.0).broadcast_to([6]).unwrap(),
    ]
}

#[test]
fn unary_functions_see_any_view() {
    for x in views() {
        let expected: Vec<f64> = x.iter().map(|x| x.tanh()).collect();
        assert_eq!(x.tanh().to_vec(), expected);
        assert_eq!(x.tanh().shape(), x.shape());
    }
}

#[test]
fn binary_functions_broadcast_any_pair_of_views() {
    let mut met = 0;
    for a in views() {
        for b in views() {
            let Ok(shape) = a.shape().broadcast("add", b.shape()) else {
                assert!(a.add(&b).is_err());
                continue;
            };
            met += 1;
            let (left, right) = (
                a.broadcast_to(&shape).unwrap(),
                b.broadcast_to(&shape).unwrap(),
            );
            let expected: Vec<f64> = left
                .iter()
                .zip(right.iter())
                .map(|(a, b)| a - 2.0 * b)
                .collect();
            assert_eq!((&a - &b * 2.0).to_vec(), expected, "{a:?} {b:?}");
            let mask = a.lt(&b).unwrap();
            let chosen: Vec<f64> = left
                .iter()
                .zip(right.iter())
                .map(|(a, b)| if a < b { a } else { b })
                .collect();
            assert_eq!(mask.choose(&a, &b).unwrap().to_vec(), chosen);
        }
    }
    assert!(met > 40, "{met}");
}

#[test]
fn long_rows_cross_block_borders() {
    let x = Tensor::<f32>::linspace(0.0, 1.0, 70_001).unwrap();
    let column = Tensor::<f32>::linspace(0.0, 1.0, 3)
        .unwrap()
        .reshape([3, 1])
        .unwrap();
    let table = &x + &column;
    for row in 0..3 {
        for i in [0, 1, 16_383, 16_384, 16_385, 69_999, 70_000] {
            assert_eq!(table[[row, i]], x[[i]] + column[[row, 0]]);
        }
    }
}

/// A row that starts again and again, shorter and longer than the pieces that are computed at once.
#[test]
fn repeated_rows_start_again_at_each_block() {
    for channels in [1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 700] {
        let rows = 40_000 / channels;
        let x = Tensor::<f64>::linspace(0.0, 1.0, rows * channels)
            .unwrap()
            .reshape([rows, channels])
            .unwrap();
        let scale = Tensor::from_fn([channels], |at| at[0] as f64 - 3.0).unwrap();
        let backwards = scale.flip(..).unwrap();
        let scaled = &(&x * &scale) + &backwards;
        let expected: Vec<f64> = x
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let channel = i % channels;
                x * (channel as f64 - 3.0) + ((channels - 1 - channel) as f64 - 3.0)
            })
            .collect();
        assert_eq!(scaled.to_vec(), expected, "{channels} channels");
    }
}

/// Rows that start again for a while, and then give way to others.
#[test]
fn rows_of_each_image_are_repeated_within_it() {
    for [images, pixels, channels] in [
        [1, 7, 3],
        [3, 5000, 1],
        [3, 5000, 7],
        [40, 100, 5],
        [2, 90, 256],
        [3, 40, 257],
        [900, 2, 9],
        [5, 1, 600],
    ] {
        let value = |at: &[usize]| (at[0] * 31 + at[1] * 7 + at[2]) as f64;
        let x = Tensor::from_fn([images, pixels, channels], value).unwrap();
        let scale = Tensor::from_fn([images, 1, channels], |at| value(at) + 0.5).unwrap();
        let expected = Tensor::from_fn([images, pixels, channels], |at| {
            value(at) * (value(&[at[0], 0, at[2]]) + 0.5)
        });
        assert_eq!(
            &x * &scale,
            expected.unwrap(),
            "{images} {pixels} {channels}"
        );
    }
}

#[test]
fn special_values_follow_ieee_and_numpy() {
    let inf = f64::INFINITY;
    let x = Tensor::from([0.0, -0.0, inf, -inf, f64::NAN]);
    let same = |a: Tensor<f64>, b: [f64; 5]| {
        let bits = |x: &f64| if x.is_nan() { u64::MAX } else { x.to_bits() };
        let left: Vec<u64> = a.to_vec().iter().map(bits).collect();
        assert_eq!(left, b.iter().map(bits).collect::<Vec<_>>(), "{a}");
    };
    same(x.relu(), [0.0, -0.0, inf, 0.0, f64::NAN]);
    same(x.sigmoid(), [0.5, 0.5, 1.0, 0.0, f64::NAN]);
    same(x.softplus(), [2f64.ln(), 2f64.ln(), inf, 0.0, f64::NAN]);
    same(x.neg(), [-0.0, 0.0, -inf, inf, f64::NAN]);
    same(x.sign(), [0.0, -0.0, 1.0, -1.0, f64::NAN]);
    same(
        x.maximum(&Tensor::scalar(1.0)).unwrap(),
        [1.0, 1.0, inf, 1.0, f64::NAN],
    );
    same(
        Tensor::scalar(1.0).maximum(&x).unwrap(),
        [1.0, 1.0, inf, 1.0, f64::NAN],
    );
    same(x.pow(&Tensor::scalar(0.0)).unwrap(), [1.0; 5]);
    same(
        x.clamp(-1.0, 1.0).unwrap(),
        [0.0, -0.0, 1.0, -1.0, f64::NAN],
    );
    assert_eq!((&Tensor::from([7, -7]) % 3).to_vec(), [1, 2]);
    assert_eq!(
        (Tensor::from([7, i32::MIN]) / Tensor::from([0, -1])).to_vec(),
        [0, i32::MIN]
    );
    assert_eq!(
        Tensor::from([300.7, -5.0, f64::NAN]).cast::<u8>().to_vec(),
        [255, 0, 0]
    );
    assert_eq!(
        Tensor::from([i64::MAX, -1]).cast::<i32>().to_vec(),
        [i32::MAX, -1]
    );
}

#[test]
fn operators_panic_with_both_shapes() {
    let (a, b) = (
        Tensor::<f32>::zeros([2, 3]).unwrap(),
        Tensor::<f32>::zeros([4]).unwrap(),
    );
    let panic = std::panic::catch_unwind(|| &a + &b).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("add") && text.contains("[2, 3]") && text.contains("[4]"),
        "{text}"
    );
}

#[test]
fn an_owned_operand_lends_its_memory() {
    let x = Tensor::<f32>::ones([5000]).unwrap();
    let place = x.as_slice().unwrap().as_ptr();
    let y = x * 2.0;
    assert_eq!(y.as_slice().unwrap().as_ptr(), place);
    let shared = y.clone();
    let z = y + 1.0;
    assert_ne!(z.as_slice().unwrap().as_ptr(), place);
    assert_eq!(shared[[0]], 2.0);
}
