//! Loss, logits and every gradient of the classifier at full width against PyTorch's.

use autograd::{Tape, Var};
use nn::data::npz::Npz;
use nn::prelude::*;
use tensor::{Float, Tensor};
use tests::formula::{he_uniform, scaled, uniform};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/network_pytorch.npz");
const LAYERS: [&str; 6] = ["conv1", "conv2", "conv3", "conv4", "dense1", "dense2"];

fn network<T: Float>() -> nn::Result<Sequential<T>> {
    let mut model = examples::scorer(&[16, 16, 3], 6, 0);
    model.build()?;
    let mut weights = Vec::new();
    for (position, weight) in model.weights().iter().enumerate() {
        let seed = position as u64 + 1;
        weights.push(match weight.rank() {
            1 => scaled(weight.shape(), seed, 0.1, 0.0)?,
            _ => he_uniform(weight.shape(), seed)?,
        });
    }
    model.set_weights(weights)?;
    Ok(model)
}

struct Reference<'a> {
    file: Npz<'a>,
    precision: &'a str,
    tolerance: f64,
}

impl Reference<'_> {
    fn read(&mut self, name: &str) -> Tensor<f64> {
        self.file.array(name).unwrap().to().unwrap()
    }

    fn get(&mut self, name: &str) -> Tensor<f64> {
        let name = format!("{}/{name}", self.precision);
        self.read(&name)
    }

    #[track_caller]
    fn assert_close(&self, ours: f64, theirs: f64, scale: f64, what: &str) {
        let error = (ours - theirs).abs() / theirs.abs().max(scale);
        assert!(
            error <= self.tolerance,
            "{what}: {ours} is not {theirs}, off by {error:e}"
        );
    }

    fn check_gradient<T: Float>(&mut self, name: &str, gradient: &Tensor<T>) {
        let ours: Vec<f64> = gradient.iter().map(T::to_f64).collect();
        let norm = self.get(&format!("grad/{name}/norm")).item().unwrap();
        let own_norm = ours.iter().map(|g| g * g).sum::<f64>().sqrt();
        self.assert_close(own_norm, norm, 0.0, &format!("norm of {name}"));
        // Sums and products cancel, so they are judged beside what they are sums of.
        let sum = self.get(&format!("grad/{name}/sum")).item().unwrap();
        self.assert_close(ours.iter().sum(), sum, norm, &format!("sum of {name}"));
        let direction = uniform::<f64>([ours.len()], 99).unwrap();
        let projection: f64 = ours.iter().zip(direction.iter()).map(|(g, d)| g * d).sum();
        let expected = self.get(&format!("grad/{name}/projection")).item().unwrap();
        self.assert_close(projection, expected, norm, &format!("projection of {name}"));
        let indices = self.read(&format!("indices/{name}"));
        let values = self.get(&format!("grad/{name}/values"));
        let size = norm / (ours.len() as f64).sqrt();
        for (index, expected) in indices.iter().zip(values.iter()) {
            let what = format!("{name} at {index}");
            self.assert_close(ours[index as usize], expected, size, &what);
        }
    }
}

fn check<T: Float>(precision: &str, tolerance: f64) -> nn::Result<()> {
    let mut reference = Reference {
        file: Npz::open(FIXTURE)?,
        precision,
        tolerance,
    };
    let seed = reference.read("input_seed").item()? as u64;
    let images: Tensor<T> = scaled([4, 16, 16, 3], seed, 0.5, 0.5)?;
    let model = network::<T>()?;
    let tape = Tape::new();
    let x = tape.variable(images);
    let weights = model.variables(&tape);
    let logits = model.forward(&x, &weights)?;
    let labels = Tensor::from_fn([4, 6], |at| {
        T::constant(f64::from(u8::from(at[0] == at[1])))
    })?;
    let loss = logits
        .softmax_cross_entropy_with(&Var::constant(labels))?
        .mean(..)?;

    let expected = reference.get("loss").item()?;
    reference.assert_close(loss.item()?.to_f64(), expected, 0.0, "loss");
    let expected = reference.get("logits");
    for (ours, theirs) in logits.value().iter().zip(expected.iter()) {
        reference.assert_close(ours.to_f64(), theirs, 0.1, "logits");
    }
    let gradients = loss.backward()?;
    reference.check_gradient("input", gradients.of(&x)?);
    for (layer, pair) in LAYERS.iter().zip(weights.chunks(2)) {
        for (weight, kind) in pair.iter().zip(["kernel", "bias"]) {
            reference.check_gradient(&format!("{layer}/{kind}"), gradients.of(weight)?);
        }
    }
    Ok(())
}

#[test]
fn double_precision_to_a_billionth() -> nn::Result<()> {
    check::<f64>("f64", 1e-9)
}

#[test]
fn single_precision_to_a_ten_thousandth() -> nn::Result<()> {
    check::<f32>("f32", 1e-4)
}
