//! Numbers that the fixtures' Python scripts compute too, bit for bit; see `fixtures/README.md`.

use tensor::{Float, Shape, Tensor};

/// Pseudo-random values in −1 … 1, by position.
pub fn uniform<T: Float>(shape: impl Into<Shape>, seed: u64) -> tensor::Result<Tensor<T>> {
    scaled(shape, seed, 1.0, 0.0)
}

/// `scale·uniform + offset`, computed in f64 and rounded once.
pub fn scaled<T: Float>(
    shape: impl Into<Shape>,
    seed: u64,
    scale: f64,
    offset: f64,
) -> tensor::Result<Tensor<T>> {
    let shape = shape.into();
    let values = (0..shape.elements() as u64).map(|i| T::constant(scale * value(seed, i) + offset));
    Tensor::from_vec(values.collect(), shape)
}

/// Weights in `±√(6 / fan_in)`, where `fan_in` is the product of all axes but the last.
pub fn he_uniform<T: Float>(shape: impl Into<Shape>, seed: u64) -> tensor::Result<Tensor<T>> {
    let shape = shape.into();
    let fan_in: usize = shape.iter().rev().skip(1).product();
    scaled(shape, seed, (6.0 / fan_in as f64).sqrt(), 0.0)
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014) as a number in −1 … 1.
fn value(seed: u64, position: u64) -> f64 {
    let k = (seed << 32).wrapping_add(position).wrapping_add(1);
    let z = k.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let z = z ^ (z >> 31);
    2.0 * ((z >> 11) as f64 * 2f64.powi(-53)) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_values_are_those_of_the_readme() {
        let values = uniform::<f64>([3], 1).unwrap().to_vec();
        let expected = [
            -0.45284307304587834,
            0.8124848967956497,
            0.20256661423742695,
        ];
        assert_eq!(values, expected);
    }
}
