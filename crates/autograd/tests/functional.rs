//! Functional tools: nesting, perturbation confusion, recomputation, hooks.

use autograd::{
    Op, Result, Tape, Var, checkpoint, custom_gradient, elementwise, grad, gradcheck,
    gradgradcheck, hessian, hessian_vector_product, jacobian, jvp, no_grad, value_and_grad, vjp,
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

fn item(x: Result<Var<f64>>) -> f64 {
    x.unwrap().item().unwrap()
}

/// `x ↦ ∂/∂y f(x, y)` at a constant `y`, by each tool.
type Inner = fn(&Var<f64>, f64, fn(&Var<f64>, &Var<f64>) -> Result<Var<f64>>) -> Result<Var<f64>>;

fn tools() -> [(&'static str, Inner); 6] {
    [
        ("grad", |x, y, f| grad(|y: &Var<f64>| f(x, y))(&scalar(y))),
        ("value_and_grad", |x, y, f| {
            Ok(value_and_grad(|y: &Var<f64>| f(x, y))(&scalar(y))?.1)
        }),
        ("vjp", |x, y, f| {
            Ok(vjp(|y: &Var<f64>| f(x, y), &scalar(y), &scalar(1.0))?.1)
        }),
        ("jvp", |x, y, f| {
            Ok(jvp(|y: &Var<f64>| f(x, y), &scalar(y), &scalar(1.0))?.1)
        }),
        ("jacobian", |x, y, f| {
            jacobian(|y: &Var<f64>| f(x, y))(&scalar(y))
        }),
        ("hand", |x, y, f| {
            let y = match x.tape() {
                Some(tape) => tape.variable(Tensor::scalar(y)),
                None => Tape::new().variable(Tensor::scalar(y)),
            };
            f(x, &y)?.reverse().create_graph().run()?.var(&y)
        }),
    ]
}

#[test]
fn inner_functions_at_constants_see_outer_variables() {
    // ∂/∂y (x y²) = 2xy, and that by x is 2y.
    for (name, inner) in tools() {
        let outer = grad(move |x: &Var<f64>| inner(x, 3.0, |x, y| x.mul(&y.square())));
        assert_eq!(item(outer(&scalar(2.0))), 6.0, "{name}");
        // A variable of a tape that the user made.
        let tape = Tape::new();
        let x = tape.variable(Tensor::scalar(2.0));
        let y = inner(&x, 3.0, |x, y| x.mul(&y.square())).unwrap();
        assert_eq!(y.item().unwrap(), 12.0, "{name}");
        assert_eq!(
            y.backward().unwrap().of(&x).unwrap().item().unwrap(),
            6.0,
            "{name}"
        );
    }
}

#[test]
fn every_order_goes_through_an_inner_function() {
    // ∂/∂y sin(x y) = x cos(x y), at y = 3.
    for (name, inner) in tools() {
        let f = move |x: &Var<f64>| inner(x, 3.0, |x, y| Ok(x.mul(y)?.sin()));
        let x = 0.4_f64;
        let (sin, cos) = (3.0 * x).sin_cos();
        close(item(grad(f)(&scalar(x))), cos - 3.0 * x * sin);
        let second = -6.0 * sin - 9.0 * x * cos;
        close(item(grad(grad(f))(&scalar(x))), second);
        close(item(hessian(f)(&scalar(x))), second);
        let along = jvp(grad(f), &scalar(x), &scalar(2.0)).unwrap().1;
        close(along.item().unwrap(), 2.0 * second);
        gradcheck(move |x| f(&x[0]), &[Tensor::scalar(x)])
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        gradgradcheck(move |x| f(&x[0]), &[Tensor::scalar(x)])
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn three_functions_within_each_other_at_constants() {
    // f = x y² z³; ∂f/∂z = 3 x y² z², by y: 6 x y z², by x: 6 y z².
    let outer = |x: f64, y: f64, z: f64| {
        grad(move |x: &Var<f64>| {
            grad(|y: &Var<f64>| {
                grad(|z: &Var<f64>| x.mul(&y.square())?.mul(&z.powf(3.0)))(&scalar(z))
            })(&scalar(y))
        })(&scalar(x))
    };
    close(item(outer(2.0, 3.0, 5.0)), 6.0 * 3.0 * 25.0);
    // The innermost uses the outermost alone.
    let skipping = grad(|x: &Var<f64>| {
        grad(|y: &Var<f64>| {
            let inner = grad(|z: &Var<f64>| x.mul(&z.square()))(&scalar(5.0))?;
            inner.mul(&y.square())
        })(&scalar(3.0))
    });
    close(item(skipping(&scalar(2.0))), 2.0 * 5.0 * 2.0 * 3.0);
}

/// The same name for the inner and the outer point: each derivative is by its own.
#[test]
fn equal_points_are_not_confused() {
    let f = grad(|x: &Var<f64>| {
        let slope = grad(|y: &Var<f64>| x.mul(&y.square()))(&scalar(2.0))?;
        slope.mul(&grad(|y: &Var<f64>| x.add(&y.mul(x)?))(x)?)
    });
    // (2 · 2 x) · x, so 8 x.
    close(item(f(&scalar(2.0))), 16.0);
    // The value of an inner function mixes with outer variables, too.
    let g = grad(|x: &Var<f64>| {
        let (value, slope) = value_and_grad(|y: &Var<f64>| y.exp())(&scalar(1.0))?;
        x.square().mul(&value)?.mul(&slope)
    });
    close(item(g(&scalar(3.0))), 6.0 * 2f64.exp());
}

#[test]
fn vectors_may_be_outer_variables() {
    // d/dv of the product of the Jacobian of y² with v, and of v with it.
    let f = grad(|v: &Var<f64>| {
        jvp(|y: &Var<f64>| y.square(), &scalar(3.0), v)?
            .1
            .square()
            .sum(..)
    });
    close(item(f(&scalar(2.0))), 2.0 * 12.0 * 6.0);
    let f = grad(|v: &Var<f64>| {
        vjp(|y: &Var<f64>| y.square(), &scalar(3.0), v)?
            .1
            .square()
            .sum(..)
    });
    close(item(f(&scalar(2.0))), 2.0 * 12.0 * 6.0);
}

#[test]
fn variables_are_numbered_as_if_no_function_had_been_differentiated() {
    let tape = Tape::new();
    let a = tape.variable(Tensor::scalar(2.0));
    let slope = grad(|y: &Var<f64>| a.mul(&y.square()))(&scalar(3.0)).unwrap();
    let along = jvp(
        |y: &Var<f64>| a.mul(&y.square()),
        &scalar(3.0),
        &scalar(1.0),
    )
    .unwrap()
    .1;
    let b = tape.variable(Tensor::scalar(5.0));
    let loss = slope
        .mul(&b)
        .and_then(|product| product.add(&along))
        .unwrap();
    let mut found = Vec::new();
    let take = |number, gradient: tensor::Factored<f64>| {
        found.push((number, gradient.into_tensor()?.item()?));
        Ok::<(), tensor::Error>(())
    };
    loss.reverse().hand_out(take).unwrap();
    assert_eq!(found, [(1, 12.0), (0, 36.0)]);
}

#[test]
fn derivatives_of_linear_functions_are_zeros() {
    let x = Var::from(Tensor::from([1.0, 2.0]));
    let weights = Var::from(Tensor::from([3.0, 4.0]));
    let linear = |x: &Var<f64>| x.mul(&weights)?.sum(..);
    let square = |x: &Var<f64>| x.square().sum(..);
    let zeros = hessian(linear)(&x).unwrap();
    assert_eq!(zeros.value(), &Tensor::zeros([2, 2]).unwrap());
    let third = jacobian(jacobian(grad(square)))(&x).unwrap();
    assert_eq!(third.value(), &Tensor::zeros([2, 2, 2]).unwrap());
    assert_eq!(
        hessian_vector_product(linear, &x, &x)
            .unwrap()
            .value()
            .to_vec(),
        [0.0; 2]
    );
    let (_, along) = jvp(grad(linear), &x, &x).unwrap();
    assert_eq!(along.value().to_vec(), [0.0; 2]);
    let (_, pulled) = vjp(grad(linear), &x, &x).unwrap();
    assert_eq!(pulled.value().to_vec(), [0.0; 2]);
    for order in 2..6 {
        type Function = Box<dyn Fn(&Var<f64>) -> Result<Var<f64>>>;
        let mut f: Function = Box::new(|x| Ok(x * 3.0));
        for _ in 0..order {
            f = Box::new(grad(f));
        }
        assert_eq!(item(f(&scalar(2.0))), 0.0, "order {order}");
    }
    // ∂/∂y (x + y²) does not depend on x.
    for (name, inner) in tools() {
        if name != "hand" {
            let f = grad(move |x: &Var<f64>| inner(x, 3.0, |x, y| x.add(&y.square())));
            assert_eq!(item(f(&scalar(2.0))), 0.0, "{name}");
        }
    }
    // A function that does not use its argument is a mistake still.
    for f in [
        grad(|_: &Var<f64>| scalar(1.0))(&scalar(1.0)),
        grad(|_: &Var<f64>| weights.sum(..))(&scalar(1.0)),
    ] {
        assert!(f.unwrap_err().to_string().contains("does not depend"));
    }
}

#[test]
fn tapes_that_the_user_made_stay_apart() {
    let (one, other) = (Tape::new(), Tape::new());
    let (x, y) = (
        one.variable(Tensor::scalar(1.0)),
        other.variable(Tensor::scalar(2.0)),
    );
    let error = x.mul(&y).unwrap_err().to_string();
    assert!(
        error.contains("two different tapes") && error.contains("no gradient"),
        "{error}"
    );
    let f = |z: &Var<f64>| z.mul(&x)?.mul(&y);
    assert!(
        grad(f)(&scalar(3.0))
            .unwrap_err()
            .to_string()
            .contains("two different tapes")
    );
}

/// What a closure does with a variable that it was not given.
type Capture = fn(&Var<f64>, &Var<f64>) -> Result<Var<f64>>;

fn captures() -> [(&'static str, Capture); 5] {
    [
        ("a product", |given, captured| given.mul(captured)),
        ("a function of it alone", |_, captured| {
            captured.mul(captured)
        }),
        ("a clone", |_, captured| Ok(captured.clone())),
        ("an inner function", |given, captured| {
            grad(|y: &Var<f64>| y.mul(captured))(given)
        }),
        ("an alias", |_, captured| captured.reshape([])),
    ]
}

fn assert_refused<R>(what: &str, result: Result<R>) {
    let text = result
        .err()
        .unwrap_or_else(|| panic!("{what} is accepted"))
        .to_string();
    assert!(
        text.contains("was not given") && text.contains("fix"),
        "{what}: {text}"
    );
}

#[test]
fn captured_variables_are_refused_wherever_they_are_used() {
    for (what, capture) in captures() {
        for same_tape in [true, false] {
            let tape = Tape::new();
            let x = tape.variable(Tensor::scalar(3.0));
            let other = if same_tape { tape.clone() } else { Tape::new() };
            let captured = other.variable(Tensor::scalar(2.0));
            let what = format!("{what}, same tape: {same_tape}");
            let w = captured.clone();
            let forward = move |x: &[Var<f64>]| capture(&x[0], &w);
            let dy = |_: &[Var<f64>], _: &Var<f64>, dy: &Var<f64>| Ok(vec![dy.clone()]);
            assert_refused(&what, custom_gradient("c", forward.clone(), dy, &[&x]));
            assert_refused(&what, checkpoint(forward, &[&x]));
            // In a derivative: when it is recorded, or when it runs.
            for hidden in [false, true] {
                for create_graph in [false, true] {
                    let vjp = {
                        let w = captured.clone();
                        move |_: &[Var<f64>], _: &Var<f64>, dy: &Var<f64>| {
                            capture(dy, &w).map(|g| vec![g])
                        }
                    };
                    let shared = std::rc::Rc::new(captured.clone());
                    let hidden_vjp = move |_: &[Var<f64>], _: &Var<f64>, dy: &Var<f64>| {
                        capture(dy, &shared).map(|g| vec![g])
                    };
                    let square = |x: &[Var<f64>]| Ok(x[0].square());
                    let y = match hidden {
                        true => custom_gradient("c", square, hidden_vjp, &[&x]),
                        false => custom_gradient("c", square, vjp, &[&x]),
                    };
                    let gradient = y.and_then(|y| match create_graph {
                        true => y.reverse().create_graph().run(),
                        false => y.backward(),
                    });
                    assert_refused(&what, gradient);
                }
            }
        }
    }
}

#[test]
fn closures_may_use_what_they_are_given_and_what_they_make() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::scalar(3.0));
    let constant = scalar(2.0);
    let value = x.value().clone();
    let inner = grad(|y: &Var<f64>| y.powf(3.0));
    let y = custom_gradient(
        "cube",
        // An inner function, and variables of a tape of its own.
        move |x| {
            let own = Tape::new().variable(x[0].value().clone());
            grad(|y: &Var<f64>| y.powf(4.0))(&x[0])?
                .scale(0.25)
                .add(&own.scale(0.0).detach())
        },
        |x, _, dy| Ok(vec![vjp(|y: &Var<f64>| y.powf(3.0), &x[0], dy)?.1]),
        &[&x],
    );
    let y = y.unwrap();
    close(y.item().unwrap(), 27.0);
    let first = y.reverse().create_graph().run().unwrap().var(&x).unwrap();
    close(first.item().unwrap(), 27.0);
    close(
        first.backward().unwrap().of(&x).unwrap().item().unwrap(),
        18.0,
    );
    // Constants, values, and results that are the arguments themselves.
    let y = custom_gradient(
        "scaled",
        move |x| x[0].mul(&constant)?.mul(&value.clone().into()),
        |x, y, dy| {
            Ok(vec![
                dy.mul(&x[0])?.add(y)?.sub(&no_grad(|| x[0].square()))?,
            ])
        },
        &[&x],
    );
    assert!(y.unwrap().backward().is_ok());
    close(item(checkpoint(|x| Ok(x[0].clone()), &[&x])), 3.0);
    close(
        item(checkpoint(
            move |x| grad(|y: &Var<f64>| y.powf(2.0))(&x[0]),
            &[&x],
        )),
        6.0,
    );
    close(item(inner(&scalar(2.0))), 12.0);
}

#[test]
fn closures_that_would_keep_their_tape_are_refused() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::scalar(3.0));
    let y = x.square();
    let held = x.clone();
    let error = y.on_gradient(move |dy| dy.mul(&held)).unwrap_err();
    assert_eq!(error.operation(), "on_gradient");
    assert_refused("a hook", Err::<(), _>(error));
    // Even if it is used for its value alone, or lies in a list.
    let held = [scalar(1.0), x.clone()];
    assert_refused("a hook", y.on_gradient(move |dy| dy.mul(&held[1].detach())));
    let held = x.clone();
    let op = elementwise("held", |x: f64| x, move |_, _| held.ones_like());
    assert_refused("elementwise", op.apply(&[&x]));
    // Values, constants, and variables of other tapes are no cycle.
    let (value, constant) = (x.value().clone(), scalar(2.0));
    let other = Tape::new().variable(Tensor::scalar(1.0));
    y.on_gradient(move |dy| {
        dy.mul(&value.clone().into())?
            .mul(&constant)?
            .mul(&other.detach())
    })
    .unwrap();
    close(
        y.backward().unwrap().of(&x).unwrap().item().unwrap(),
        3.0 * 2.0 * 6.0,
    );
}
