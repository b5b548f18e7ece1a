//! Gradients that pass a rectifier's gate on the way: the same numbers as without, in fewer passes.

use autograd::{Result, Tape, Var, trace};
use tensor::{Conv2dOptions, Padding, Pool2dOptions, Tensor};

fn numbers<const N: usize>(shape: [usize; N], seed: u64) -> Tensor<f32> {
    Tensor::normal(shape, 0.0, 1.0, &mut tensor::generator(seed)).unwrap()
}

/// What a hidden value is used for, besides the convolution that every case has.
type Use = fn(&Var<f32>) -> Result<Var<f32>>;

/// Gradients of images, first filters and bias; `seen` puts a hook on the rectifier's output, so
/// that nobody may gate its gradient.
fn gradients(other: Use, seen: bool) -> Result<([Tensor<f32>; 3], Vec<String>)> {
    let same = Conv2dOptions::new().padding(Padding::Same);
    let tape = Tape::new();
    let x = tape.variable(numbers([2, 9, 11, 8], 1));
    let w = tape.variable(numbers([3, 3, 8, 8], 2));
    let bias = tape.variable(numbers([8], 3));
    let hidden = x.conv2d_bias(&w, &bias, true, &same)?;
    if seen {
        hidden.on_gradient(|dy| Ok(dy.clone()))?;
    }
    let convolved = hidden.conv2d(&Var::from(numbers([3, 3, 8, 8], 4)), &same)?;
    let loss = convolved.square().sum(..)? + other(&hidden)?;
    let (found, spans) = trace(|| loss.backward());
    let found = found?;
    let names = spans.iter().map(|span| span.name.clone()).collect();
    let found = [&x, &w, &bias].map(|variable| found.of(variable).cloned());
    let [dx, dw, dbias] = found;
    Ok(([dx?, dw?, dbias?], names))
}

#[test]
fn a_gate_on_the_way_changes_no_bit() {
    let cases: [(&str, Use, bool); 3] = [
        ("convolution alone", |_| Ok(Var::from(0.0)), true),
        (
            "pooling too",
            |hidden| hidden.max_pool2d(&Pool2dOptions::new([2, 2]))?.sum(..),
            true,
        ),
        // Its gradient is not gated, so the sum is not.
        (
            "a sum of squares too",
            |hidden| hidden.square().sum(..),
            false,
        ),
    ];
    for (name, other, gated) in cases {
        let (expected, names) = gradients(other, true).unwrap();
        assert!(names.iter().any(|name| name == "relu_gradient"));
        let (found, names) = gradients(other, false).unwrap();
        assert_eq!(found, expected, "{name}");
        let passes = names.iter().filter(|name| *name == "relu_gradient").count();
        assert_eq!(passes, usize::from(!gated), "{name}: {names:?}");
    }
}

#[test]
fn a_gradient_that_is_asked_for_is_whole() {
    let tape = Tape::new();
    let x = tape.variable(
        Tensor::from([[-1.0_f32, 2.0], [3.0, -4.0]])
            .reshape([1, 2, 2, 1])
            .unwrap(),
    );
    let hidden = x.relu();
    let loss = hidden
        .max_pool2d(&Pool2dOptions::new([1, 1]))
        .and_then(|y| y.sum(..))
        .unwrap();
    let found = loss.reverse().keep_graph().only(&[&hidden]).run().unwrap();
    assert_eq!(found.of(&hidden).unwrap().to_vec(), [1.0; 4]);
    let found = loss.backward().unwrap();
    assert_eq!(found.of(&x).unwrap().to_vec(), [0.0, 1.0, 1.0, 0.0]);
}
