//! Comparison within a tolerance, through the traits and macros of the `approx` crate.

use approx::{AbsDiffEq, RelativeEq, UlpsEq};

use crate::float::Float;
use crate::tensor::Tensor;

/// Tensors are close if their shapes are equal and all their elements are close; so a tensor with
/// a NaN is close to nothing.
///
/// ```
/// use approx::{assert_abs_diff_eq, assert_relative_eq};
/// use tensor::Tensor;
/// let x = Tensor::from([1.0, 2.0]);
/// assert_abs_diff_eq!(&x + 1e-9, x, epsilon = 1e-8);
/// assert_relative_eq!(&x * 1.001, x, max_relative = 0.01);
/// ```
impl<T: Float + AbsDiffEq<Epsilon = T>> AbsDiffEq for Tensor<T> {
    type Epsilon = T;

    fn default_epsilon() -> T {
        T::default_epsilon()
    }

    fn abs_diff_eq(&self, other: &Self, epsilon: T) -> bool {
        all_close(self, other, |a, b| a.abs_diff_eq(b, epsilon))
    }
}

impl<T: Float + RelativeEq<Epsilon = T>> RelativeEq for Tensor<T> {
    fn default_max_relative() -> T {
        T::default_max_relative()
    }

    fn relative_eq(&self, other: &Self, epsilon: T, max_relative: T) -> bool {
        all_close(self, other, |a, b| a.relative_eq(b, epsilon, max_relative))
    }
}

impl<T: Float + UlpsEq<Epsilon = T>> UlpsEq for Tensor<T> {
    fn default_max_ulps() -> u32 {
        T::default_max_ulps()
    }

    fn ulps_eq(&self, other: &Self, epsilon: T, max_ulps: u32) -> bool {
        all_close(self, other, |a, b| a.ulps_eq(b, epsilon, max_ulps))
    }
}

fn all_close<T: Float>(a: &Tensor<T>, b: &Tensor<T>, close: impl Fn(&T, &T) -> bool) -> bool {
    a.shape() == b.shape() && a.iter().zip(b.iter()).all(|(a, b)| close(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_every_element_count() {
        let x = Tensor::<f32>::linspace(0.0, 1.0, 12)
            .unwrap()
            .reshape([3, 4])
            .unwrap();
        let mut y = x.clone();
        assert!(x.ulps_eq(&y, 0.0, 0) && x.relative_eq(&y, 0.0, 0.0));
        y[[2, 3]] += 1e-3;
        assert!(x.abs_diff_eq(&y, 2e-3) && !x.abs_diff_eq(&y, 1e-4));
        assert!(x.relative_eq(&y, 0.0, 2e-3) && !x.relative_eq(&y, 0.0, 1e-4));
        assert!(!x.ulps_eq(&y, 0.0, 4));
        y[[2, 3]] = f32::NAN;
        assert!(!y.abs_diff_eq(&y, f32::INFINITY));
        assert!(!x.abs_diff_eq(&x.t(), 1.0));
        assert!(x.abs_diff_eq(&x.t().contiguous().t(), 0.0));
        let infinite = Tensor::scalar(f64::INFINITY);
        assert!(infinite.relative_eq(&infinite, 0.0, 0.0));
    }
}
