//! What recording an operation costs: the least nanoseconds an operation takes in a chain of
//! multiplications of one-element tensors, forward and backward, on one thread.
//!
//! `tests/peers/chain_cost.py` runs it in turns with PyTorch. The last line is one JSON object.

use std::time::Instant;

use autograd::{Tape, Var};
use tensor::Tensor;

const LENGTHS: [usize; 3] = [1_000, 10_000, 100_000];
const ROUNDS: usize = 30;

fn main() -> autograd::Result<()> {
    let mut fields = Vec::new();
    for length in LENGTHS {
        let (mut forward, mut backward) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            let tape = Tape::new();
            let x = tape.variable(Tensor::from([1.0_f32]));
            let factor = Var::constant(Tensor::from([1.000_01_f32]));
            let start = Instant::now();
            let mut y = x.clone();
            for _ in 0..length {
                y = y.mul(&factor)?;
            }
            forward = forward.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let gradients = y.backward()?;
            backward = backward.min(start.elapsed().as_secs_f64());
            assert!(gradients.of(&x)?.item()? > 1.0);
        }
        let nanoseconds = |seconds: f64| seconds * 1e9 / length as f64;
        println!(
            "{length} operations: {:.0} ns forward, {:.0} ns backward each",
            nanoseconds(forward),
            nanoseconds(backward)
        );
        fields.push(format!(
            "\"{length}\": {{\"forward_ns\": {:.1}, \"backward_ns\": {:.1}}}",
            nanoseconds(forward),
            nanoseconds(backward)
        ));
    }
    println!("{{{}}}", fields.join(", "));
    Ok(())
}
