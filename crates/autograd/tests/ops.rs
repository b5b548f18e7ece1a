//! Every operation, because it exists: gradients of first and second order by finite differences,
//! views of every kind, repeated variables, and the count of what exists against what is checked.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use autograd::{OpEntry, Result, Sample, Tape, Var, gradcheck, gradgradcheck, operations};
use tensor::{Slice, Tensor};

/// Runs `check` for every sample of every operation, and reports all failures together.
fn for_all(check: impl Fn(&OpEntry, &Sample) -> Result<(), String>) {
    let mut failures = Vec::new();
    for op in operations() {
        for (i, sample) in op.samples().iter().enumerate() {
            let outcome = catch_unwind(AssertUnwindSafe(|| check(&op, sample)));
            if let Err(message) = outcome.unwrap_or_else(|_| Err("panicked".to_string())) {
                failures.push(format!("{}, sample {i}: {message}", op.name()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The same values, seen through a view that walks memory backwards with gaps, transposed.
fn strided(x: &Tensor<f64>) -> Tensor<f64> {
    let doubled: Vec<usize> = x.shape().iter().rev().map(|n| 2 * n).collect();
    let slices = vec![Slice::from(..).step(-2); x.rank()];
    let order: Vec<isize> = (0..x.rank() as isize).rev().collect();
    let spread = x.permute(&order).unwrap().place(doubled, &slices).unwrap();
    let view = spread.slice(&slices).unwrap().permute(&order).unwrap();
    assert_eq!(view, *x);
    view
}

/// The first element along each axis, expanded over it with stride 0, axis by axis.
fn expanded(x: &Tensor<f64>) -> Vec<Tensor<f64>> {
    let axes = (0..x.rank()).filter(|&axis| x.shape()[axis] > 1);
    let repeat = |axis: usize| {
        let first = x.slice_axis(axis as isize, 0..1).unwrap();
        first.broadcast_to(x.shape()).unwrap()
    };
    axes.map(repeat).collect()
}

/// Value and gradients of `Σ sin(y)`, which weighs every element differently.
fn value_and_gradients(
    sample: &Sample,
    inputs: &[Tensor<f64>],
) -> Result<(Tensor<f64>, Vec<Tensor<f64>>)> {
    let tape = Tape::new();
    let inputs: Vec<Var<f64>> = inputs.iter().map(|x| tape.variable(x.clone())).collect();
    let y = sample.call(&inputs)?;
    let gradients = y.sin().sum(..)?.backward()?;
    let gradients = inputs.iter().map(|x| match gradients.get(x) {
        Some(gradient) => Ok(gradient.value().contiguous()),
        None => Tensor::zeros(x.shape()),
    });
    let gradients = gradients.collect::<Result<Vec<_>>>()?;
    Ok((y.into_value(), gradients))
}

fn close(a: &Tensor<f64>, b: &Tensor<f64>) -> bool {
    let near = |(a, b): (f64, f64)| {
        a == b
            || (a.is_nan() && b.is_nan())
            || (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1.0)
    };
    a.shape() == b.shape() && a.iter().zip(b.iter()).all(near)
}

#[test]
fn first_order_gradients_are_right() {
    for_all(|_, sample| {
        let inputs = sample.inputs().map_err(text)?;
        gradcheck(|x| sample.call(x), &inputs).map_err(text)
    });
}

#[test]
fn second_order_gradients_are_right() {
    for_all(|_, sample| {
        let inputs = sample.inputs().map_err(text)?;
        gradgradcheck(|x| sample.call(x), &inputs).map_err(text)
    });
}

#[test]
fn views_have_the_gradients_of_their_copies() {
    for_all(|_, sample| {
        let inputs = sample.inputs().map_err(text)?;
        let views: Vec<_> = inputs.iter().map(strided).collect();
        gradcheck(|x| sample.call(x), &views).map_err(text)?;
        let expected = value_and_gradients(sample, &inputs).map_err(text)?;
        let found = value_and_gradients(sample, &views).map_err(text)?;
        let agree = close(&expected.0, &found.0)
            && expected.1.iter().zip(&found.1).all(|(a, b)| close(a, b));
        if agree {
            return Ok(());
        }
        Err(format!("expected {expected:?}, found {found:?}"))
    });
}

#[test]
fn expanded_inputs_have_the_gradients_of_their_copies() {
    for_all(|_, sample| {
        let inputs = sample.inputs().map_err(text)?;
        for position in 0..inputs.len() {
            for repeated in expanded(&inputs[position]) {
                let mut inputs = inputs.clone();
                inputs[position] = repeated;
                if !sample.needs_distinct_values() {
                    gradcheck(|x| sample.call(x), &inputs)
                        .and_then(|()| gradgradcheck(|x| sample.call(x), &inputs))
                        .map_err(|e| format!("input {position} expanded: {e}"))?;
                }
                let found = value_and_gradients(sample, &inputs).map_err(text)?;
                inputs[position] = inputs[position].contiguous();
                let expected = value_and_gradients(sample, &inputs).map_err(text)?;
                let agree = close(&expected.0, &found.0)
                    && expected.1.iter().zip(&found.1).all(|(a, b)| close(a, b));
                if !agree {
                    return Err(format!(
                        "input {position} expanded: expected {expected:?}, found {found:?}"
                    ));
                }
            }
        }
        Ok(())
    });
}

/// One variable for all operands of equal shape, and the operation used three times.
#[test]
fn repeated_variables_collect_every_contribution() {
    for_all(|_, sample| {
        let inputs = sample.inputs().map_err(text)?;
        let (_, once) = value_and_gradients(sample, &inputs).map_err(text)?;
        let tape = Tape::new();
        let x: Vec<Var<f64>> = inputs.iter().map(|x| tape.variable(x.clone())).collect();
        let run = || sample.call(&x)?.sin().sum(..);
        let loss = run().and_then(|a| a.add(&run()?)?.add(&run()?));
        let thrice = loss.and_then(|loss| loss.backward()).map_err(text)?;
        for (x, once) in x.iter().zip(&once) {
            let Some(thrice) = thrice.get(x) else {
                continue;
            };
            if !close(&(once * 3.0), thrice.value()) {
                return Err(format!("once {once:?}, three times {thrice:?}"));
            }
        }
        let same = inputs.len() > 1 && inputs.iter().all(|x| x.shape() == inputs[0].shape());
        if same && !sample.needs_distinct_values() {
            let f = |x: &[Var<f64>]| sample.call(&vec![x[0].clone(); inputs.len()]);
            gradcheck(f, &inputs[..1])
                .map_err(|e| format!("one variable for all operands: {e}"))?;
            gradgradcheck(f, &inputs[..1])
                .map_err(|e| format!("one variable for all operands: {e}"))?;
        }
        Ok(())
    });
}

/// The sources of the operations.
fn sources() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut folders = vec![folder];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

/// What stands between `before` and `after`, wherever it does.
fn between(text: &str, before: &str, after: char) -> Vec<String> {
    let pieces = text.split(before).skip(1);
    pieces
        .filter_map(|piece| Some(piece.split_once(after)?.0.trim().to_string()))
        .collect()
}

/// Every string in the body of each `fn name(&self)`: also names that a choice between several picks.
fn names_given(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    for signature in [
        "fn name(&self) -> &str {",
        "fn name(&self) -> &'static str {",
    ] {
        for rest in source.split(signature).skip(1) {
            let mut depth = 1;
            let body = rest.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            });
            let body = &rest[..body.expect("a body ends")];
            names.extend(body.split('"').skip(1).step_by(2).map(str::to_string));
        }
    }
    names
}

#[test]
fn names_are_found_however_they_are_chosen() {
    let source = r#"
        fn name(&self) -> &str { "plain" }
        fn name(&self) -> &str { if self.whole { "one" } else { "other" } }
        fn name(&self) -> &'static str {
            match self { A { .. } => "a", B => { "b" } }
        }
        fn other(&self) -> &str { "none" }
    "#;
    assert_eq!(names_given(source), ["plain", "one", "other", "a", "b"]);
}

/// Every public method on `Var` that takes a variable and gives one is in the list.
#[test]
fn every_method_is_an_entry() {
    let mut methods = BTreeSet::new();
    for source in sources() {
        for signature in between(&source, "pub fn ", '{') {
            let name = signature.split(['(', '<']).next().unwrap_or("").to_string();
            let gives_variables = signature.rsplit_once("->").is_some_and(|(_, output)| {
                output.contains("Var<T>") && !signature.contains("where")
            });
            let is_template = name.starts_with('$');
            if gives_variables && !is_template {
                methods.insert(name);
            }
        }
    }
    let entries: BTreeSet<String> = operations()
        .iter()
        .map(|op| op.name().to_string())
        .collect();
    let catalogue: BTreeSet<String> = autograd::catalogue()
        .iter()
        .map(|entry| entry.name.to_string())
        .collect();
    assert_eq!(
        entries.len(),
        operations().len(),
        "an operation is listed twice"
    );
    let unlisted: Vec<_> = methods.difference(&entries).collect();
    assert!(unlisted.is_empty(), "methods without samples: {unlisted:?}");
    methods.extend(catalogue);
    let unknown: Vec<_> = entries.difference(&methods).collect();
    assert!(unknown.is_empty(), "entries without a method: {unknown:?}");
    for op in operations() {
        assert!(!op.samples().is_empty(), "{} has no samples", op.name());
    }
}

/// Every op that is defined is recorded by some sample, forward or in a derivative.
#[test]
fn every_op_is_recorded_by_a_sample() {
    let mut defined: BTreeSet<String> = autograd::catalogue()
        .iter()
        .map(|entry| entry.name.to_string())
        .collect();
    for source in sources() {
        defined.extend(names_given(&source));
        defined.extend(between(&source, "name: \"", '"'));
    }
    let mut recorded = BTreeSet::new();
    for op in operations() {
        for sample in op.samples() {
            let tape = Tape::new();
            let inputs = sample.inputs().unwrap();
            let x: Vec<Var<f64>> = inputs.iter().map(|x| tape.variable(x.clone())).collect();
            let mut loss = sample.call(&x).unwrap().sin().sum(..).unwrap();
            // Two reverse passes meet the ops of first and second derivatives.
            for _ in 0..2 {
                if !loss.is_tracked() {
                    break;
                }
                let gradients = loss.reverse().create_graph().run().unwrap();
                let parts = x.iter().filter_map(|x| gradients.get(x));
                loss = parts.fold(Var::from(0.0), |sum, gradient| {
                    sum + gradient.sin().sum(..).unwrap()
                });
            }
            recorded.extend(tape.operation_names());
        }
    }
    let missed: Vec<_> = defined.difference(&recorded).collect();
    assert!(missed.is_empty(), "ops that no sample records: {missed:?}");
}

#[test]
fn the_documented_table_is_that_of_the_operations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ops.md");
    let documented = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        documented == autograd::operations_table(),
        "docs/ops.md is not that of the operations; write it again by \
         `cargo run -p autograd --example ops_table > docs/ops.md`"
    );
}

/// What the chapter on adding an operation quotes of the sources is there, line for line.
#[test]
fn the_chapter_quotes_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let lines =
        |text: &str| -> Vec<String> { text.lines().map(|l| l.trim().to_string()).collect() };
    let chapter = read("docs/new-op.md");
    let quotes: Vec<&str> = chapter
        .split("```text\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(quotes.len(), 2);
    let mut places = sources();
    places.push(read("crates/tensor/src/elementwise/catalogue.rs"));
    for quote in quotes {
        let quote = lines(quote);
        let mut places = places.iter().map(|source| lines(source));
        let there = places.any(|source| source.windows(quote.len()).any(|part| part == quote));
        assert!(there, "docs/new-op.md quotes what is not there: {quote:#?}");
    }
}
