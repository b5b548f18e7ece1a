//! The cross-entropy of labels.

use super::*;

#[test]
fn cross_entropy_is_log_softmax_of_the_label() {
    for shape in [&[5][..], &[7, 6], &[3, 4, 33], &[900, 100], &[0, 3]] {
        let logits = &noise::<f64>(shape) * 5.0;
        let [leading @ .., classes] = shape else {
            unreachable!()
        };
        let labels = Tensor::<i64>::from_fn(leading, |at| {
            (at.iter().sum::<usize>() * 7 % classes) as i64
        })
        .unwrap();
        let codes: Tensor<f64> = labels.one_hot(*classes).unwrap();
        let smooth = &codes * 0.9 + 0.05;
        let logs = logits.log_softmax(-1).unwrap();
        let close = |a: Tensor<f64>, b: Tensor<f64>| {
            assert_eq!(a.shape(), &b.shape()[..]);
            assert!(a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() < 1e-11));
        };
        let sparse = logits.softmax_cross_entropy(&labels).unwrap();
        close(sparse, -(&codes * &logs).sum(-1).unwrap());
        let dense = logits.softmax_cross_entropy_with(&smooth).unwrap();
        close(dense, -(&smooth * &logs).sum(-1).unwrap());

        let softmax = logits.softmax(-1).unwrap();
        let sparse = logits.softmax_cross_entropy_gradient(&labels).unwrap();
        close(sparse, &softmax - &codes);
        let dense = logits.softmax_cross_entropy_with_gradient(&smooth).unwrap();
        close(
            dense,
            &softmax * &smooth.sum(keepdims(-1)).unwrap() - &smooth,
        );
    }
}

#[test]
fn cross_entropy_at_its_limits() {
    let logits = Tensor::from([[1e4_f32, -1e4], [0.0, f32::NEG_INFINITY]]);
    let labels = Tensor::from([1_i64, 0]);
    let losses = logits.softmax_cross_entropy(&labels).unwrap();
    assert_eq!(losses.to_vec(), [2e4, 0.0]);
    let codes: Tensor<f32> = labels.one_hot(2).unwrap();
    assert_eq!(logits.softmax_cross_entropy_with(&codes).unwrap(), losses);
    let gradient = logits.softmax_cross_entropy_gradient(&labels).unwrap();
    assert_eq!(gradient.to_vec(), [1.0, -1.0, 0.0, 0.0]);
    assert_eq!(
        logits
            .softmax_cross_entropy(&Tensor::from([0_i64, 2]))
            .unwrap_err()
            .to_string(),
        "softmax_cross_entropy: index 2 at [1] is outside axis 1 of size 2\n  \
         fix: indices go from 0 to 1"
    );
    assert_eq!(
        logits
            .softmax_cross_entropy(&Tensor::from([0_i64]))
            .unwrap_err()
            .to_string(),
        "softmax_cross_entropy: the labels do not fit the logits\n  logits  [2, 2]\n  \
         labels  [1]\n  fix: labels need the shape of the logits without the last axis"
    );
    assert!(logits.softmax_cross_entropy_with(&losses).is_err());
    let none = Tensor::<f32>::zeros([2, 0]).unwrap();
    assert!(none.softmax_cross_entropy(&labels).is_err());
    assert_eq!(
        none.softmax_cross_entropy_with(&none).unwrap().to_vec(),
        [0.0; 2]
    );
    assert!(
        none.softmax_cross_entropy_with_gradient(&none)
            .unwrap()
            .is_empty()
    );
    assert!(
        Tensor::scalar(1.0)
            .softmax_cross_entropy(&Tensor::scalar(0))
            .is_err()
    );
}
