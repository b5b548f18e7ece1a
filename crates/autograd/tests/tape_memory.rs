//! What a long recording takes: memory a node, and work that grows with the length, counted by the
//! allocator.
//!
//! One test, so that nothing else in the process allocates meanwhile.

use std::alloc::System;

use autograd::{Result, Tape, Var};
use cap::Cap;
use tensor::Tensor;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What recording a chain and playing it back took from the allocator.
struct Cost {
    /// Bytes that the recording held at its end, a node.
    held: f64,
    /// Bytes asked for in the whole recording, a node.
    recorded: f64,
    /// Bytes asked for in the reverse pass, a node.
    reversed: f64,
}

type Function<'a> = &'a dyn Fn(&Var<f64>) -> Result<Var<f64>>;

fn chain(length: usize, step: Function) -> Result<Cost> {
    let each = |bytes: usize| bytes as f64 / length as f64;
    let (live, total) = (ALLOCATOR.allocated(), ALLOCATOR.total_allocated());
    let tape = Tape::new();
    let x = tape.variable(Tensor::scalar(0.5));
    let mut y = x.clone();
    for _ in 0..length {
        y = step(&y)?;
    }
    let held = each(ALLOCATOR.allocated() - live);
    let recorded = each(ALLOCATOR.total_allocated() - total);
    let total = ALLOCATOR.total_allocated();
    assert!(y.backward()?.of(&x)?.item()?.is_finite());
    let reversed = each(ALLOCATOR.total_allocated() - total);
    drop((tape, x, y));
    // All of it is given back.
    assert!(ALLOCATOR.allocated() <= live + 4096);
    Ok(Cost {
        held,
        recorded,
        reversed,
    })
}

/// Bytes of the value of a node: a number, its reference count, and where it lies.
const VALUE: f64 = 56.0;

#[test]
fn a_node_takes_256_bytes_and_the_next_one_no_more() {
    let factor = Var::constant(Tensor::scalar(0.999));
    let functions: [(&str, Function); 4] = [
        ("shift", &|x| Ok(x.shift(1e-6))),
        ("sin", &|x| Ok(x.sin())),
        ("mul", &|x| x.mul(&factor)),
        ("add", &|x| x.add(&factor)),
    ];
    for (name, function) in functions {
        let short = chain(10_000, function).unwrap();
        let long = chain(1_000_000, function).unwrap();
        let beside_values = long.held - VALUE;
        assert!(
            beside_values <= 256.0,
            "{name}: {beside_values} bytes a node"
        );
        // A hundred times the length is a hundred times the work.
        for (short, long) in [
            (short.recorded, long.recorded),
            (short.reversed, long.reversed),
        ] {
            assert!(
                long <= 1.25 * short,
                "{name}: {short} bytes a node grew to {long}"
            );
        }
    }
}
