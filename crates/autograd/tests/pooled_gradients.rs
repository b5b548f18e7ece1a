//! A convolution, its rectifier and its pooling as one operation against the three, where the
//! gradients read the pooling's gradient as it is: in `f32`, which the catalogue's checks are not.

use autograd::{Result, Tape, Var, trace};
use tensor::{Conv2dOptions, Pool2dOptions, Tensor};

const SHAPES: [&[usize]; 3] = [&[2, 10, 8, 8], &[3, 3, 8, 12], &[12]];

fn inputs(tape: &Tape<f32>) -> Result<Vec<Var<f32>>> {
    let mut generator = tensor::generator(5);
    let values = SHAPES.map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut generator));
    values
        .into_iter()
        .map(|value| Ok(tape.variable(value?)))
        .collect()
}

type Layer = fn(&[Var<f32>]) -> Result<Var<f32>>;

fn fused(v: &[Var<f32>]) -> Result<Var<f32>> {
    let (options, pool) = (Conv2dOptions::new(), Pool2dOptions::new([2, 2]));
    v[0].conv2d_bias_relu_max_pool2d(&v[1], &v[2], &options, &pool)
}

fn composed(v: &[Var<f32>]) -> Result<Var<f32>> {
    let z = v[0].conv2d(&v[1], &Conv2dOptions::new())? + &v[2];
    z.relu().max_pool2d(&Pool2dOptions::new([2, 2]))
}

/// The gradients of `Σ y³` and those of the sum of their squares.
fn derivatives(layer: Layer) -> Result<Vec<Tensor<f32>>> {
    let tape = Tape::new();
    let v = inputs(&tape)?;
    let y = layer(&v)?;
    let first = (&y * &y * &y).sum(..)?.reverse().create_graph().run()?;
    let mut found = Vec::new();
    let mut squares = None;
    for input in &v {
        let gradient = first.var(input)?;
        found.push(gradient.value().clone());
        let square = (&gradient * &gradient).sum(..)?;
        squares = Some(match squares {
            Some(sum) => sum + square,
            None => square,
        });
    }
    let second = squares.expect("there are inputs").backward()?;
    for input in &v {
        found.push(second.of(input)?.clone());
    }
    Ok(found)
}

/// The gradients of `Σ y³`, not recorded.
fn gradients(layer: Layer) -> Result<Vec<Tensor<f32>>> {
    let tape = Tape::new();
    let v = inputs(&tape)?;
    let y = layer(&v)?;
    let gradients = (&y * &y * &y).sum(..)?.backward()?;
    v.iter().map(|input| gradients.of(input).cloned()).collect()
}

fn assert_close(found: &[Tensor<f32>], expected: &[Tensor<f32>]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0);
        for (a, b) in found.iter().zip(expected.iter()) {
            assert!((a - b).abs() <= 1e-4 * largest, "{i}: {a} {b}");
        }
    }
}

#[test]
fn gradients_are_those_of_the_parts_and_nothing_is_spread_out() -> Result<()> {
    let (ran, spans) = trace(|| gradients(fused));
    assert_close(&ran?, &gradients(composed)?);
    let ran = |name| spans.iter().any(|span| span.name == name);
    assert!(ran("conv2d_input_gradient") && ran("conv2d_filter_gradient"));
    assert!(!ran("max_pool2d_gradient"), "{spans:?}");
    Ok(())
}

#[test]
fn recorded_gradients_and_their_derivatives_are_those_of_the_parts() -> Result<()> {
    assert_close(&derivatives(fused)?, &derivatives(composed)?);
    Ok(())
}
