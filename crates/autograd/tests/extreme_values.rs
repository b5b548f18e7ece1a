//! Derivatives of elementwise functions over the whole range of `f32`: from the smallest numbers to
//! the largest, at infinities, and within a few units of the last place of every branch point.
//!
//! The reference is the same derivative in `f64`, whose range and digits leave room for every step on
//! the way: what differs by more than a few units of the last place has overflowed, vanished or
//! lost its digits before the end. What the two have in common, the other tests see: finite
//! differences, and the values expected at infinities.

use std::collections::BTreeSet;
use std::path::Path;

use autograd::{Float, Result, Tape, Tensor, Var, catalogue};

/// A function of one element at both precisions.
struct Unary {
    name: &'static str,
    single: fn(&Var<f32>) -> Var<f32>,
    double: fn(&Var<f64>) -> Var<f64>,
}

/// A function of two elements at both precisions.
struct Binary {
    name: &'static str,
    single: fn(&Var<f32>, &Var<f32>) -> Result<Var<f32>>,
    double: fn(&Var<f64>, &Var<f64>) -> Result<Var<f64>>,
}

/// Both precisions of a generic function.
macro_rules! both {
    ($kind:ident, $name:literal, $function:path) => {
        $kind {
            name: $name,
            single: $function,
            double: $function,
        }
    };
}

fn leaky_relu<T: Float>(x: &Var<T>) -> Var<T> {
    x.leaky_relu(0.125)
}
fn elu<T: Float>(x: &Var<T>) -> Var<T> {
    x.elu(0.75)
}
fn negative_power<T: Float>(x: &Var<T>) -> Var<T> {
    x.powf(-1.25)
}
fn root<T: Float>(x: &Var<T>) -> Var<T> {
    x.powf(0.5)
}
fn cube<T: Float>(x: &Var<T>) -> Var<T> {
    x.powf(3.0)
}
fn clamp<T: Float>(x: &Var<T>) -> Var<T> {
    x.clamp(T::constant(-1.0), T::constant(3.0)).unwrap()
}
fn scale<T: Float>(x: &Var<T>) -> Var<T> {
    x.scale(3.0)
}
fn shift<T: Float>(x: &Var<T>) -> Var<T> {
    x.shift(3.0)
}
fn polygamma<T: Float>(x: &Var<T>) -> Var<T> {
    x.polygamma(1).unwrap()
}
fn huber<T: Float>(x: &Var<T>, target: &Var<T>) -> Result<Var<T>> {
    x.huber_loss(target, 1.0)
}

fn unary() -> Vec<Unary> {
    let catalogue = catalogue().into_iter().map(|entry| Unary {
        name: entry.name,
        single: entry.function_f32,
        double: entry.function,
    });
    let others = [
        both!(Unary, "relu", Var::relu),
        both!(Unary, "leaky_relu", leaky_relu),
        both!(Unary, "elu", elu),
        both!(Unary, "powf", negative_power),
        both!(Unary, "powf", root),
        both!(Unary, "powf", cube),
        both!(Unary, "clamp", clamp),
        both!(Unary, "scale", scale),
        both!(Unary, "shift", shift),
        both!(Unary, "polygamma", polygamma),
    ];
    catalogue.chain(others).collect()
}

fn binary() -> Vec<Binary> {
    vec![
        both!(Binary, "add", Var::add),
        both!(Binary, "sub", Var::sub),
        both!(Binary, "mul", Var::mul),
        both!(Binary, "div", Var::div),
        both!(Binary, "pow", Var::pow),
        both!(Binary, "rem", Var::rem),
        both!(Binary, "atan2", Var::atan2),
        both!(Binary, "hypot", Var::hypot),
        both!(Binary, "maximum", Var::maximum),
        both!(Binary, "minimum", Var::minimum),
        both!(Binary, "squared_error", Var::squared_error),
        both!(Binary, "absolute_error", Var::absolute_error),
        both!(Binary, "huber_loss", huber),
        both!(Binary, "hinge_loss", Var::hinge_loss),
        both!(Binary, "binary_cross_entropy", Var::binary_cross_entropy),
        both!(
            Binary,
            "binary_cross_entropy_with_logits",
            Var::binary_cross_entropy_with_logits
        ),
    ]
}

/// Numbers of every size, and some units of the last place around every place where a function of
/// the catalogue bends, ends or has a zero of its slope.
fn points() -> Vec<f32> {
    let powers = (-126..128).flat_map(|exponent| [1.0, 1.37].map(|m: f32| m * 2f32.powi(exponent)));
    let mut points: Vec<f32> = powers.filter(|x| x.is_finite()).collect();
    points.extend([f32::MAX, f32::MIN_POSITIVE, f32::INFINITY]);
    for place in [
        0.5,
        1.0,
        1.5,
        2.0,
        3.0,
        std::f32::consts::FRAC_PI_2,
        1.278_464_5,
        1.192_202_2,
    ] {
        let bits: u32 = f32::to_bits(place);
        points.extend((0..6).flat_map(|units| [bits - units, bits + units].map(f32::from_bits)));
    }
    points.extend((1..400).map(|i| i as f32 * 0.0625));
    points.extend((1..120).map(|i| i as f32 * 0.937));
    let negative: Vec<f32> = points.iter().map(|x| -x).collect();
    points.extend(negative);
    points.push(0.0);
    points
}

/// Pairs of numbers of very different sizes.
fn pairs() -> [Vec<f32>; 2] {
    let mut sizes = vec![0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY];
    sizes.extend([
        1e-30, 1e-25, 1e-20, 1e-10, 0.3, 1.0, 1.7, 3.0, 1e5, 1e10, 1e20, 1e25, 1e30,
    ]);
    let negative: Vec<f32> = sizes[1..].iter().map(|x| -x).collect();
    sizes.extend(negative);
    let all = |pick: fn(f32, f32) -> f32| {
        let pairs = sizes
            .iter()
            .flat_map(|&a| sizes.iter().map(move |&b| pick(a, b)));
        pairs.collect()
    };
    [all(|a, _| a), all(|_, b| b)]
}

/// The values of a function, and its derivative with respect to each input; recorded, so that it is
/// computed step by step, or not.
fn differentiated<T: Float>(
    inputs: &[&[f32]],
    recorded: bool,
    function: impl Fn(&[Var<T>]) -> Result<Var<T>>,
) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let tape = Tape::new();
    let tensor = |values: &[f32]| {
        let values = values.iter().map(|&x| T::constant(f64::from(x))).collect();
        Tensor::from_vec(values, inputs[0].len())
    };
    let inputs = inputs
        .iter()
        .map(|values| Ok(tape.variable(tensor(values)?)));
    let inputs = inputs.collect::<Result<Vec<Var<T>>>>()?;
    let y = function(&inputs)?;
    let ones = Var::from(Tensor::ones(y.shape())?);
    let pass = y.reverse().seed(&ones);
    let gradients = if recorded { pass.create_graph() } else { pass }.run()?;
    let numbers = |x: &Tensor<T>| x.iter().map(T::to_f64).collect::<Vec<f64>>();
    let slopes = inputs.iter().map(|x| Ok(numbers(gradients.of(x)?)));
    Ok((numbers(y.value()), slopes.collect::<Result<_>>()?))
}

const UNIT: f64 = f32::EPSILON as f64;

/// How far a derivative may be off, besides [`UNITS`] units of its last place: what follows from how
/// it is computed, with the reason.
///
/// Beyond that, numbers below the smallest normal one count as zero in `f32` kernels, and a
/// product of such a number with `x` is off by `x` times as much.
fn allowed(name: &str, x: f64, slope: f64) -> f64 {
    let logistic = 1.0 / (1.0 + (-x).exp());
    let terms = match name {
        // From the output, which is all that they keep: 1 − y has the rounding of y.
        "tanh" | "sigmoid" => 1.0,
        // e^(−x²) of a rounded square.
        "erf" | "erfc" => 2.0 * x * x * slope.abs(),
        // Sums of terms of opposite signs, which are 0 somewhere below 0; a power of a rounded number.
        "silu" => logistic * (1.0 + x.abs() * (1.0 - logistic)),
        // A power of a rounded exponent.
        "pow" => slope.abs() * 128.0,
        "mish" => logistic * (1.0 + x.abs()) * 2.0,
        "hardswish" => 1.0,
        "gelu" => (1.0 + x.powi(2)) * (slope.abs() + x.abs() * (-0.5 * x * x).exp()),
        "gelu_tanh" => {
            let inner = 1.6 * (x + 0.044715 * x.powi(3));
            let tail = 1.0 / (1.0 + (-inner).exp());
            let steep = 1.0 + 1.6 * (1.0 + 0.135 * x * x) * x.abs();
            4.0 * (1.0 + inner.abs()) * tail * (1.0 + steep * (1.0 - tail))
        }
        _ => 0.0,
    };
    let terms = if terms.is_finite() { terms } else { 0.0 };
    let multiplied = match name {
        // Its tail is multiplied by the slope of a cubic.
        "gelu_tanh" => 1.0 + x.abs().min(128.0).powi(3),
        _ => 1.0 + x.abs().min(128.0),
    };
    let flushed = f64::from(f32::MIN_POSITIVE) * multiplied;
    UNITS * UNIT * terms + flushed
}

/// Units of the last place that every derivative may be off.
const UNITS: f64 = 8.0;

/// Derivatives that do not exist, or are not what the limit is, though the function has a value.
fn excepted(name: &str, input: usize, at: &[f64]) -> Option<&'static str> {
    let infinite = at.iter().any(|x| x.is_infinite());
    match (name, input) {
        ("log" | "log1p" | "log2", _) if at[0] < 0.0 => Some("the value below the pole is NaN"),
        ("lgamma" | "digamma" | "polygamma", _) if at[0] <= 0.0 && at[0].fract() == 0.0 => {
            Some("poles, as all large numbers below 0 are")
        }
        ("lgamma", _) if infinite => Some("grows like a logarithm, which no finite number shows"),
        ("lgamma" | "digamma" | "polygamma", _) if at[0] == f64::NEG_INFINITY => {
            Some("there are poles without end")
        }
        ("pow", 1) if at[0] < 0.0 => Some("powers of negative numbers are isolated"),
        ("pow", 0) if at[1].abs() >= 2f64.powi(24) => Some(
            "the exponent less one is rounded to the exponent, and may change from odd to even",
        ),
        ("pow", 0) if at[0].abs().powf(at[1] - 1.0) > f64::from(f32::MAX) => {
            Some("the power overflows, though a small exponent times it does not")
        }
        ("pow" | "rem" | "mul" | "hinge_loss", _) if infinite => {
            Some("0 · ∞ and ∞ − ∞, which have no value of their own")
        }
        ("hinge_loss", _) if (at[0] * at[1] - 1.0).abs() <= 2.0 * UNIT => {
            Some("the product rounds to the corner at 1")
        }
        ("div", _) if infinite => Some("∞ / ∞ on the way to a slope without limit"),
        ("binary_cross_entropy_with_logits", _) if infinite => Some("∞ − ∞ in the value"),
        _ => None,
    }
}

/// What is wrong with the `found` derivative, if anything.
fn complaint(name: &str, input: usize, at: &[f64], found: f64, expected: f64) -> Option<String> {
    if excepted(name, input, at).is_some() {
        return None;
    }
    let largest = f64::from(f32::MAX);
    let right = if expected.abs() > largest * (1.0 - 1e-6) {
        // As large as can be, or infinite.
        found.signum() == expected.signum() && found.abs() >= largest * (1.0 - 1e-6)
    } else {
        let allowed = UNITS * UNIT * expected.abs() + allowed(name, at[input], expected);
        (found - expected).abs() <= allowed
    };
    (!right).then(|| {
        let units = (found - expected).abs() / (UNIT * expected.abs());
        format!("{name}, input {input} of {at:?}: {found:e}, not {expected:e} ({units:.1} units)")
    })
}

fn report(mut complaints: Vec<String>) {
    let count = complaints.len();
    complaints.truncate(60);
    assert!(
        complaints.is_empty(),
        "{count} wrong:\n{}",
        complaints.join("\n")
    );
}

#[test]
fn slopes_of_functions_of_one_element() {
    let points = points();
    let mut complaints = Vec::new();
    for Unary {
        name,
        single,
        double,
    } in unary()
    {
        let exact = differentiated::<f64>(&[&points], false, |x| Ok(double(&x[0])));
        let (values, slopes) = exact.unwrap();
        for recorded in [false, true] {
            let found = differentiated::<f32>(&[&points], recorded, |x| Ok(single(&x[0])));
            let found = found.unwrap().1;
            for (i, &x) in points.iter().enumerate() {
                if values[i].is_nan() {
                    continue;
                }
                let x = [f64::from(x)];
                complaints.extend(complaint(name, 0, &x, found[0][i], slopes[0][i]));
            }
        }
    }
    report(complaints);
}

/// What the derivative tends to is what it is at infinity.
#[test]
fn slopes_at_infinities_are_limits() {
    let mut complaints = Vec::new();
    let double = |numbers: &[f64], function: fn(&Var<f64>) -> Var<f64>| {
        let tape = Tape::new();
        let x = tape.variable(Tensor::from(numbers.to_vec()));
        let y = function(&x);
        let slopes = y.sum(..).unwrap().backward().unwrap();
        (y.value().to_vec(), slopes.of(&x).unwrap().to_vec())
    };
    for entry in unary() {
        for (infinite, far) in [(f64::INFINITY, 1e300), (f64::NEG_INFINITY, -1e300)] {
            let (values, slopes) = double(&[infinite, far], entry.double);
            if values[0].is_nan() || excepted(entry.name, 0, &[infinite]).is_some() {
                continue;
            }
            let [at_infinity, limit] = [slopes[0], slopes[1]];
            let grows = limit.abs() > 1e100 && at_infinity == f64::INFINITY.copysign(limit);
            if !grows && (at_infinity - limit).abs() > 1e-30 {
                let name = entry.name;
                complaints.push(format!("{name} at {infinite}: {at_infinity}, not {limit}"));
            }
        }
    }
    report(complaints);
}

#[test]
fn slopes_of_functions_of_two_elements() {
    let [a, b] = pairs();
    let mut complaints = Vec::new();
    for Binary {
        name,
        single,
        double,
    } in binary()
    {
        let exact = differentiated::<f64>(&[&a, &b], false, |x| double(&x[0], &x[1]));
        let (values, slopes) = exact.unwrap();
        for recorded in [false, true] {
            let found = differentiated::<f32>(&[&a, &b], recorded, |x| single(&x[0], &x[1]));
            let found = found.unwrap().1;
            for i in (0..a.len()).filter(|&i| !values[i].is_nan()) {
                let at = [a[i], b[i]].map(f64::from);
                for input in 0..2 {
                    let (found, expected) = (found[input][i], slopes[input][i]);
                    complaints.extend(complaint(name, input, &at, found, expected));
                }
            }
        }
    }
    report(complaints);
}

/// Functions of two elements are rules of two inputs; no new one can stay out of the list above.
#[test]
fn every_function_of_two_elements_is_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut rules = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for rule in source.split("&Rule2 {").skip(1) {
            rules.extend(rule.split('"').nth(1).map(str::to_string));
        }
    }
    // Parts of the derivatives of `hypot` and `atan2`, or not element by element.
    for other in ["cosine", "inverse_radius"] {
        assert!(rules.remove(other), "{other}");
    }
    for checked in binary() {
        rules.remove(checked.name);
    }
    assert!(rules.is_empty(), "not in `binary()`: {rules:?}");
}

/// The derivative of a function of two elements in `f32`.
fn slopes_of(
    function: fn(&Var<f32>, &Var<f32>) -> Result<Var<f32>>,
    a: &[f32],
    b: &[f32],
) -> [Vec<f64>; 2] {
    let (_, slopes) = differentiated(&[a, b], false, |x| function(&x[0], &x[1])).unwrap();
    <[Vec<f64>; 2]>::try_from(slopes).unwrap()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let near = (found - expected).abs() <= 4.0 * UNIT * expected.abs();
        assert!(near, "{found:e}, not {expected:e}");
    }
}

#[test]
fn quotients_and_angles_of_all_sizes_have_slopes() {
    let [_, by_divisor] = slopes_of(Var::div, &[1e30, 1e-30], &[1e25, 1e-25]);
    assert_near(&by_divisor, &[-1e-20, -1e20]);
    let [dy, dx] = slopes_of(Var::atan2, &[1e-25, 1e25], &[1e-25, 1e25]);
    assert_near(&dy, &[5e24, 5e-26]);
    assert_near(&dx, &[-5e24, -5e-26]);
    let [da, db] = slopes_of(Var::hypot, &[3e38, 3e-38], &[3e38, -3e-38]);
    let half = 0.5_f64.sqrt();
    assert_near(&da, &[half, half]);
    assert_near(&db, &[half, -half]);
}

/// Second derivatives of functions that come to a point, there: none leaks out of what is computed
/// on the way.
#[test]
fn second_derivatives_at_corners() {
    type Function = fn(&[Var<f64>]) -> Result<Var<f64>>;
    let functions: [(&str, Function, &[f64], f64); 8] = [
        ("hypot", |x| x[0].hypot(&x[1]), &[0.0, 0.0], 0.0),
        ("atan2", |x| x[0].atan2(&x[1]), &[0.0, 0.0], 0.0),
        (
            "norm",
            |x| Var::stack(&[&x[0], &x[1]], 0)?.norm(2.0, ..),
            &[0.0, 0.0],
            0.0,
        ),
        (
            "std",
            |x| Var::stack(&[&x[0], &x[1]], 0)?.std(.., 0),
            &[0.0, 0.0],
            0.0,
        ),
        ("abs", |x| Ok(x[0].abs()), &[0.0], 0.0),
        ("relu", |x| Ok(x[0].relu()), &[0.0], 0.0),
        ("elu", |x| Ok(x[0].elu(0.7)), &[0.0], 0.7),
        ("selu", |x| Ok(x[0].selu()), &[0.0], 1.758_099_340_847_376_8),
    ];
    for (name, function, at, expected) in functions {
        let tape = Tape::new();
        let x: Vec<Var<f64>> = at
            .iter()
            .map(|&x| tape.variable(Tensor::scalar(x)))
            .collect();
        let y = function(&x).unwrap();
        let first = y.reverse().create_graph().run().unwrap();
        for a in &x {
            let Some(slope) = first.get(a).filter(|slope| slope.is_tracked()) else {
                continue;
            };
            let second = slope.reverse().keep_graph().run().unwrap();
            for b in x.iter().filter_map(|b| second.get(b)) {
                assert_eq!(b.item().unwrap(), expected, "{name}");
            }
        }
    }
}

/// Derivatives of directions and distances are closed under differentiation.
#[test]
fn third_derivatives_of_distances_and_angles() {
    let (a, b) = (
        Tensor::from([0.3, -2.0, 0.7]),
        Tensor::from([1.1, 0.4, -0.6]),
    );
    for function in [Var::hypot, Var::atan2] {
        let second = |x: &[Var<f64>]| {
            let inner = |a: &Var<f64>| {
                autograd::grad(|a: &Var<f64>| function(a, &x[1])?.sum(..))(a)?
                    .sin()
                    .sum(..)
            };
            autograd::grad(inner)(&x[0])
        };
        let x = [a.clone(), b.clone()];
        // The inner function sees the other variable, so both lie on one tape.
        autograd::gradcheck(second, &x).unwrap();
    }
}

#[test]
fn similarities_and_standardized_values_do_not_depend_on_the_size() {
    let row = [3.0, -1.0, 2.0];
    let other = [1.0, 2.0, -0.5];
    let similarity = |size: f64| {
        let tape = Tape::new();
        let a = tape.variable(Tensor::from([row.map(|x| x * size)]));
        let b = tape.variable(Tensor::from([other.map(|x| x * size)]));
        let y = a.cosine_similarity(&b).unwrap();
        let gradients = y.sum(..).unwrap().backward().unwrap();
        let slopes = gradients.of(&a).unwrap().map(move |dx| dx * size).to_vec();
        (y.value().to_vec()[0], slopes)
    };
    let (expected, slopes) = similarity(1.0);
    for size in [1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e300] {
        let (found, found_slopes) = similarity(size);
        assert!(
            (found - expected).abs() < 1e-15,
            "{size}: {found}, not {expected}"
        );
        for (found, expected) in found_slopes.iter().zip(&slopes) {
            assert!(
                (found - expected).abs() < 1e-15,
                "{size}: {found}, not {expected}"
            );
        }
    }
}
