//! What softmax does to the last numbers of a network, and the gradient that starts
//! backpropagation.
//!
//! `cargo run --example softmax`
use autograd::{Tape, Var};
use tensor::Tensor;

const LABELS: [&str; 6] = ["dogs", "cats", "monkeys", "birds", "fish", "lizards"];

fn main() -> tensor::Result<()> {
    // What a network might say of the picture of a cat: large is likely.
    let scores = Tensor::from([26.0, 255.5, 21.5, 133.0, 15.0, 9.25]);
    let cat = Tensor::from([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);

    println!("1. The scores are hard to read: how sure is the network that this is a cat?\n");
    table("score", &scores);

    println!("\n2. The exponential makes all of them positive, and differences into ratios.\n");
    let exponentials = scores.exp();
    table("e^score", &exponentials);
    let sum = exponentials.sum(..)?;
    println!("{:>10}  {:>10.3e}", "sum Σ", sum.item()?);

    println!("\n3. Divided by the sum they are shares of 1: probabilities. Softmax!\n");
    let probabilities = &exponentials / &sum;
    table("p", &probabilities);
    println!("{:>10}  {:>10.3}", "sum Σ", probabilities.sum(..)?.item()?);
    bars(&probabilities, &cat);
    println!(
        "\n   The others are small, but not 0: dogs have {:.3e}.",
        probabilities[[0]]
    );

    println!("\n4. The same in one step. It subtracts the largest score first, so that no");
    println!("   exponential overflows, whatever the scores:\n");
    table("softmax", &scores.softmax(-1)?);
    let huge = &scores * 1e4;
    println!(
        "\n   e^{:.0} is {}, but the softmax of 10⁴ times the scores is",
        huge[[1]],
        huge.exp()[[1]]
    );
    println!("   {}", huge.softmax(-1)?);

    println!("\n5. A less certain network, and the gradient that tells it what to change.");
    println!("   The loss is −ln p of the right answer, and its derivative with respect to the");
    println!("   scores is simply p − y: probabilities minus one-hot label.\n");
    let scores = Tensor::from([2.0, 1.5, 0.1, 1.0, -1.0, -0.5]);
    let tape = Tape::new();
    let tracked = tape.variable(scores.clone());
    let loss = tracked.softmax_cross_entropy_with(&Var::from(&cat))?;
    let gradients = loss.backward()?;
    let engine = gradients.of(&tracked)?;
    let p = scores.softmax(-1)?;
    let by_hand = p.sub(&cat)?;
    bars(&p, &cat);
    println!(
        "\n{:>10}  {:>10}  {:>10}  {:>10}  {:>10}",
        "", "p", "y", "by hand", "engine"
    );
    for (i, label) in LABELS.iter().enumerate() {
        let (p, y) = (p[[i]], cat[[i]]);
        println!(
            "{label:>10}  {p:>10.6}  {y:>10}  {:>10.6}  {:>10.6}",
            by_hand[[i]],
            engine[[i]]
        );
    }
    println!("\n   loss = −ln {:.6} = {:.6}", p[[1]], loss.item()?);
    println!("   Descending it raises the score of cats and lowers every other, most where the");
    println!("   network was most wrong. From here, backpropagation carries it to every weight.");
    Ok(())
}

/// One line per animal.
fn table(heading: &str, values: &Tensor<f64>) {
    println!("{:>10}  {heading:>10}", "");
    for (label, value) in LABELS.iter().zip(values.iter()) {
        // Three digits whatever the size, as e-notation where it is needed.
        match value.abs() {
            0.001..1000.0 => println!("{label:>10}  {value:>10.3}"),
            _ => println!("{label:>10}  {value:>10.3e}"),
        }
    }
}

/// Probabilities against the label, as bars.
fn bars(probabilities: &Tensor<f64>, label: &Tensor<f64>) {
    println!();
    for ((name, p), y) in LABELS.iter().zip(probabilities.iter()).zip(label.iter()) {
        let full = (p * 40.0).round() as usize;
        let aim = if y == 1.0 { "◀ should be 1" } else { "" };
        println!(
            "{name:>10}  {:█<full$}{:·<rest$} {:>5.1} % {aim}",
            "",
            "",
            p * 100.0,
            rest = 40 - full
        );
    }
}
