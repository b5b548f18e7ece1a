//! Draws a convolutional network three times: its layers, the graph that one training step records,
//! and that graph with the derivative that a reverse pass adds to it.
//!
//! `cargo run --release --example draw_graph -- FOLDER` writes `network.svg`, `forward.svg` and
//! `gradient.svg`; without a folder, to `target/pictures`.
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use autograd::{Tape, Var};
use nn::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1);
    let folder = folder.map_or("target/pictures".into(), PathBuf::from);
    fs::create_dir_all(&folder)?;

    let model = examples::classifier(&[28, 28, 1], 10, 0)?;
    fs::write(folder.join("network.svg"), model.graph()?.to_svg()?)?;

    let tape = Tape::new();
    let weights = model.variables(&tape);
    let images = Var::from(Tensor::zeros([32, 28, 28, 1])?);
    let classes = Tensor::full([32, 10], 0.1_f32)?;
    let loss = model.training_loss(&images, &classes, &weights)?;
    fs::write(folder.join("forward.svg"), tape.graph().to_svg()?)?;

    // The reverse pass records itself, so that it can be seen (and differentiated again).
    loss.reverse().create_graph().run()?;
    fs::write(folder.join("gradient.svg"), tape.graph().to_svg()?)?;

    println!("{}", tape.graph());
    println!(
        "Drawn: network.svg, forward.svg, gradient.svg in {}",
        folder.display()
    );
    Ok(())
}
