//! Closures that tapes keep, and functions differentiated within each other, leave no memory behind.
//!
//! One test, so that nothing else in the process allocates meanwhile.

use std::alloc::System;

use autograd::{Op, Result, Tape, Var, checkpoint, custom_gradient, elementwise, grad, jvp};
use cap::Cap;
use tensor::Tensor;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn variable(tape: &Tape<f64>) -> Var<f64> {
    tape.variable(Tensor::ones([16]).unwrap())
}

type Step = fn(&Tape<f64>) -> Result<()>;

/// Steps that end in an error or not.
fn steps() -> [(&'static str, Step); 9] {
    [
        ("a hook that holds its value", |tape| {
            let x = variable(tape);
            let held = x.clone();
            x.on_gradient(move |dy| dy.mul(&held))?;
            x.sum(..)?.backward().map(|_| ())
        }),
        ("a hook that holds another value", |tape| {
            let (x, y) = (variable(tape), variable(tape).exp());
            x.on_gradient(move |dy| dy.mul(&y.detach()))?;
            x.sum(..)?.backward().map(|_| ())
        }),
        ("a derivative", |tape| {
            let x = variable(tape);
            let held = x.clone();
            let derivative =
                move |_: &[Var<f64>], _: &Var<f64>, dy: &Var<f64>| Ok(vec![dy.mul(&held)?]);
            custom_gradient("held", |x| Ok(x[0].exp()), derivative, &[&x]).map(|_| ())
        }),
        ("the forward half", |tape| {
            let x = variable(tape);
            let held = x.clone();
            let forward = move |x: &[Var<f64>]| x[0].mul(&held.value().into());
            custom_gradient("held", forward, |_, _, dy| Ok(vec![dy.clone()]), &[&x]).map(|_| ())
        }),
        ("what is computed again", |tape| {
            let x = variable(tape);
            let held = x.clone();
            checkpoint(move |x| x[0].mul(&held.value().into()), &[&x]).map(|_| ())
        }),
        ("an elementwise derivative", |tape| {
            let x = variable(tape);
            let held = x.clone();
            let op = elementwise("held", |x: f64| x, move |x, _| x * held.value()[[0]]);
            op.apply(&[&x]).map(|_| ())
        }),
        ("an inner function at a constant", |tape| {
            let x = variable(tape);
            let inner = grad(|y: &Var<f64>| x.mul(&y.square())?.sum(..))(&Var::from(3.0))?;
            inner.backward().map(|_| ())
        }),
        ("inner functions within each other", |tape| {
            let x = variable(tape);
            let inner = |y: &Var<f64>| {
                let f = |z: &Var<f64>| x.mul(y)?.mul(z)?.sum(..);
                Ok(jvp(f, &Var::from(3.0), &Var::from(1.0))?.1)
            };
            grad(inner)(&Var::from(2.0))?.backward().map(|_| ())
        }),
        ("an inner function whose graph is kept", |tape| {
            let x = variable(tape);
            grad(grad(|y: &Var<f64>| x.mul(&y.square())?.sum(..)))(&Var::from(3.0)).map(|_| ())
        }),
    ]
}

#[test]
fn nothing_is_left_of_a_step() {
    for (name, step) in steps() {
        let run = || {
            // The tensors' pool keeps released memory, so all of it is small.
            let _ = step(&Tape::new());
        };
        for _ in 0..100 {
            run();
        }
        let before = ALLOCATOR.allocated();
        for _ in 0..2000 {
            run();
        }
        let grown = ALLOCATOR.allocated().saturating_sub(before);
        assert!(grown < 4096, "{name}: {grown} bytes after 2,000 steps");
    }
}
