//! Random changes to samples while their batch is made.

use rand::RngExt;
use tensor::{Float, Generator, Shape};

/// A random change to samples, drawn anew each time that one is used: more data than there is.
///
/// [`Fit::augment`](crate::training::Fit::augment) takes one. It runs on the thread that makes
/// batches ahead of the training step in use. The random numbers of a sample are those of its row,
/// the epoch and the seed, so that neither batches nor threads change a bit.
///
/// Closures are augmentations too:
///
/// ```
/// use nn::prelude::*;
/// use tensor::{Generator, Shape};
/// use rand::RngExt;
///
/// /// Makes the picture a little brighter or darker.
/// let brightness = |sample: &mut [f32], _: &Shape, random: &mut Generator| {
///     let factor = random.random_range(0.8..1.2);
///     sample.iter_mut().for_each(|x| *x *= factor);
/// };
/// let fit = Fit::new().epochs(10).augment(RandomFlip::horizontal()).augment(brightness);
/// # let _ = fit;
/// ```
pub trait Augment<T: Float = f32>: Send + Sync {
    /// Changes one sample, whose elements lie in row-major order under `shape`
    /// (`[height, width, channels]` for images), after conversion and scaling.
    fn augment(&self, sample: &mut [T], shape: &Shape, random: &mut Generator);
}

impl<T: Float, F: Fn(&mut [T], &Shape, &mut Generator) + Send + Sync> Augment<T> for F {
    fn augment(&self, sample: &mut [T], shape: &Shape, random: &mut Generator) {
        self(sample, shape, random);
    }
}

/// Several, one after the other.
impl<T: Float> Augment<T> for Vec<Box<dyn Augment<T>>> {
    fn augment(&self, sample: &mut [T], shape: &Shape, random: &mut Generator) {
        for augmentation in self {
            augmentation.augment(sample, shape, random);
        }
    }
}

/// Mirrors every other image, as Keras's `RandomFlip`. Samples that are no images
/// `[height, width, channels]` stay as they are.
///
/// ```
/// use nn::data::{Augment, RandomFlip};
/// use tensor::{Shape, generator};
/// let (mut image, shape) = ([1.0_f32, 2.0, 3.0], Shape::from([1, 3, 1]));
/// let mut random = generator(7);
/// let mut seen: Vec<_> = (0..20)
///     .map(|_| {
///         RandomFlip::horizontal().augment(&mut image, &shape, &mut random);
///         image[0]
///     })
///     .collect();
/// seen.sort_by(f32::total_cmp);
/// seen.dedup();
/// assert_eq!(seen, [1.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomFlip {
    horizontal: bool,
    vertical: bool,
}

impl RandomFlip {
    /// Left becomes right, half of the time.
    pub fn horizontal() -> Self {
        RandomFlip {
            horizontal: true,
            vertical: false,
        }
    }

    /// Top becomes bottom, half of the time.
    pub fn vertical() -> Self {
        RandomFlip {
            horizontal: false,
            vertical: true,
        }
    }

    /// Each of both, half of the time.
    pub fn both() -> Self {
        RandomFlip {
            horizontal: true,
            vertical: true,
        }
    }
}

impl<T: Float> Augment<T> for RandomFlip {
    fn augment(&self, image: &mut [T], shape: &Shape, random: &mut Generator) {
        // Drawn in any case, so that what is drawn afterwards does not depend on the outcome.
        let [horizontal, vertical] = [random.random::<bool>(), random.random()];
        let &[_, width, channels] = &shape[..] else {
            return;
        };
        let row_len = width * channels;
        if image.is_empty() {
            return;
        }
        if self.horizontal && horizontal {
            for row in image.chunks_exact_mut(row_len) {
                mirror(row, channels);
            }
        }
        if self.vertical && vertical {
            mirror(image, row_len);
        }
    }
}

/// Reverses the order of pieces of `len` elements.
fn mirror<T>(values: &mut [T], len: usize) {
    let count = values.len() / len;
    for piece in 0..count / 2 {
        let (front, back) = values.split_at_mut((count - 1 - piece) * len);
        front[piece * len..][..len].swap_with_slice(&mut back[..len]);
    }
}

/// What appears where an image was moved away from its border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// The image mirrored at its border, Keras's default: `c b a | a b c | c b a`.
    Reflect,
    /// The pixels of the border again: `a a a | a b c | c c c`.
    Nearest,
    /// This number, in every channel.
    Constant(f64),
}

/// Moves images up or down and left or right by a random whole number of pixels, as Keras's
/// `RandomTranslation`. Samples that are no images `[height, width, channels]` stay as they are.
///
/// ```
/// use nn::data::{Fill, RandomTranslation};
/// // Up to a tenth of the height and of the width, either way.
/// let translation = RandomTranslation::new([0.1, 0.1]).fill(Fill::Constant(0.0));
/// # let _ = translation;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomTranslation {
    factors: [f64; 2],
    fill: Fill,
}

impl RandomTranslation {
    /// By at most these shares of height and width, which are taken as 0 below 0 (or NaN) and as 1
    /// above 1; what appears is the mirrored image.
    pub fn new(factors: [f64; 2]) -> Self {
        RandomTranslation {
            factors: factors.map(|factor| factor.clamp(0.0, 1.0)),
            fill: Fill::Reflect,
        }
    }

    /// Sets what appears.
    #[must_use]
    pub fn fill(self, fill: Fill) -> Self {
        RandomTranslation { fill, ..self }
    }
}

impl<T: Float> Augment<T> for RandomTranslation {
    fn augment(&self, image: &mut [T], shape: &Shape, random: &mut Generator) {
        let draws = [
            random.random_range(-1.0..=1.0),
            random.random_range(-1.0..=1.0),
        ];
        let &[height, width, channels] = &shape[..] else {
            return;
        };
        let by = |axis: usize, size: usize| {
            let share: f64 = draws[axis] * self.factors[axis];
            // NaN as a whole number is 0.
            (share * size as f64).round() as isize
        };
        let (down, right) = (by(0, height), by(1, width));
        if image.is_empty() || (down, right) == (0, 0) {
            return;
        }
        let source = image.to_vec();
        let filling = match self.fill {
            Fill::Constant(value) => T::constant(value),
            _ => T::ZERO,
        };
        for (row, out) in image.chunks_exact_mut(width * channels).enumerate() {
            let from_row = self.fill.origin(row as isize - down, height);
            for (column, out) in out.chunks_exact_mut(channels).enumerate() {
                match (from_row, self.fill.origin(column as isize - right, width)) {
                    (Some(row), Some(column)) => {
                        out.copy_from_slice(
                            &source[(row * width + column) * channels..][..channels],
                        );
                    }
                    _ => out.fill(filling),
                }
            }
        }
    }
}

impl Fill {
    /// Where the pixel at `position`, perhaps outside, comes from; none for a constant. No position
    /// is further outside than the image is large.
    fn origin(self, position: isize, size: usize) -> Option<usize> {
        let size = size as isize;
        if (0..size).contains(&position) {
            return Some(position as usize);
        }
        let inside = match self {
            Fill::Constant(_) => return None,
            Fill::Nearest => position,
            Fill::Reflect if position < 0 => -1 - position,
            Fill::Reflect => 2 * size - 1 - position,
        };
        Some(inside.clamp(0, size - 1) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::generator;

    /// The numbers 0, 1, … under a shape.
    fn numbered(shape: [usize; 3]) -> (Vec<f32>, Shape) {
        let shape = Shape::from(shape);
        ((0..shape.elements()).map(|i| i as f32).collect(), shape)
    }

    #[test]
    fn flips_keep_pixels_whole() {
        let (image, shape) = numbered([2, 3, 2]);
        let expected = |flip_rows: bool, flip_columns: bool| -> Vec<f32> {
            let at = |i: usize, size: usize, flip: bool| if flip { size - 1 - i } else { i };
            let index = |row, column, channel| {
                (at(row, 2, flip_rows) * 3 + at(column, 3, flip_columns)) * 2 + channel
            };
            let places = (0..2).flat_map(|r| (0..3).flat_map(move |c| [(r, c, 0), (r, c, 1)]));
            places.map(|(r, c, k)| image[index(r, c, k)]).collect()
        };
        let all = [
            expected(false, false),
            expected(false, true),
            expected(true, false),
            expected(true, true),
        ];
        for (flip, possible) in [
            (RandomFlip::horizontal(), &[0, 1][..]),
            (RandomFlip::vertical(), &[0, 2]),
            (RandomFlip::both(), &[0, 1, 2, 3]),
        ] {
            let mut random = generator(3);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..100 {
                let mut changed = image.clone();
                flip.augment(&mut changed, &shape, &mut random);
                seen.insert(all.iter().position(|one| *one == changed).unwrap());
            }
            assert!(seen.iter().eq(possible), "{flip:?}: {seen:?}");
        }
    }

    #[test]
    fn translations_move_by_whole_pixels_and_fill() {
        let (image, shape) = numbered([1, 4, 1]);
        for (fill, possible) in [
            (
                Fill::Reflect,
                [
                    [1, 2, 3, 3],
                    [0, 1, 2, 3],
                    [0, 0, 1, 2],
                    [2, 3, 3, 2],
                    [1, 0, 0, 1],
                ],
            ),
            (
                Fill::Nearest,
                [
                    [1, 2, 3, 3],
                    [0, 1, 2, 3],
                    [0, 0, 1, 2],
                    [2, 3, 3, 3],
                    [0, 0, 0, 1],
                ],
            ),
            (
                Fill::Constant(9.0),
                [
                    [1, 2, 3, 9],
                    [0, 1, 2, 3],
                    [9, 0, 1, 2],
                    [2, 3, 9, 9],
                    [9, 9, 0, 1],
                ],
            ),
        ] {
            let translation = RandomTranslation::new([0.0, 0.5]).fill(fill);
            let mut random = generator(5);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let mut changed = image.clone();
                translation.augment(&mut changed, &shape, &mut random);
                let matches =
                    |one: &[i32; 4]| one.iter().zip(&changed).all(|(&a, &b)| a as f32 == b);
                seen.insert(possible.iter().position(matches).unwrap());
            }
            assert_eq!(seen.len(), 5, "{fill:?}: {seen:?}");
        }
    }

    #[test]
    fn odd_samples_and_factors_do_no_harm() {
        let mut random = generator(1);
        for shape in [
            &[][..],
            &[3],
            &[0, 3, 2],
            &[3, 0, 2],
            &[3, 2, 0],
            &[1, 1, 1],
            &[2, 2, 2, 2],
        ] {
            let shape = Shape::from(shape);
            let image: Vec<f32> = (0..shape.elements()).map(|i| i as f32).collect();
            for factor in [0.0, 1.0, 7.0, -1.0, f64::NAN, f64::INFINITY] {
                for _ in 0..10 {
                    let mut changed = image.clone();
                    RandomFlip::both().augment(&mut changed, &shape, &mut random);
                    let translation = RandomTranslation::new([factor, factor]);
                    translation.augment(&mut changed, &shape, &mut random);
                    assert!(changed.iter().all(|value| image.contains(value)));
                    if shape.rank() != 3 {
                        assert_eq!(changed, image);
                    }
                }
            }
        }
    }
}
