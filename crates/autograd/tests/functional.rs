//! Functional tools: nesting, perturbation confusion, recomputation, hooks.

use autograd::{
    Result, Tape, Var, checkpoint, custom_gradient, grad, gradcheck, gradgradcheck, hessian,
    hessian_vector_product, jacobian, jvp, vjp,
};
use tensor::Tensor;

fn scalar(x: f64) -> Var<f64> {
    Var::from(x)
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-10 * b.abs().max(1.0), "{a} is not {b}");
}

#[test]
fn inner_derivatives_do_not_see_outer_variables() {
    // d/dx [x · d/dy (x y)] at x: the inner derivative is x, so the whole is 2x.
    let outer = grad(|x: &Var<f64>| {
        let inner = grad(|y: &Var<f64>| x * y);
        x.mul(&inner(x)?)
    });
    close(outer(&scalar(3.0)).unwrap().item().unwrap(), 6.0);
}

#[test]
fn jacobians_agree_with_products() {
    let f = |x: &Var<f64>| x.sin().mul(&x.sum(..)?);
    let x = Var::from(Tensor::from([0.3, -0.7, 1.1]));
    let v = Var::from(Tensor::from([1.0, 0.5, -2.0]));
    let j = jacobian(f)(&x).unwrap().into_value();
    let (_, forward) = jvp(f, &x, &v).unwrap();
    let (_, back) = vjp(f, &x, &v).unwrap();
    for i in 0..3 {
        let row: f64 = (0..3).map(|k| j[[i, k]] * v.value()[[k]]).sum();
        let column: f64 = (0..3).map(|k| j[[k, i]] * v.value()[[k]]).sum();
        close(forward.value()[[i]], row);
        close(back.value()[[i]], column);
    }
}

#[test]
fn hessian_products_agree_with_the_hessian() {
    let f = |x: &Var<f64>| x.sin().mul(&x.exp())?.sum(..)?.mul(&x.sum(..)?);
    let x = Var::from(Tensor::from([0.3, -0.7]));
    let v = Var::from(Tensor::from([2.0, 0.5]));
    let h = hessian(f)(&x).unwrap().into_value();
    let product = hessian_vector_product(f, &x, &v).unwrap();
    for i in 0..2 {
        close(h[[i, 0]], h.t()[[i, 0]]);
        close(product.value()[[i]], h[[i, 0]] * 2.0 + h[[i, 1]] * 0.5);
    }
}

#[test]
fn recomputation_gives_the_same_gradients_to_second_order() {
    let f = |x: &[Var<f64>]| -> Result<Var<f64>> { Ok(x[0].mul(&x[1])?.sin().exp()) };
    let inputs = [Tensor::from([0.3, -0.7]), Tensor::from([1.3, 0.2])];
    let recomputed = |x: &[Var<f64>]| checkpoint(f, &[&x[0], &x[1]]);
    gradcheck(recomputed, &inputs).unwrap();
    gradgradcheck(recomputed, &inputs).unwrap();
}

#[test]
fn a_captured_variable_is_an_error_not_a_missing_gradient() {
    let tape = Tape::new();
    let (x, w) = (
        tape.variable(Tensor::scalar(1.0)),
        tape.variable(Tensor::scalar(2.0)),
    );
    let captured = w.clone();
    let error = checkpoint(move |x| x[0].mul(&captured), &[&x])
        .unwrap_err()
        .to_string();
    assert!(error.contains("was not given"), "{error}");
    let captured = w.clone();
    let result = custom_gradient(
        "scaled",
        move |x| x[0].mul(&captured),
        |_, _, dy| Ok(vec![dy.clone()]),
        &[&x],
    );
    assert!(result.is_err());
}

/// Operations that have another way where nothing is recorded must not take it here.
#[test]
fn a_captured_image_is_an_error_where_pooling_could_keep_nothing() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::scalar(1.0));
    let image = tape.variable(Tensor::<f64>::ones([1, 4, 4, 1]).unwrap());
    let filters = Var::constant(Tensor::ones([1, 1, 1, 1]).unwrap());
    let bias = Var::constant(Tensor::ones([1]).unwrap());
    let pool = tensor::Pool2dOptions::new([2, 2]);
    let captured = image.clone();
    let pooled = checkpoint(move |_| captured.max_pool2d(&pool), &[&x]);
    assert!(pooled.unwrap_err().to_string().contains("was not given"));
    let convolution = tensor::Conv2dOptions::new();
    let convolved = checkpoint(
        move |_| image.conv2d_bias_relu_max_pool2d(&filters, &bias, &convolution, &pool),
        &[&x],
    );
    assert!(convolved.unwrap_err().to_string().contains("was not given"));
}

#[test]
fn misshapen_requests_are_errors() {
    let x = Var::from(Tensor::from([1.0, 2.0]));
    assert!(
        grad(|x: &Var<f64>| x.sin())(&x)
            .unwrap_err()
            .to_string()
            .contains("jacobian")
    );
    assert!(grad(|_: &Var<f64>| scalar(1.0))(&x).is_err());
    assert!(jvp(|x: &Var<f64>| x.sin(), &x, &scalar(1.0)).is_err());
    assert!(vjp(|x: &Var<f64>| x.sin(), &x, &scalar(1.0)).is_err());
}

#[test]
fn a_custom_gradient_with_a_wrong_count_is_an_error() {
    for count in [0, 1, 3] {
        let tape = Tape::new();
        let (a, b) = (tape.variable(2.0.into()), tape.variable(3.0.into()));
        let vjp = move |_: &[Var<f64>], _: &Var<f64>, dy: &Var<f64>| Ok(vec![dy.clone(); count]);
        let sum = custom_gradient("sum", |x| x[0].add(&x[1]), vjp, &[&a, &b]).unwrap();
        let error = sum.backward().err().unwrap().to_string();
        let expected = format!("{count} gradients for 2 inputs");
        assert!(error.contains(&expected), "{error}");
    }
}
