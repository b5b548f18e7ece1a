//! What the operations of this crate compute, what their gradients are, and what `gradcheck` says.
//!
//! `cargo run -p new_op`
use autograd::{Error, Op, Result, Tape, Tensor, Var, gradcheck, gradgradcheck};
use new_op::{SquaredDistances, clipped_gradient, log_cosh, round_straight_through};

fn main() -> Result<()> {
    println!("1. ln cosh x, from two closures\n");
    println!("         x        value     gradient");
    let values = Tensor::from([-1000.0, -2.0, -0.5, 0.0, 0.5, 2.0]);
    let gradient = gradient_of(log_cosh, &values)?;
    let y = log_cosh(&Var::from(&values))?;
    for ((x, y), slope) in values.iter().zip(y.value().iter()).zip(gradient.iter()) {
        println!("{x:>10} {y:>12.6} {slope:>12.6}");
    }
    check(|x| log_cosh(&x[0]), &[Tensor::from([-2.0, 0.0, 0.5])]);

    println!("\n2. Squared distances between two sets of points, by the trait `Op`\n");
    let points = |rows| Tensor::from_fn([rows, 32], |at| ((at[0] * 32 + at[1]) as f64).sin());
    let (a, b) = (points(200)?, points(300)?);
    let one = recorded(&a, &b, |a, b| SquaredDistances.apply(&[a, b]))?;
    let four = recorded(&a, &b, |a, b| a.expand_dims(1)?.sub(b)?.square().sum(-1))?;
    println!("                operations  kept for the gradient");
    for (name, run) in [("one operation", &one), ("composed", &four)] {
        let (operations, kilobytes) = (run.operations, run.bytes / 1000);
        println!("{name:>15} {operations:>10} {kilobytes:>19} kB");
    }
    let most = one.gradient.sub(&four.gradient)?.abs().max(..)?.item()?;
    println!("   Their gradients differ by {most:.0e} at most.");
    let small = [a.slice_axis(0, 0..3)?, b.slice_axis(0, 5..9)?];
    check(|x| SquaredDistances.apply(&[&x[0], &x[1]]), &small);

    println!("\n3. Rounding that learns: a gradient that is not the derivative\n");
    println!("   Integer weights are sought by descent: real numbers w, rounded on their way into");
    println!("   the loss. The true derivative of rounding is 0, and w would never move.\n");
    integer_weights(&Tensor::from([3.0, -2.0, 5.0, 1.0]))?;
    println!("\n   Its gradient is a promise, not a derivative, and the check must refuse it:");
    let values = Tensor::from([0.2, 1.7]);
    check(|x| round_straight_through(&x[0]), &[values]);

    println!("\n4. e^(x²) with its gradient clipped to ±10\n");
    println!("         x        value     gradient      clipped");
    let values = Tensor::from([0.5, 1.0, 1.5, 3.0]);
    let clipped = |x: &Var<f64>| clipped_gradient(growth, 10.0, x);
    let whole = gradient_of(growth, &values)?;
    let cut = gradient_of(clipped, &values)?;
    for (i, x) in values.iter().enumerate() {
        let y = growth(&Var::from(x))?.item()?;
        println!("{x:>10} {y:>12.3} {:>12.3} {:>12.3}", whole[[i]], cut[[i]]);
    }
    println!("\n   Below the bound it is the true gradient:");
    check(|x| clipped(&x[0]), &[Tensor::from([0.5, 1.0])]);
    println!("\n   Beyond it is not, and the check says where:");
    check(|x| clipped(&x[0]), &[Tensor::from([0.5, 1.0, 1.5])]);
    Ok(())
}

fn growth(x: &Var<f64>) -> Result<Var<f64>> {
    Ok(x.square().exp())
}

/// The gradient of `Σ f(x)`.
fn gradient_of(f: impl Fn(&Var<f64>) -> Result<Var<f64>>, x: &Tensor<f64>) -> Result<Tensor<f64>> {
    let tape = Tape::new();
    let x = tape.variable(x.clone());
    Ok(f(&x)?.sum(..)?.backward()?.of(&x)?.clone())
}

/// Prints what the checks of first and second order say, up to the first that refuses.
fn check(f: impl Fn(&[Var<f64>]) -> Result<Var<f64>>, inputs: &[Tensor<f64>]) {
    println!();
    if let Err(report) = gradcheck(&f, inputs) {
        return refused("gradcheck", &report);
    }
    println!("   gradcheck: passed");
    match gradgradcheck(&f, inputs) {
        Ok(()) => println!("   gradgradcheck: passed"),
        Err(report) => refused("gradgradcheck", &report),
    }
}

fn refused(check: &str, report: &Error) {
    let report = report.to_string().replace('\n', "\n      ");
    println!("   {check}: REFUSED\n      {report}");
}

/// What a function left on the tape, and its gradient with respect to `a`.
struct Recorded {
    operations: usize,
    bytes: usize,
    gradient: Tensor<f64>,
}

fn recorded(
    a: &Tensor<f64>,
    b: &Tensor<f64>,
    f: impl Fn(&Var<f64>, &Var<f64>) -> Result<Var<f64>>,
) -> Result<Recorded> {
    let tape = Tape::new();
    let (a, b) = (tape.variable(a.clone()), tape.variable(b.clone()));
    let y = f(&a, &b)?;
    let (operations, bytes) = (tape.operation_names().len(), tape.saved_bytes());
    let gradient = y.sin().sum(..)?.backward()?.of(&a)?.clone();
    Ok(Recorded {
        operations,
        bytes,
        gradient,
    })
}

/// Recovers the integer weights of a linear function from 20 of its values.
fn integer_weights(wanted: &Tensor<f64>) -> Result<()> {
    let inputs = Tensor::from_fn([20, 4], |at| {
        (at[0] as f64 * (at[1] + 1) as f64 * 0.7).sin()
    })?;
    let (inputs, values) = (Var::from(&inputs), Var::from(inputs.matmul(wanted)?));
    let mut weights = Tensor::zeros(4)?;
    for step in 0..100 {
        let tape = Tape::new();
        let w = tape.variable(weights.clone());
        let rounded = round_straight_through(&w)?;
        let loss = inputs.matmul(&rounded)?.squared_error(&values)?.mean(..)?;
        let found = loss.item()? == 0.0;
        if step % 4 == 0 || found {
            let loss = loss.item()?;
            println!("   step {step:>2}: w = {weights:.2}, rounded {rounded}, loss {loss:.3}");
        }
        if found {
            break;
        }
        weights = weights - loss.backward()?.of(&w)? * 0.1;
    }
    Ok(())
}
