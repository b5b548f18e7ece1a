//! Dropout whose mask is a function of the element's position.

use super::philox::{GROUP, WORDS, numbers};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::parallel::{BLOCK, Par};
use crate::shape::Shape;
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

impl Tensor<bool> {
    /// A mask whose elements are true with the given probability, rounded to a multiple of 2⁻¹⁶.
    ///
    /// Element `i` in row-major order is number `i`, of 16 bits, of the Philox sequence that `key` and `stream`
    /// name: the same whatever the shape around it and the number of threads. Use one key for a
    /// run and a stream for each layer and step.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let mask = Tensor::dropout_mask([1000], 0.8, 42, 7)?;
    /// assert_eq!(mask, Tensor::dropout_mask([1000], 0.8, 42, 7)?);
    /// assert_ne!(mask, Tensor::dropout_mask([1000], 0.8, 42, 8)?);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the probability is not in `0 ..= 1`, or the shape is too large for memory.
    pub fn dropout_mask(
        shape: impl Into<Shape>,
        keep_probability: f64,
        key: u64,
        stream: u64,
    ) -> Result<Tensor<bool>> {
        let threshold = threshold("dropout_mask", "keep_probability", keep_probability)?;
        Tensor::build("dropout_mask", shape, |out| {
            in_groups(out, key, stream, |_, numbers, out| {
                for i in 0..out.len() {
                    out[i] = numbers[i] < threshold;
                }
            });
        })
    }
}

impl<T: Float> Tensor<T> {
    /// Dropout ([Srivastava et al., 2014](https://jmlr.org/papers/v15/srivastava14a.html)): each
    /// element is 0 with probability `rate`, else divided by `1 − rate`, so that the expected
    /// value stays. The probability is that of the mask, to the next multiple of 2⁻¹⁶.
    ///
    /// The mask is [`Tensor::dropout_mask`] of `1 − rate` and is never stored: the derivative is
    /// the same function with the same `key` and `stream`, applied to the output's gradient. What
    /// is dropped is 0 even where it was NaN or infinite.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::<f32>::ones([1000])?;
    /// let y = x.dropout(0.5, 42, 0)?;
    /// assert!(y.iter().all(|y| y == 0.0 || y == 2.0));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the rate is not in `0 ..= 1`, or memory is short.
    pub fn dropout(&self, rate: f64, key: u64, stream: u64) -> Result<Tensor<T>> {
        threshold("dropout", "rate", rate)?;
        let threshold = threshold("dropout", "rate", 1.0 - rate)?;
        if rate == 0.0 {
            return Ok(self.clone());
        }
        let scale = T::constant(1.0 / (1.0 - rate));
        let x = self.try_contiguous("dropout")?;
        let elements = x.as_slice().unwrap_or_default();
        Tensor::build("dropout", self.shape.clone(), |out| {
            in_groups(out, key, stream, |start, numbers, out| {
                let elements = &elements[start..start + out.len()];
                for i in 0..out.len() {
                    let kept = elements[i] * scale;
                    out[i] = if numbers[i] < threshold {
                        kept
                    } else {
                        T::ZERO
                    };
                }
            });
        })
    }
}

/// The number below which a number of 16 bits falls with the given probability.
fn threshold(operation: &str, name: &str, probability: f64) -> Result<u32> {
    if (0.0..=1.0).contains(&probability) {
        return Ok((probability * 2_f64.powi(16)).round() as u32);
    }
    Err(
        Error::value(operation, format!("the {name} is not a probability"))
            .with(name, probability)
            .fix("probabilities go from 0 to 1"),
    )
}

/// Calls `set(start, numbers, elements)` for runs of elements from `start` on, on threads. Each has
/// as many numbers as elements.
#[inline(always)]
fn in_groups<T: Element>(
    out: &mut [T],
    key: u64,
    stream: u64,
    set: impl Fn(usize, &[u32], &mut [T]) + Copy + Send + Sync,
) {
    // Blocks are whole groups.
    const { assert!(BLOCK.is_multiple_of(GROUP)) }
    let level = Level::best();
    Par::Threads.for_chunks(out, BLOCK, |block, out| {
        vectorize(
            level,
            #[inline(always)]
            || {
                for (i, out) in out.chunks_mut(GROUP).enumerate() {
                    let start = block * BLOCK + i * GROUP;
                    let numbers = numbers(key, stream, (start / GROUP) as u64);
                    for (half, out) in out.chunks_mut(WORDS).enumerate() {
                        let (start, numbers) = (start + half * WORDS, &numbers[half]);
                        // Of a size that the compiler knows, but at the end.
                        match out.first_chunk_mut::<WORDS>() {
                            Some(out) => set(start, numbers, out),
                            None => set(start, &numbers[..out.len()], out),
                        }
                    }
                }
            },
        );
    });
}
