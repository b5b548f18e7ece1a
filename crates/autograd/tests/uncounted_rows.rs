//! Rows of a loss that do not count: whatever they hold, their gradient is 0, and nothing else changes.

use autograd::{CrossEntropy, Float, Result, Tape, Tensor, Var};

/// A loss of rows of scores, of which the last does not count.
struct Loss<T: Float> {
    name: &'static str,
    /// Of four rows of three scores.
    of_all: fn(&Var<T>) -> Result<Var<T>>,
    /// Of the three rows that count.
    of_counted: fn(&Var<T>) -> Result<Var<T>>,
}

fn labels(rows: usize) -> Tensor<i64> {
    Tensor::from([2, 0, 1, -100][..rows].to_vec())
}

fn plain<T: Float>() -> CrossEntropy<T> {
    CrossEntropy::new().ignored(-100)
}

/// The label 1 has weight 0.
fn weighted<T: Float>() -> CrossEntropy<T> {
    let weights = [0.5, 0.0, 1.5].map(T::constant).to_vec();
    plain().class_weights(Tensor::from_vec(weights, 3).unwrap())
}

/// The last row's targets are all 0.
fn targets<T: Float>(rows: usize) -> Tensor<T> {
    let targets = [[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.1, 0.4, 0.2], [0.0; 3]];
    Tensor::from_fn([rows, 3], |at| T::constant(targets[at[0]][at[1]])).unwrap()
}

fn losses<T: Float>() -> Vec<Loss<T>> {
    vec![
        Loss {
            name: "cross_entropy, ignored",
            of_all: |x| x.cross_entropy(&labels(4), &plain())?.sum(..),
            of_counted: |x| x.cross_entropy(&labels(3), &plain())?.sum(..),
        },
        Loss {
            name: "cross_entropy, ignored and smoothed",
            of_all: |x| {
                let options = plain().label_smoothing(0.1);
                x.cross_entropy(&labels(4), &options)?.square().sum(..)
            },
            of_counted: |x| {
                let options = plain().label_smoothing(0.1);
                x.cross_entropy(&labels(3), &options)?.square().sum(..)
            },
        },
        Loss {
            name: "cross_entropy, weight 0",
            of_all: |x| {
                let labels = Tensor::from([2_i64, 0, 2, 1]);
                x.cross_entropy(&labels, &weighted())?.sum(..)
            },
            of_counted: |x| {
                let labels = Tensor::from([2_i64, 0, 2]);
                x.cross_entropy(&labels, &weighted())?.sum(..)
            },
        },
        Loss {
            name: "mean_cross_entropy",
            of_all: |x| x.mean_cross_entropy(&labels(4), &plain()),
            of_counted: |x| x.mean_cross_entropy(&labels(3), &plain()),
        },
        Loss {
            name: "mean_cross_entropy, weighted",
            of_all: |x| x.mean_cross_entropy(&labels(4), &weighted()),
            of_counted: |x| x.mean_cross_entropy(&labels(3), &weighted()),
        },
        Loss {
            name: "softmax_cross_entropy_with",
            of_all: |x| {
                x.softmax_cross_entropy_with(&Var::from(targets(4)))?
                    .sum(..)
            },
            of_counted: |x| {
                x.softmax_cross_entropy_with(&Var::from(targets(3)))?
                    .sum(..)
            },
        },
        Loss {
            name: "kl_divergence",
            of_all: |x| x.kl_divergence(&Var::from(targets(4)))?.sum(..),
            of_counted: |x| x.kl_divergence(&Var::from(targets(3)))?.sum(..),
        },
    ]
}

/// The loss, and its first and second derivatives along a direction.
fn derivatives<T: Float>(
    scores: &Tensor<T>,
    loss: fn(&Var<T>) -> Result<Var<T>>,
) -> Result<[Tensor<T>; 4]> {
    let tape = Tape::new();
    let x = tape.variable(scores.clone());
    let y = loss(&x)?;
    let in_one_pass = y.reverse().keep_graph().run()?.of(&x)?.clone();
    let first = y.reverse().create_graph().run()?.var(&x)?;
    let along = Tensor::from_fn(scores.shape(), |at| {
        T::constant((at[0] + 2 * at[1]) as f64 - 2.5)
    })?;
    // An uncounted row gets no weight here either.
    let second = first.mul(&Var::from(along))?.sum(..)?.backward()?;
    Ok([
        y.into_value(),
        in_one_pass,
        first.into_value(),
        second.of(&x)?.clone(),
    ])
}

fn check<T: Float>() {
    let good = |at: &[usize]| T::constant(0.3 + 0.1 * (at[0] * 3 + at[1] * 2 % 5) as f64);
    let three = Tensor::from_fn([3, 3], good).unwrap();
    let bad = [T::NAN, T::HIGHEST, T::LOWEST, T::ZERO, T::constant(1e30)];
    for Loss {
        name,
        of_all,
        of_counted,
    } in losses::<T>()
    {
        let [value, _, first, second] = derivatives(&three, of_counted).unwrap();
        for one in bad {
            for other in bad {
                let fill = |at: &[usize]| match at {
                    [3, 0] => one,
                    [3, _] => other,
                    at => good(at),
                };
                let all = Tensor::from_fn([4, 3], fill).unwrap();
                let found = derivatives(&all, of_all).unwrap();
                assert_eq!(found[0], value, "{name} with {one} and {other}");
                for (found, expected) in found[1..].iter().zip([&first, &first, &second]) {
                    let counted = found.slice_axis(0, 0..3).unwrap();
                    for (found, expected) in counted.iter().zip(expected.iter()) {
                        let near = (found - expected).magnitude() <= T::constant(4.0) * T::EPSILON;
                        assert!(
                            near,
                            "{name} with {one} and {other}: {found}, not {expected}"
                        );
                    }
                    let rest = found.slice_axis(0, 3..4).unwrap();
                    assert_eq!(rest.to_vec(), [T::ZERO; 3], "{name} with {one} and {other}");
                }
            }
        }
    }
}

#[test]
fn rows_that_do_not_count_get_no_gradient_whatever_they_hold() {
    check::<f32>();
    check::<f64>();
}

/// NaN as a mean of nothing, but no NaN in the gradient.
#[test]
fn if_no_row_counts_there_is_no_gradient_at_all() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0] {
        let tape = Tape::new();
        let x = tape.variable(Tensor::full([2, 3], bad).unwrap());
        let labels = Tensor::from([-100_i64, -100]);
        let loss = x.mean_cross_entropy(&labels, &plain()).unwrap();
        assert!(loss.item().unwrap().is_nan());
        assert_eq!(loss.backward().unwrap().of(&x).unwrap().to_vec(), [0.0; 6]);
    }
}

#[test]
fn an_infinite_gradient_does_not_pass_a_limit() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::from([-2.0, -1.0, 0.0, 1.0, 2.0, f64::NAN]));
    let y = x.clamp(-1.0, 1.0).unwrap();
    let seed = Var::from(Tensor::full([6], f64::INFINITY).unwrap());
    let gradients = y.reverse().seed(&seed).run().unwrap();
    let expected = [0.0, 0.0, f64::INFINITY, 0.0, 0.0, 0.0];
    assert_eq!(gradients.of(&x).unwrap().to_vec(), expected);
    // So Huber's loss of an infinite difference has its slope.
    let x = tape.variable(Tensor::from([f64::INFINITY, f64::NEG_INFINITY]));
    let loss = x.huber_loss(&x.zeros_like(), 0.5).unwrap();
    let gradients = loss.sum(..).unwrap().backward().unwrap();
    assert_eq!(gradients.of(&x).unwrap().to_vec(), [0.5, -0.5]);
}
