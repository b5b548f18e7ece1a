//! Distributions, repeatability, and masks that depend on positions alone.

use super::philox::{GROUP, LANES, WORDS};
use crate::reduce::same_on_any_pool;
use crate::{Tensor, generator};

#[test]
fn moments_are_those_of_the_distributions() {
    let uniform = Tensor::<f32>::uniform([100, 1000], -1.0..3.0, &mut generator(1)).unwrap();
    let item = |x: crate::Result<Tensor<f32>>| x.unwrap().item().unwrap();
    // The standard error of these means is 0.004 and 0.006.
    assert!((item(uniform.mean(..)) - 1.0).abs() < 0.02);
    assert!((item(uniform.var(.., 0)) - 16.0 / 12.0).abs() < 0.02);
    assert!(item(uniform.min(..)) >= -1.0 && item(uniform.max(..)) < 3.0);
    let normal = Tensor::<f32>::normal([100, 1000], 2.0, 2.0, &mut generator(2)).unwrap();
    assert!((item(normal.mean(..)) - 2.0).abs() < 0.03);
    assert!((item(normal.std(.., 0)) - 2.0).abs() < 0.03);
    let within = normal.lt(&Tensor::scalar(4.0)).unwrap().count(..).unwrap();
    assert!((within.item().unwrap() - 84_134).abs() < 600);
}

#[test]
fn ends_of_ranges_stay_outside() {
    let next = f32::from_bits(1.0_f32.to_bits() + 1);
    let x = Tensor::<f32>::uniform([1000], 1.0..next, &mut generator(3)).unwrap();
    assert!(x.iter().all(|x| x == 1.0));
    for range in [
        1.0..1.0,
        2.0..1.0,
        f64::NAN..1.0,
        0.0..f64::INFINITY,
        f64::MIN..f64::MAX,
    ] {
        assert!(Tensor::uniform([2], range, &mut generator(3)).is_err());
    }
    for (mean, deviation) in [(f64::NAN, 1.0), (0.0, -1.0), (0.0, f64::INFINITY)] {
        assert!(Tensor::normal([2], mean, deviation, &mut generator(3)).is_err());
    }
    let error = Tensor::<f32>::normal([2], 0.0, -1.0, &mut generator(3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "normal: there is no distribution of these parameters\n  mean       0\n  \
         deviation  -1\n  fix: both must be finite, and the deviation not negative"
    );
    assert!(Tensor::<f32>::normal([usize::MAX], 0.0, 1.0, &mut generator(3)).is_err());
    assert!(Tensor::permutation(usize::MAX, &mut generator(3)).is_err());
    assert!(
        Tensor::permutation(0, &mut generator(3))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn permutations_are_even() {
    let mut rng = generator(4);
    let mut counts = [[0; 3]; 3];
    for _ in 0..3000 {
        for (place, value) in Tensor::permutation(3, &mut rng).unwrap().iter().enumerate() {
            counts[place][value as usize] += 1;
        }
    }
    // Binomial with a standard deviation of 26.
    assert!(
        counts
            .as_flattened()
            .iter()
            .all(|&count| (count - 1000_i32).abs() < 130)
    );
}

/// Philox4x32-7 as its authors write it, one counter at a time.
fn philox([mut a, mut b, mut c, mut d]: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..7 {
        let left = u64::from(a) * 0xD251_1F53;
        let right = u64::from(c) * 0xCD9E_8D57;
        [a, b, c, d] = [
            (right >> 32) as u32 ^ b ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ d ^ key[1],
            left as u32,
        ];
        key = [
            key[0].wrapping_add(0x9E37_79B9),
            key[1].wrapping_add(0xBB67_AE85),
        ];
    }
    [a, b, c, d]
}

#[test]
fn masks_depend_on_positions_alone() {
    let long = Tensor::dropout_mask([100_003], 0.7, 5, 6).unwrap();
    let table = Tensor::dropout_mask([33, 65], 0.7, 5, 6).unwrap();
    assert_eq!(table.to_vec(), long.to_vec()[..33 * 65]);
    for (i, kept) in long.iter().enumerate() {
        let (place, half) = (i % WORDS, i % GROUP / WORDS);
        let counter = (i / GROUP * LANES + place % LANES) as u32;
        let word = philox([counter, 0, 6, 0], [5, 0])[place / LANES];
        let number = [word & 0xffff, word >> 16][half];
        assert_eq!(kept, f64::from(number) < 0.7 * 65_536.0, "{i}");
    }
    let kept = long.count(..).unwrap().item().unwrap();
    // Binomial with a standard deviation of 145.
    assert!((kept - 70_002).abs() < 700, "{kept}");
    for (key, stream) in [(5, 7), (7, 6), (5 + (1 << 32), 6), (5, 6 + (1 << 32))] {
        let other = Tensor::dropout_mask([100_003], 0.7, key, stream).unwrap();
        let agree = long.eq(&other).unwrap().count(..).unwrap().item().unwrap();
        assert!((agree - 58_002).abs() < 800, "{agree}");
    }
}

#[test]
fn dropout_is_its_mask_and_scale() {
    let x = Tensor::<f32>::normal([70, 300], 0.0, 1.0, &mut generator(7)).unwrap();
    for x in [x.clone(), x.t(), x.flip(..).unwrap()] {
        let mask = Tensor::dropout_mask(x.shape(), 0.75, 1, 2).unwrap();
        let expected = mask
            .choose(&(&x * (1.0 / 0.75)), &Tensor::scalar(0.0))
            .unwrap();
        assert_eq!(x.dropout(0.25, 1, 2).unwrap(), expected);
        assert!(x.dropout(0.0, 1, 2).unwrap().shares_memory_with(&x));
        assert!(x.dropout(1.0, 1, 2).unwrap().iter().all(|x| x == 0.0));
    }
    let nan = Tensor::full([1000], f64::NAN).unwrap().dropout(0.5, 1, 2);
    assert!(nan.unwrap().iter().any(|x| x == 0.0));
    assert!(
        Tensor::dropout_mask([100], 1.0, 1, 2)
            .unwrap()
            .all(..)
            .unwrap()
            .item()
            .unwrap()
    );
    for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(x.dropout(rate, 0, 0).is_err());
    }
    assert_eq!(
        x.dropout(1.5, 0, 0).unwrap_err().to_string(),
        "dropout: the rate is not a probability\n  rate  1.5\n  fix: probabilities go from 0 to 1"
    );
    same_on_any_pool(|| vec![x.dropout(0.5, 3, 4).unwrap()]);
}
