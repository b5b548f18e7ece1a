//! Labels as vectors.

use tensor::Tensor;

use super::array::{Array, unravel};
use crate::error::Result;

/// One-hot vectors of integer labels: `out[…, c] = 1` where `labels[…] = c`, else 0.
///
/// `labels` is an array of any type that holds whole numbers from 0 up to `classes`; the result
/// has its shape with an axis of `classes` appended. A last axis of size 1 is dropped first, as
/// Keras does.
///
/// ```
/// use nn::data::to_categorical;
/// use tensor::Tensor;
/// let labels = Tensor::from_vec(vec![2_i64, 0], [2])?;
/// let one_hot = to_categorical(&labels, 3)?;
/// assert_eq!(one_hot.to_vec(), [0., 0., 1., 1., 0., 0.]);
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// Naming the first label that is no whole number or outside `0..classes`, and its index.
pub fn to_categorical(labels: impl Into<Array>, classes: usize) -> Result<Tensor<f32>> {
    let labels: Tensor<i64> = labels.into().to_in("to_categorical")?;
    let mut shape = labels.shape().to_vec();
    if shape.len() > 1 && shape.last() == Some(&1) {
        shape.pop();
    }
    shape.push(classes);
    let mut out =
        Tensor::<f32>::zeros(shape).map_err(|error| error.in_operation("to_categorical"))?;
    let elements = out.make_mut();
    for (i, label) in labels.iter().enumerate() {
        let class = usize::try_from(label)
            .ok()
            .filter(|&class| class < classes)
            .ok_or_else(|| {
                tensor::Error::value(
                    "to_categorical",
                    format!("label {label} is outside the {classes} classes"),
                )
                .with("element", format!("{:?}", unravel(i, labels.shape())))
                .with("labels", labels.shape())
                .fix("labels count from 0; give the number of classes that there are")
            })?;
        elements[i * classes + class] = 1.0;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_type_of_whole_numbers_will_do() {
        let expected = [0., 1., 1., 0.];
        let check = |labels: Array| {
            let one_hot = to_categorical(labels, 2).unwrap();
            assert_eq!(*one_hot.shape(), [2, 2]);
            assert_eq!(one_hot.to_vec(), expected);
        };
        check(Tensor::from_vec(vec![1_u8, 0], [2]).unwrap().into());
        check(Tensor::from_vec(vec![1.0_f64, 0.0], [2, 1]).unwrap().into());
        check(Tensor::from_vec(vec![true, false], [2]).unwrap().into());
    }

    #[test]
    fn shapes_are_kept() {
        let labels = Tensor::<i32>::zeros([2, 3]).unwrap();
        assert_eq!(*to_categorical(&labels, 4).unwrap().shape(), [2, 3, 4]);
        let none = Tensor::<i32>::zeros([0]).unwrap();
        assert_eq!(*to_categorical(&none, 4).unwrap().shape(), [0, 4]);
        assert_eq!(*to_categorical(Tensor::scalar(3), 4).unwrap().shape(), [4]);
    }

    #[test]
    fn labels_out_of_range_are_named() {
        for wrong in [-1_i64, 3, i64::MAX] {
            let labels = Tensor::from_vec(vec![0, 2, wrong], [3]).unwrap();
            let message = to_categorical(&labels, 3).unwrap_err().to_string();
            assert!(message.contains(&format!("label {wrong}")), "{message}");
            assert!(message.contains("[2]"), "{message}");
        }
        assert!(to_categorical(Tensor::scalar(0.5_f32), 3).is_err());
        assert!(to_categorical(Tensor::scalar(0), 0).is_err());
        let many = Tensor::<u8>::zeros([1 << 20]).unwrap();
        assert!(to_categorical(&many, usize::MAX).is_err());
    }
}
