//! The mistakes that derivatives are made with, one by one: each must be caught, and its right
//! counterpart must pass.

use autograd::{
    Backward, InputGradients, Inputs, Op, Result, Saves, Var, gradcheck, gradgradcheck,
};
use tensor::{Pool2dOptions, Tensor, keepdims};

type Forward = fn(&[&Tensor<f64>]) -> Result<Tensor<f64>>;
type Vjp = fn(&Backward<'_, f64>, &Var<f64>) -> Result<InputGradients<f64>>;

/// An operation from its two halves.
struct Candidate {
    forward: Forward,
    vjp: Vjp,
}

impl Op<f64> for Candidate {
    fn name(&self) -> &str {
        "candidate"
    }
    fn forward(&mut self, inputs: Inputs<'_, f64>) -> Result<Tensor<f64>> {
        (self.forward)(&inputs.all().collect::<Vec<_>>())
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, f64>, dy: &Var<f64>) -> Result<InputGradients<f64>> {
        (self.vjp)(at, dy)
    }
}

/// Distinct values away from 0.
fn values(shape: &[usize], salt: usize) -> Tensor<f64> {
    let count = shape.iter().product::<usize>();
    let mut next = salt;
    Tensor::from_fn(shape, |_| {
        next = (next + 7) % count.max(1);
        (next as f64 + 0.4) / count as f64 * 1.5 + 0.3
    })
    .unwrap()
}

/// Both orders of checks on an operation with these halves.
fn check(shapes: &[&[usize]], forward: Forward, vjp: Vjp) -> Result<()> {
    let inputs: Vec<_> = (0..)
        .zip(shapes)
        .map(|(i, shape)| values(shape, i))
        .collect();
    let f = |x: &[Var<f64>]| Candidate { forward, vjp }.apply(&x.iter().collect::<Vec<_>>());
    gradcheck(f, &inputs)?;
    gradgradcheck(f, &inputs)
}

/// A mistake: what it is, on which shapes, the value, the right derivative, the wrong one.
struct Mistake {
    name: &'static str,
    shapes: &'static [&'static [usize]],
    forward: Forward,
    right: Vjp,
    wrong: Vjp,
}

/// Windows of two rows, which leave one of five over.
fn pairs() -> Pool2dOptions {
    Pool2dOptions::new([2, 1]).ceil_mode(true)
}

fn mistakes() -> Vec<Mistake> {
    vec![
        Mistake {
            name: "sign",
            shapes: &[&[3], &[3]],
            forward: |x| x[0].sub(x[1]),
            right: |at, dy| {
                at.gradients()
                    .of(0, || Ok(dy.clone()))?
                    .of(1, || Ok(dy.neg()))
            },
            wrong: |at, dy| {
                at.gradients()
                    .of(0, || Ok(dy.clone()))?
                    .of(1, || Ok(dy.clone()))
            },
        },
        Mistake {
            name: "factor",
            shapes: &[&[3]],
            forward: |x| Ok(x[0].square()),
            right: |at, dy| at.gradients().of(0, || dy.mul(&at.input(0)?.scale(2.0))),
            wrong: |at, dy| at.gradients().of(0, || dy.mul(&at.input(0)?)),
        },
        Mistake {
            name: "missing un-broadcast",
            shapes: &[&[2, 3], &[3]],
            forward: |x| x[0].mul(x[1]),
            right: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients()
                    .of(0, || dy.mul(&b))?
                    .of(1, || dy.mul(&a)?.sum(0))
            },
            wrong: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients().of(0, || dy.mul(&b))?.of(1, || dy.mul(&a))
            },
        },
        Mistake {
            name: "un-broadcast over the wrong axis",
            shapes: &[&[3, 3], &[3]],
            forward: |x| x[0].add(x[1]),
            right: |at, dy| at.gradients().of(0, || Ok(dy.clone()))?.of(1, || dy.sum(0)),
            wrong: |at, dy| at.gradients().of(0, || Ok(dy.clone()))?.of(1, || dy.sum(1)),
        },
        Mistake {
            name: "forgotten term",
            shapes: &[&[3]],
            forward: |x| x[0].mul(&x[0].exp()),
            right: |at, dy| {
                let e = at.input(0)?.exp();
                at.gradients().of(0, || dy.mul(&e.add(&at.output()?)?))
            },
            wrong: |at, dy| at.gradients().of(0, || dy.mul(&at.output()?)),
        },
        Mistake {
            name: "transposed",
            shapes: &[&[3, 3], &[3, 3]],
            forward: |x| x[0].matmul(x[1]),
            right: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients()
                    .of(0, || dy.matmul(&b.t()))?
                    .of(1, || a.t().matmul(dy))
            },
            wrong: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients()
                    .of(0, || dy.matmul(&b))?
                    .of(1, || a.t().matmul(dy))
            },
        },
        Mistake {
            name: "swapped operands",
            shapes: &[&[3], &[3]],
            forward: |x| x[0].mul(x[1]),
            right: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients().of(0, || dy.mul(&b))?.of(1, || dy.mul(&a))
            },
            wrong: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients().of(0, || dy.mul(&a))?.of(1, || dy.mul(&b))
            },
        },
        Mistake {
            name: "overwritten instead of accumulated",
            shapes: &[&[3]],
            // Element 1 is read twice.
            forward: |x| x[0].index_select(0, &Tensor::from([1_i64, 0, 1])),
            right: |at, dy| {
                let zeros = at.input(0)?.zeros_like();
                let index = Tensor::from([1_i64, 0, 1]);
                at.gradients().of(0, || zeros.index_add(0, &index, dy))
            },
            wrong: |at, dy| {
                let zeros = at.input(0)?.zeros_like();
                let last = dy.slice_axis(0, 1..)?;
                let index = Tensor::from([0_i64, 1]);
                at.gradients().of(0, || zeros.index_add(0, &index, &last))
            },
        },
        Mistake {
            name: "pooled gradient scaled",
            shapes: &[&[1, 5, 2, 1]],
            forward: |x| x[0].max_pool2d_values(&pairs()),
            right: pooled_back,
            wrong: |at, dy| pooled_back(at, &dy.scale(0.5)),
        },
        Mistake {
            name: "leftover rows dropped",
            shapes: &[&[1, 5, 2, 1]],
            forward: |x| x[0].max_pool2d_values(&pairs()),
            right: pooled_back,
            wrong: |at, dy| {
                let whole = dy.slice_axis(1, 0..2)?;
                let rest = dy.slice_axis(1, 2..)?.zeros_like();
                pooled_back(at, &Var::concat(&[&whole, &rest], 1)?)
            },
        },
        Mistake {
            name: "mean without its count",
            shapes: &[&[4]],
            forward: |x| x[0].mean(..),
            right: |at, dy| at.gradients().of(0, || dy.scale(0.25).broadcast_to([4])),
            wrong: |at, dy| at.gradients().of(0, || dy.broadcast_to([4])),
        },
        Mistake {
            name: "softmax without its coupling",
            shapes: &[&[4]],
            forward: |x| x[0].softmax(-1),
            right: |at, dy| {
                let y = at.output()?;
                let product = dy.mul(&y)?;
                let coupled = y.mul(&product.sum(keepdims(-1))?)?;
                at.gradients().of(0, || product.sub(&coupled))
            },
            wrong: |at, dy| {
                let y = at.output()?;
                at.gradients().of(0, || dy.mul(&y.mul(&(1.0 - &y))?))
            },
        },
        Mistake {
            name: "a gradient that is not computed",
            shapes: &[&[3], &[3]],
            forward: |x| x[0].add(x[1]),
            right: |at, dy| {
                at.gradients()
                    .of(0, || Ok(dy.clone()))?
                    .of(1, || Ok(dy.clone()))
            },
            wrong: |at, dy| at.gradients().of(0, || Ok(dy.clone())),
        },
        Mistake {
            name: "zero instead of a gradient",
            shapes: &[&[3]],
            forward: |x| Ok(x[0].exp()),
            right: |at, dy| at.gradients().of(0, || dy.mul(&at.output()?)),
            wrong: |at, dy| at.gradients().of(0, || Ok(dy.zeros_like())),
        },
        Mistake {
            name: "right to first order only",
            shapes: &[&[3]],
            forward: |x| Ok(x[0].exp()),
            right: |at, dy| at.gradients().of(0, || dy.mul(&at.output()?)),
            wrong: |at, dy| at.gradients().of(0, || dy.mul(&at.output()?.detach())),
        },
        Mistake {
            name: "off in the seventh digit",
            shapes: &[&[3]],
            forward: |x| Ok(x[0].exp()),
            right: |at, dy| at.gradients().of(0, || dy.mul(&at.output()?)),
            wrong: |at, dy| {
                at.gradients()
                    .of(0, || dy.mul(&at.output()?.scale(1.000_001)))
            },
        },
    ]
}

/// The gradient of the max pooling over pairs of rows, in recorded operations: to the larger of
/// each pair.
fn pooled_back(at: &Backward<'_, f64>, dy: &Var<f64>) -> Result<InputGradients<f64>> {
    let x = at.input(0)?;
    let y = x.value().max_pool2d_values(&pairs())?;
    let rows = x.shape()[1];
    let spread = Tensor::from_fn([rows], |at| (at[0] / 2) as i64)?;
    let won = x.value().eq(&y.index_select(1, &spread)?)?;
    at.gradients().of(0, || {
        dy.index_select(1, &spread)?.masked_fill(&won.not(), 0.0)
    })
}

#[test]
fn every_mistake_is_caught_and_every_right_derivative_passes() {
    let mistakes = mistakes();
    assert!(mistakes.len() >= 15);
    for mistake in mistakes {
        let Mistake {
            name,
            shapes,
            forward,
            right,
            wrong,
        } = mistake;
        check(shapes, forward, right).unwrap_or_else(|error| panic!("{name}, right: {error}"));
        let caught = check(shapes, forward, wrong);
        assert!(caught.is_err(), "not caught: {name}");
    }
}

#[test]
fn a_failure_says_where_and_by_how_much() {
    let factor = mistakes().remove(1);
    let error = check(factor.shapes, factor.forward, factor.wrong).unwrap_err();
    let text = error.to_string();
    for part in ["input 0", "analytic", "numeric", "ratio", "seed"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.contains("0.5") || text.contains("0.49"), "{text}");
}
