//! The gradients of the operations, against finite differences and against what they promise.

use autograd::{Op, Result, Tape, Tensor, Var, assert_gradients, gradcheck};
use new_op::{SquaredDistances, clipped_gradient, log_cosh, round_straight_through};

#[test]
fn log_cosh_is_right_to_second_order() {
    assert_gradients(|x| log_cosh(&x[0]), &[Tensor::from([-3.0, -0.4, 0.0, 0.7])]);
    assert_gradients(|x| log_cosh(&x[0]), &[Tensor::from(0.3)]);
    let y = log_cosh(&Var::from(Tensor::from([0.5, -2.0]))).unwrap();
    for (y, x) in y.value().iter().zip([0.5f64, -2.0]) {
        assert!((y - x.cosh().ln()).abs() < 1e-15);
    }
    let huge = log_cosh(&Var::from(Tensor::from([1e300, f64::NEG_INFINITY]))).unwrap();
    assert_eq!(huge.value().to_vec(), [1e300, f64::INFINITY]);
}

fn points(n: usize, d: usize) -> Tensor<f64> {
    Tensor::from_fn([n, d], |at| ((at[0] * 5 + at[1] * 3 + d) as f64).sin()).unwrap()
}

fn distances(x: &[Var<f64>]) -> Result<Var<f64>> {
    SquaredDistances.apply(&[&x[0], &x[1]])
}

#[test]
fn squared_distances_are_right_to_second_order() {
    for (n, m, d) in [(3, 4, 2), (1, 5, 3), (2, 1, 1), (0, 3, 2), (2, 3, 0)] {
        assert_gradients(distances, &[points(n, d), points(m, d)]);
    }
    // One set of points in both roles: its gradient collects both contributions.
    assert_gradients(|x| SquaredDistances.apply(&[&x[0], &x[0]]), &[points(4, 3)]);
}

#[test]
fn squared_distances_are_those_of_a_loop() {
    let (a, b) = (points(3, 4), points(5, 4));
    let y = distances(&[Var::from(&a), Var::from(&b)]).unwrap();
    let loops = Tensor::from_fn([3, 5], |at| {
        let difference = |k| a[[at[0], k]] - b[[at[1], k]];
        (0..4).map(|k| difference(k) * difference(k)).sum::<f64>()
    })
    .unwrap();
    let close = y.value().iter().zip(loops.iter());
    assert!(close.into_iter().all(|(y, z)| (y - z).abs() < 1e-14));
}

#[test]
fn squared_distances_keep_their_inputs_and_no_differences() {
    let tape = Tape::new();
    let (a, b) = (tape.variable(points(30, 8)), tape.variable(points(20, 8)));
    let _y = SquaredDistances.apply(&[&a, &b]).unwrap();
    assert_eq!(tape.saved_bytes(), (30 + 20) * 8 * size_of::<f64>());
}

#[test]
fn points_of_different_dimensions_are_an_error() {
    for (a, b) in [([3, 4], [3, 1]), ([2, 0], [2, 3])] {
        let [a, b] = [a, b].map(|shape| Var::from(Tensor::<f64>::zeros(shape).unwrap()));
        let error = distances(&[a, b]).err().unwrap().to_string();
        assert!(error.contains("squared_distances"), "{error}");
        assert!(error.contains("different dimensions"), "{error}");
    }
    let flat = Var::from(Tensor::from([1.0, 2.0]));
    assert!(distances(&[flat.clone(), flat]).is_err());
}

/// Rounding promises the gradient of the identity, which is not the derivative of rounding: so a
/// finite-difference check must refuse it, and the promise is checked instead.
#[test]
fn straight_through_keeps_its_promise_and_gradcheck_refuses_it() {
    let values = Tensor::from([0.2, 1.7, -2.6]);
    let tape = Tape::new();
    let x = tape.variable(values.clone());
    let weights = Var::from(Tensor::from([3.0, -1.0, 0.5]));
    let rounded = round_straight_through(&x).unwrap();
    assert_eq!(rounded.value().to_vec(), [0.0, 2.0, -3.0]);
    let loss = rounded.mul(&weights).unwrap().sum(..).unwrap();
    let gradients = loss.backward().unwrap();
    assert_eq!(gradients.of(&x).unwrap(), weights.value());

    let report = gradcheck(|x| round_straight_through(&x[0]), &[values]).unwrap_err();
    let facts = report.to_string();
    let numeric = facts.lines().find(|line| line.contains("numeric"));
    assert!(numeric.is_some_and(|line| line.ends_with(" 0")), "{facts}");
}

fn growth(x: &Var<f64>) -> Result<Var<f64>> {
    Ok(x.square().exp())
}

/// Where no gradient reaches the bound, clipping is not noticeable, to second order. Where one
/// does, the check must notice.
#[test]
fn clipping_acts_beyond_its_bound_only() {
    let clipped = |x: &[Var<f64>]| clipped_gradient(growth, 10.0, &x[0]);
    assert_gradients(clipped, &[Tensor::from([0.1, -0.8, 1.0])]);
    assert!(gradcheck(clipped, &[Tensor::from([0.1, -0.8, 2.0])]).is_err());

    let tape = Tape::new();
    let x = tape.variable(Tensor::from([0.5, 2.0, -2.0]));
    let y = clipped_gradient(growth, 10.0, &x).unwrap();
    let gradients = y.sum(..).unwrap().backward().unwrap();
    assert_eq!(
        gradients.of(&x).unwrap().to_vec(),
        [0.25f64.exp(), 10.0, -10.0]
    );
}
