//! The tape as its users meet it: accumulation, higher orders, errors, depth, memory.

use autograd::{
    Backward, ErrorKind, InputGradients, Inputs, Op, Result, Saves, Tape, Var, catalogue,
    elementwise, gradcheck, gradgradcheck, no_grad,
};
use tensor::{Float, Tensor};

fn scalar(tape: &Tape<f64>, x: f64) -> Var<f64> {
    tape.variable(Tensor::scalar(x))
}

#[test]
fn a_value_used_twice_and_three_times_collects_every_contribution() {
    let tape = Tape::new();
    let x = scalar(&tape, 3.0);
    assert_eq!(
        (&x * &x)
            .backward()
            .unwrap()
            .of(&x)
            .unwrap()
            .item()
            .unwrap(),
        6.0
    );
    let cube = &x * &x * &x;
    assert_eq!(
        cube.backward().unwrap().of(&x).unwrap().item().unwrap(),
        27.0
    );
    // A diamond: both branches start and end together.
    let (a, b) = (x.square(), x.exp());
    let top = &a * &b;
    let expected = (6.0 + 9.0) * 3f64.exp();
    let found = top.backward().unwrap().of(&x).unwrap().item().unwrap();
    assert!((found - expected).abs() < 1e-12 * expected);
}

#[test]
fn third_derivatives_by_nesting() {
    let tape = Tape::new();
    let x = scalar(&tape, 0.7);
    let y = x.sin() * x.exp();
    let d1 = y.reverse().create_graph().run().unwrap().var(&x).unwrap();
    let d2 = d1.reverse().create_graph().run().unwrap().var(&x).unwrap();
    let d3 = d2.backward().unwrap().of(&x).unwrap().item().unwrap();
    // (eˣ sin x)‴ = 2 eˣ (cos x − sin x)
    let expected = 2.0 * 0.7f64.exp() * (0.7f64.cos() - 0.7f64.sin());
    assert!((d3 - expected).abs() < 1e-12, "{d3} {expected}");
}

#[test]
fn a_missing_gradient_is_an_error_that_names_the_value() {
    let tape = Tape::new();
    let (x, unused) = (scalar(&tape, 1.0), scalar(&tape, 2.0));
    let gradients = x.exp().backward().unwrap();
    let error = gradients.of(&unused).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gradient);
    let text = error.to_string();
    assert!(
        text.contains("does not depend") && text.contains("engine.rs"),
        "{text}"
    );
    assert!(gradients.get(&unused).is_none());
    assert!(x.detach().exp().backward().is_err());
    assert!(no_grad(|| x.exp()).backward().is_err());
}

#[test]
fn misuse_is_an_error_with_its_fix() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::from([1.0, 2.0]));
    let y = x.exp();
    assert!(
        y.backward()
            .err()
            .unwrap()
            .to_string()
            .contains("not a single number")
    );
    let loss = y.sum(..).unwrap();
    loss.backward().unwrap();
    assert!(loss.backward().err().unwrap().to_string().contains("freed"));
    let other = Tape::new();
    let z = other.variable(Tensor::from([1.0, 2.0]));
    assert!(
        x.add(&z)
            .unwrap_err()
            .to_string()
            .contains("two different tapes")
    );
    let text = x
        .add(&Var::from(Tensor::from([1.0, 2.0, 3.0])))
        .unwrap_err()
        .to_string();
    assert!(text.contains("[2]") && text.contains("[3]"), "{text}");
}

#[test]
fn the_graph_can_be_kept_and_seeded() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::from([1.0, 2.0]));
    let y = x.square();
    for seed in [1.0, 10.0] {
        let seed = Var::from(Tensor::from([seed, 0.0]));
        let gradients = y.reverse().seed(&seed).keep_graph().run().unwrap();
        assert_eq!(
            gradients.of(&x).unwrap().to_vec(),
            [2.0 * seed.value()[[0]], 0.0]
        );
    }
}

#[test]
fn gradients_of_intermediate_values() {
    let tape = Tape::new();
    let x = scalar(&tape, 2.0);
    let middle = x.square();
    let y = middle.exp();
    let gradients = y.reverse().only(&[&middle]).run().unwrap();
    assert_eq!(gradients.of(&middle).unwrap().item().unwrap(), 4f64.exp());
    assert!(gradients.of(&x).is_err());
}

/// Rows of `x` against rows of `w`, as an op from outside.
struct MatmulTransposedByRows;

impl<T: Float> Op<T> for MatmulTransposedByRows {
    fn name(&self) -> &str {
        "rows"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [a, b] = inputs.exactly()?;
        a.mul(b)?.sum(-1)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let [a, b] = at.inputs()?;
        let column = dy.reshape([dy.shape()[0], 1])?;
        at.gradients()
            .of(0, || column.mul(&b))?
            .of(1, || column.mul(&a))
    }
}

#[test]
fn ops_from_outside_are_checked_to_second_order() {
    let a = Tensor::from([[0.3, 1.2, -0.7], [0.1, 0.4, 0.9]]);
    let b = Tensor::from([[1.3, 0.2, -0.4], [0.8, -0.4, 0.5]]);
    let f = |v: &[Var<f64>]| MatmulTransposedByRows.apply(&[&v[0], &v[1]]);
    gradcheck(f, &[a.clone(), b.clone()]).unwrap();
    gradgradcheck(f, &[a, b]).unwrap();
    let softsign = |v: &[Var<f64>]| {
        elementwise(
            "softsign",
            |x: f64| x / (1.0 + x.abs()),
            |x, _| (x.abs() + 1.0).reciprocal().square(),
        )
        .apply(&[&v[0]])
    };
    gradcheck(softsign, &[Tensor::from([0.5, -1.0, 2.0])]).unwrap();
    gradgradcheck(softsign, &[Tensor::from([0.5, -1.0, 2.0])]).unwrap();
}

#[test]
fn every_catalogue_entry_passes_first_and_second_order_and_its_reference() {
    assert!(catalogue().len() >= 27);
    for entry in catalogue() {
        for range in entry.smooth_on {
            let x = Tensor::linspace(range.start + 0.01, range.end - 0.01, 7).unwrap();
            let f = |v: &[Var<f64>]| Ok((entry.function)(&v[0]));
            let x = &x;
            gradcheck(f, std::slice::from_ref(x)).unwrap_or_else(|e| panic!("{}: {e}", entry.name));
            gradgradcheck(f, std::slice::from_ref(x))
                .unwrap_or_else(|e| panic!("{}: {e}", entry.name));
            for (y, x) in (entry.forward.0)(x).iter().zip(x.iter()) {
                let expected = (entry.reference)(x);
                let close = (y - expected).abs() <= 1e-12 * expected.abs().max(1.0);
                assert!(close, "{}({x}) = {y}, not {expected}", entry.name);
            }
        }
    }
}

/// Gradients that are not recorded take one pass where a derivative has many steps.
#[test]
fn gradients_in_one_pass_are_those_of_the_steps() {
    let special = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        3.0,
        -3.0,
    ];
    let many = Tensor::<f64>::linspace(-7.0, 7.0, 20_001).unwrap();
    let values: Vec<f64> = many.iter().chain(special).collect();
    let values = Tensor::from_vec(values, [20_008]).unwrap();
    let weights = values.map(|x| if x.is_finite() { (x * 31.0).cos() } else { 1.0 });
    for entry in catalogue() {
        let tape = Tape::new();
        let x = tape.variable(values.clone());
        let loss = (entry.function)(&x).mul(&Var::constant(weights.clone()));
        let loss = loss.unwrap().sum(..).unwrap();
        let steps = loss.reverse().create_graph().run().unwrap();
        let steps = steps.var(&x).unwrap().into_value();
        let found = loss.backward().unwrap().of(&x).unwrap().clone();
        for (x, (a, b)) in values.iter().zip(steps.iter().zip(found.iter())) {
            let same = (a - b).abs() <= 1e-15 || a == b || a.is_nan() && b.is_nan();
            assert!(same, "{} at {x}: {a} by steps, {b} in one pass", entry.name);
        }
    }
}

/// `a + b` with derivatives given for these inputs, in this order.
struct SumWith(&'static [usize]);

impl Op<f64> for SumWith {
    fn name(&self) -> &str {
        "sum_with"
    }
    fn forward(&mut self, inputs: Inputs<'_, f64>) -> Result<Tensor<f64>> {
        let [a, b] = inputs.exactly()?;
        a.add(b)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, f64>, dy: &Var<f64>) -> Result<InputGradients<f64>> {
        let mut given = at.gradients();
        for &index in self.0 {
            given = given.of(index, || Ok(dy.clone()))?;
        }
        Ok(given)
    }
}

#[test]
fn a_gradient_given_twice_or_for_no_input_is_an_error() {
    let run = |given| {
        let tape = Tape::new();
        let (a, b) = (scalar(&tape, 1.0), scalar(&tape, 2.0));
        SumWith(given).apply(&[&a, &b])?.backward().map(|_| ())
    };
    run(&[1, 0]).unwrap();
    for (given, message) in [
        (&[0, 1, 0][..], "the gradient of input 0 was given twice"),
        (&[0, 1, 2], "for input 2, and there are 2 inputs"),
        (&[0, usize::MAX, 1], "there are 2 inputs"),
        (&[0], "gave no gradient for input 1"),
    ] {
        let error = run(given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gradient);
        let text = error.to_string();
        let named = text.contains("sum_with") && text.contains("engine.rs");
        assert!(named && text.contains(message), "{given:?}: {text}");
    }
}

#[test]
fn a_scope_ends_when_its_body_panics() {
    let tape = Tape::new();
    tape.detect_anomalies(true);
    let x = scalar(&tape, 0.0);
    let body = std::panic::AssertUnwindSafe(|| tape.scope("broken", || panic!("on purpose")));
    assert!(std::panic::catch_unwind(body).is_err());
    let text = x.log().backward().err().unwrap().to_string();
    assert!(!text.contains("broken"), "{text}");
}

/// A wrong derivative on purpose.
fn wrong(derivative: impl Fn(&Var<f64>, &Var<f64>) -> Var<f64> + Copy + 'static) -> Result<()> {
    gradcheck(
        move |v| elementwise("wrong", |x: f64| x * x, derivative).apply(&[&v[0]]),
        &[Tensor::from([0.5, -1.0, 2.0])],
    )
}

#[test]
fn the_checker_catches_wrong_gradients() {
    assert!(wrong(|x, _| x * 2.0).is_ok());
    assert!(wrong(|x, _| x * -2.0).is_err());
    assert!(wrong(|x, _| x * 2.001).is_err());
    assert!(wrong(|x, _| x * 2.0 + 1e-5).is_err());
    assert!(wrong(|x, _| x.abs() * 2.0).is_err());
    assert!(wrong(|x, _| x * f64::NAN).is_err());
    assert!(wrong(|x, _| x.zeros_like()).is_err());
}

#[test]
fn a_million_nodes_on_a_small_stack() {
    let run = || {
        let tape = Tape::new();
        let x = tape.variable(Tensor::scalar(0.0));
        let mut y = x.clone();
        for _ in 0..1_000_000 {
            y = y.shift(1e-6);
        }
        assert_eq!(tape.len(), 1_000_001);
        assert_eq!(y.backward().unwrap().of(&x).unwrap().item().unwrap(), 1.0);
    };
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn anomalies_name_the_operation_the_scope_and_the_line() {
    let tape = Tape::new();
    tape.detect_anomalies(true);
    let x = tape.variable(Tensor::from([0.0, 1.0]));
    let loss = tape.scope("layer 3", || x.log()).exp().sum(..).unwrap();
    let text = loss.backward().err().unwrap().to_string();
    assert!(
        text.contains("`log` in `layer 3`") && text.contains("engine.rs"),
        "{text}"
    );
    let tape = Tape::new();
    tape.detect_anomalies(true);
    let x = tape.variable(Tensor::from([0.0, 1.0]));
    let loss = x.sqrt().sum(..).unwrap();
    let text = loss.backward().err().unwrap().to_string();
    assert!(text.contains("sqrt") && text.contains("gradient"), "{text}");
}

/// The derivative of a product takes time and memory linear in the number of factors, zeros or not
/// (a square of this length would take 80 GB), and has the digits that a quotient would lose.
#[test]
fn derivatives_of_products_are_linear_and_divide_nothing() {
    let tape = Tape::new();
    let mut factors = vec![1.0_f64; 100_000];
    (factors[7], factors[99_000]) = (0.0, 3.0);
    let x = tape.variable(Tensor::from_vec(factors, 100_000).unwrap());
    let product = x.prod(..).unwrap().backward().unwrap();
    let slopes = product.of(&x).unwrap().to_vec();
    assert_eq!((slopes[7], slopes[0], slopes[99_000]), (3.0, 0.0, 0.0));
    let running = x.cumprod(0).unwrap().sum(..).unwrap().backward().unwrap();
    let slopes = running.of(&x).unwrap().to_vec();
    // Products without element 7 are 1 up to element 99,000 and 3 from there on.
    assert_eq!(slopes[7], (99_000.0 - 7.0) + 3.0 * 1000.0);
    assert_eq!((slopes[0], slopes[8]), (7.0, 0.0));

    let tiny = tape.variable(Tensor::from([1e-200, 1e-200]));
    let product = tiny.prod(..).unwrap().backward().unwrap();
    assert_eq!(product.of(&tiny).unwrap().to_vec(), [1e-200, 1e-200]);
}

#[test]
fn what_is_handed_out_is_what_a_pass_finds_products_or_not() {
    let mut generator = tensor::generator(5);
    let mut normal =
        |shape: &[usize]| Tensor::<f64>::normal(shape, 0.0, 1.0, &mut generator).unwrap();
    // Large enough for its gradient to come as a product.
    let (x, w, b) = (normal(&[4, 512]), normal(&[512, 300]), normal(&[300]));
    {
        let tape = Tape::new();
        let y = Var::constant(x.clone()).matmul(&tape.variable(w.clone()));
        let mut products = 0;
        let take = |_, gradient: tensor::Factored<f64>| {
            products += usize::from(gradient.is_product());
            Ok::<(), tensor::Error>(())
        };
        y.unwrap()
            .sum(..)
            .unwrap()
            .reverse()
            .hand_out(take)
            .unwrap();
        assert_eq!(products, 1, "a product without bias, too");
    }
    for uses in 1..=3 {
        for other_use in [false, true] {
            let record = || {
                let tape = Tape::new();
                let weights = [tape.variable(w.clone()), tape.variable(b.clone())];
                let mut sum = tape.variable(Tensor::scalar(0.0));
                for _ in 0..uses {
                    let y = Var::constant(x.clone()).matmul_bias(&weights[0], &weights[1], true);
                    sum = sum + y.unwrap().square().sum(..).unwrap();
                }
                if other_use {
                    sum = sum + weights[0].square().sum(..).unwrap();
                }
                (sum, weights)
            };
            let (sum, weights) = record();
            let expected = sum.backward().unwrap();
            let (sum, _) = record();
            let mut found = [None, None];
            let take = |number: usize, gradient: tensor::Factored<f64>| {
                assert_eq!(
                    gradient.is_product(),
                    number == 0 && uses == 1 && !other_use
                );
                if let Some(slot) = found.get_mut(number) {
                    assert!(slot.replace(gradient.into_tensor()?).is_none());
                }
                Ok::<(), tensor::Error>(())
            };
            sum.reverse().hand_out(take).unwrap();
            for (found, weight) in found.into_iter().zip(&weights) {
                let (found, expected) = (found.unwrap(), expected.of(weight).unwrap());
                let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
                for (found, expected) in found.iter().zip(expected.iter()) {
                    assert!((found - expected).abs() <= 1e-13 * largest);
                }
            }
        }
    }
}
