//! Values and gradients of every operation against PyTorch's in f64, and its answers at kinks, poles,
//! ties and special values. The fixtures' README has their conventions.

mod cases;
mod compute;

use cases::{Case, read};
use tensor::Tensor;

/// Relative to the element, or to a hundredth of the array's largest where that is more.
const TOLERANCE: f64 = 1e-10;

/// Whether a number is PyTorch's, whose array's largest finite magnitude is `largest`.
fn agrees(found: f64, expected: f64, largest: f64) -> bool {
    let same = found == expected || (found.is_nan() && expected.is_nan());
    let close = (found - expected).abs() <= TOLERANCE * expected.abs().max(largest / 100.0);
    // Every number is near enough to infinity, by that.
    same || (expected.is_finite() && close)
}

/// The elements that differ, with their positions.
fn differences(found: &Tensor<f64>, expected: &Tensor<f64>) -> Vec<(usize, f64, f64)> {
    let finite = expected.iter().filter(|x| x.is_finite());
    let largest = finite.fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let pairs = found.iter().zip(expected.iter()).enumerate();
    pairs
        .filter(|(_, (a, b))| !agrees(*a, *b, largest))
        .map(|(i, (a, b))| (i, a, b))
        .collect()
}

/// Describes the first element that differs.
fn difference(found: &Tensor<f64>, expected: &Tensor<f64>) -> Option<String> {
    if found.shape() != expected.shape() {
        return Some(format!("shape {}, not {}", found.shape(), expected.shape()));
    }
    let (i, a, b) = differences(found, expected).into_iter().next()?;
    Some(format!("element {i} is {a:?}, not {b:?}"))
}

/// Runs a case, and compares values and gradients.
fn check(case: &Case) -> Result<(), String> {
    let (outputs, gradients) = compute::run(case).map_err(|error| error.to_string())?;
    for (i, expected) in case.outputs.iter().enumerate() {
        if let Some(difference) = difference(&outputs[i], expected) {
            return Err(format!("output {i}: {difference}"));
        }
    }
    for (input, expected) in &case.gradients {
        if let Some(difference) = difference(&gradients[*input], expected) {
            return Err(format!("gradient {input}: {difference}"));
        }
    }
    Ok(())
}

/// All cases of a family; the least number guards against an empty file.
fn family(name: &str, least: usize) {
    let cases = read(name);
    assert!(cases.len() >= least, "{} cases", cases.len());
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}/{}: {}", case.op, case.name, check(case).err()?)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn elementwise() {
    family("elementwise", 170);
}

#[test]
fn reductions() {
    family("reductions", 140);
}

#[test]
fn shapes() {
    family("shapes", 58);
}

#[test]
fn indexing() {
    family("indexing", 38);
}

#[test]
fn images() {
    family("images", 70);
}

#[test]
fn linear_algebra() {
    family("linalg", 60);
}

#[test]
fn losses() {
    family("losses", 90);
}

/// Numbers that an edge case computes here, by their places.
type Differences = &'static [(&'static str, f64)];

/// Where another answer than PyTorch's is documented (in the table of operations), why, and what it
/// is, element by element.
const DOCUMENTED: [(&str, &str, &str, Differences); 22] = [
    (
        "abs",
        "everywhere",
        "the gradient at NaN is NaN; PyTorch's is 0",
        &[("dx0[10]", f64::NAN)],
    ),
    (
        "sign",
        "everywhere",
        "the sign of NaN is NaN; PyTorch says 0",
        &[("y0[10]", f64::NAN)],
    ),
    (
        "gelu",
        "everywhere",
        "−∞ gives 0 with gradient 0, and ∞ the gradient 1, the limits; PyTorch's are NaN",
        &[("y0[0]", 0.0), ("dx0[0]", 0.0), ("dx0[9]", 1.0)],
    ),
    (
        "gelu_tanh",
        "everywhere",
        "−∞ gives 0 with gradient 0, and ∞ the gradient 1, the limits; PyTorch's are NaN",
        &[("y0[0]", 0.0), ("dx0[0]", 0.0), ("dx0[9]", 1.0)],
    ),
    (
        "silu",
        "everywhere",
        "−∞ gives 0 with gradient 0, and ∞ the gradient 1, the limits; PyTorch's are NaN",
        &[("y0[0]", 0.0), ("dx0[0]", 0.0), ("dx0[9]", 1.0)],
    ),
    (
        "mish",
        "everywhere",
        "−∞ gives 0 with gradient 0, and ∞ the gradient 1, the limits; PyTorch's are NaN",
        &[("y0[0]", 0.0), ("dx0[0]", 0.0), ("dx0[9]", 1.0)],
    ),
    (
        "acosh",
        "everywhere",
        "the gradient below 1, where there is no value, is NaN; PyTorch's is a number",
        &[
            ("dx0[0]", f64::NAN),
            ("dx0[1]", f64::NAN),
            ("dx0[2]", f64::NAN),
            ("dx0[3]", f64::NAN),
        ],
    ),
    (
        "hardsigmoid",
        "everywhere",
        "PyTorch divides by 6 in single precision",
        &[
            ("dx0[3]", 1.0 / 6.0),
            ("dx0[4]", 1.0 / 6.0),
            ("dx0[5]", 1.0 / 6.0),
            ("dx0[6]", 1.0 / 6.0),
        ],
    ),
    (
        "hardswish",
        "everywhere",
        "−∞ gives 0, the limit, and NaN stays NaN as a gradient; PyTorch's are NaN and 1",
        &[("y0[0]", 0.0), ("dx0[10]", f64::NAN)],
    ),
    (
        "hypot",
        "zero",
        "the gradient at the origin is 0, as that of a norm; PyTorch's is NaN",
        &[("dx0[0]", 0.0), ("dx1[0]", 0.0)],
    ),
    (
        "max",
        "ties_one_wins",
        "ties share, as PyTorch's amax",
        &[
            ("dx0[1]", 0.5),
            ("dx0[2]", 0.5),
            ("dx0[3]", 1.0 / 3.0),
            ("dx0[4]", 1.0 / 3.0),
            ("dx0[5]", 1.0 / 3.0),
        ],
    ),
    (
        "min",
        "ties_one_wins",
        "ties share, as PyTorch's amin",
        &[
            ("dx0[3]", 1.0 / 3.0),
            ("dx0[4]", 1.0 / 3.0),
            ("dx0[5]", 1.0 / 3.0),
        ],
    ),
    (
        "max",
        "nan",
        "the NaNs that were chosen share the gradient; PyTorch's is NaN throughout",
        &[("dx0[0]", 0.5), ("dx0[1]", 0.0), ("dx0[2]", 0.5)],
    ),
    (
        "logsumexp",
        "all_minus_infinity",
        "the gradient is 0: no element has a share; PyTorch's is NaN",
        &[("dx0[0]", 0.0), ("dx0[1]", 0.0)],
    ),
    (
        "norm",
        "no_overflow",
        "no overflow on the way; PyTorch's value is ∞, its gradient 0",
        &[("y0[0]", 5e200), ("dx0[0]", 0.6), ("dx0[1]", 0.8)],
    ),
    (
        "powf",
        "exponent_0.5",
        "IEEE 754's pow of −∞ and −0; PyTorch takes the square root",
        &[
            ("y0[0]", f64::INFINITY),
            ("dx0[0]", 0.0),
            ("dx0[2]", f64::INFINITY),
        ],
    ),
    (
        "maximum",
        "ties",
        "NaN wins and gets the gradient; PyTorch gives it to both",
        &[("dx0[3]", 0.0), ("dx1[2]", 0.0)],
    ),
    (
        "minimum",
        "ties",
        "NaN wins and gets the gradient; PyTorch gives it to both",
        &[("dx0[3]", 0.0), ("dx1[2]", 0.0)],
    ),
    (
        "softmax_cross_entropy",
        "minus_infinity_elsewhere",
        "0 · ln 0 counts as 0; PyTorch's value is NaN",
        &[("y0[0]", 1.313_261_687_518_222_8)],
    ),
    (
        "binary_cross_entropy",
        "certain",
        "PyTorch's 10⁻¹² is that of single precision",
        &[("dx0[2]", 1e12), ("dx0[3]", -1e12)],
    ),
    (
        "batch_norm",
        "one_value",
        "one value is normalised to 0, and the shift is left; PyTorch refuses",
        &[
            ("y0[0]", 0.25),
            ("dx0[0]", 0.0),
            ("dx1[0]", 0.0),
            ("dx2[0]", 0.0),
        ],
    ),
    (
        "cosine_similarity",
        "zero_vector",
        "0, with gradient 0; PyTorch's grows to 1e8",
        &[("dx0[0]", 0.0), ("dx0[1]", 0.0)],
    ),
];

#[test]
fn edge_rules_are_those_of_pytorch_or_documented() {
    let mut failures = Vec::new();
    let mut met = 0;
    for case in read("edge_rules") {
        let documented = DOCUMENTED
            .iter()
            .any(|(op, name, ..)| (*op, *name) == (&case.op[..], &case.name[..]));
        let outcome = check(&case);
        let place = format!("{}/{}", case.op, case.name);
        match (outcome, documented, case.refused) {
            (Ok(()), false, false) | (Err(_), true, false) | (_, true, true) => met += 1,
            (Ok(()), true, false) => failures.push(format!("{place}: agrees after all")),
            (Err(error), false, false) => failures.push(format!("{place}: {error}")),
            (outcome, false, true) if outcome.is_err() => met += 1,
            (_, false, true) => failures.push(format!("{place}: should be refused")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(met > 100, "{met}");
}

/// What is given instead of PyTorch's answer, element by element; where PyTorch refuses, all of it.
fn own_answers(case: &Case) -> Vec<(String, f64)> {
    let (outputs, gradients) = compute::run(case).unwrap();
    let mut answers = Vec::new();
    let mut collect =
        |kind: &str, number: usize, found: &Tensor<f64>, expected: Option<&Tensor<f64>>| {
            let elements = match expected {
                Some(expected) => differences(found, expected),
                None => found.iter().enumerate().map(|(i, x)| (i, x, x)).collect(),
            };
            answers.extend(
                elements
                    .into_iter()
                    .map(|(i, own, _)| (format!("{kind}{number}[{i}]"), own)),
            );
        };
    for (i, found) in outputs.iter().enumerate() {
        collect("y", i, found, case.outputs.get(i));
    }
    for (i, found) in gradients.iter().enumerate() {
        let expected = case.gradients.iter().find(|(input, _)| **input == i);
        if case.refused || expected.is_some() {
            collect("dx", i, found, expected.map(|(_, expected)| expected));
        }
    }
    answers
}

#[test]
fn documented_differences_are_those_and_no_others() {
    let cases = read("edge_rules");
    for (op, name, why, expected) in DOCUMENTED {
        let case = cases.iter().find(|case| case.op == op && case.name == name);
        let found = own_answers(case.unwrap());
        let same = found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|((place, own), (expected_place, expected))| {
                    place == expected_place && agrees(*own, *expected, 0.0)
                });
        assert!(same, "{op}/{name} ({why}): {found:?}, not {expected:?}");
    }
}
