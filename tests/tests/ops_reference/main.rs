//! Values and gradients of every operation against PyTorch's in f64, and its answers at kinks, poles,
//! ties and special values. The fixtures' README has their conventions.

mod cases;
mod compute;

use cases::{Case, read};
use tensor::Tensor;

/// Relative to the element, or to a hundredth of the array's largest where that is more.
const TOLERANCE: f64 = 1e-10;

/// Describes the first element that differs.
fn difference(found: &Tensor<f64>, expected: &Tensor<f64>) -> Option<String> {
    if found.shape() != expected.shape() {
        return Some(format!("shape {}, not {}", found.shape(), expected.shape()));
    }
    let finite = expected.iter().filter(|x| x.is_finite());
    let largest = finite.fold(0.0, |largest: f64, x| largest.max(x.abs()));
    found
        .iter()
        .zip(expected.iter())
        .enumerate()
        .find_map(|(i, (a, b))| {
            let same = a == b || (a.is_nan() && b.is_nan());
            let close = (a - b).abs() <= TOLERANCE * b.abs().max(largest / 100.0);
            (!same && !close).then(|| format!("element {i} is {a:?}, not {b:?}"))
        })
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

/// Where another answer than PyTorch's is documented, and why.
const DOCUMENTED: [(&str, &str, &str); 17] = [
    (
        "abs",
        "everywhere",
        "the sign of NaN is NaN, here also as a gradient",
    ),
    (
        "sign",
        "everywhere",
        "the sign of NaN is NaN; PyTorch says 0",
    ),
    (
        "hardsigmoid",
        "everywhere",
        "PyTorch divides by 6 in single precision",
    ),
    (
        "hardswish",
        "everywhere",
        "−∞ gives 0, the limit, as does the derivative; PyTorch's value is NaN",
    ),
    (
        "hypot",
        "zero",
        "the gradient at the origin is 0, as that of a norm",
    ),
    ("max", "ties_one_wins", "ties share, as PyTorch's amax"),
    ("min", "ties_one_wins", "ties share, as PyTorch's amin"),
    ("max", "nan", "the NaNs that were chosen get the gradient"),
    (
        "logsumexp",
        "all_minus_infinity",
        "the gradient is 0: no element has a share",
    ),
    ("norm", "no_overflow", "no overflow on the way: 5e200"),
    (
        "powf",
        "exponent_0.5",
        "IEEE 754's pow of −∞; PyTorch takes the square root",
    ),
    (
        "maximum",
        "ties",
        "NaN wins and gets the gradient; PyTorch gives it to both",
    ),
    (
        "minimum",
        "ties",
        "NaN wins and gets the gradient; PyTorch gives it to both",
    ),
    (
        "softmax_cross_entropy",
        "minus_infinity_elsewhere",
        "0 · ln 0 counts as 0; PyTorch's value is NaN",
    ),
    (
        "binary_cross_entropy",
        "certain",
        "PyTorch's 10⁻¹² is that of single precision",
    ),
    (
        "batch_norm",
        "one_value",
        "one value is normalised to 0; PyTorch refuses",
    ),
    (
        "cosine_similarity",
        "zero_vector",
        "0, with gradient 0; PyTorch's grows to 1e8",
    ),
];

#[test]
fn edge_rules_are_those_of_pytorch_or_documented() {
    let mut failures = Vec::new();
    let mut met = 0;
    for case in read("edge_rules") {
        let documented = DOCUMENTED
            .iter()
            .any(|(op, name, _)| (*op, *name) == (&case.op[..], &case.name[..]));
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

/// What is documented instead of PyTorch's answer.
#[test]
fn documented_differences_hold() {
    let gradient = |op: &str, name: &str| {
        let case = read("edge_rules")
            .into_iter()
            .find(|case| case.op == op && case.name == name)
            .unwrap();
        let (outputs, gradients) = compute::run(&case).unwrap();
        (outputs[0].to_vec(), gradients[0].to_vec())
    };
    assert_eq!(gradient("hypot", "zero").1[0], 0.0);
    assert_eq!(gradient("logsumexp", "all_minus_infinity").1, [0.0, 0.0]);
    let (norm, slopes) = gradient("norm", "no_overflow");
    assert!((norm[0] / 5e200 - 1.0).abs() < 1e-15);
    assert_eq!(gradient("maximum", "ties").1[2..4], [1.0, 0.0]);
    let (losses, scores) = gradient("softmax_cross_entropy", "minus_infinity_elsewhere");
    assert!((losses[0] - 1.313_261_687_518_222_8).abs() < 1e-15 && scores[0] == 0.0);
    assert!((slopes[0] - 0.6).abs() < 1e-15 && (slopes[1] - 0.8).abs() < 1e-15);
    assert_eq!(
        gradient("cosine_similarity", "zero_vector"),
        (vec![0.0], vec![0.0, 0.0])
    );
    assert_eq!(gradient("max", "nan").1, [0.5, 0.0, 0.5]);
    assert_eq!(gradient("batch_norm", "one_value"), (vec![0.25], vec![0.0]));
}
