//! The network in loops over slices, as one would write it for these sizes alone: no tensors, no
//! tape, and no memory taken in a step.

use nn::prelude::*;

use crate::{BATCH, CLASSES, HIDDEN, INPUTS};

/// `relu(x · w₁ + b₁) · w₂ + b₂`, with everything that a step of it needs.
pub struct Network {
    hidden: Layer<INPUTS, HIDDEN>,
    output: Layer<HIDDEN, CLASSES>,
    activations: [[f32; HIDDEN]; BATCH],
    outputs: [[f32; CLASSES]; BATCH],
    steps: i32,
}

impl Network {
    /// With the weights of a model.
    pub fn new(weights: &[Tensor<f32>]) -> Self {
        Network {
            hidden: Layer::new(&weights[0], &weights[1]),
            output: Layer::new(&weights[2], &weights[3]),
            activations: [[0.0; HIDDEN]; BATCH],
            outputs: [[0.0; CLASSES]; BATCH],
            steps: 0,
        }
    }

    /// A step of Adam; returns the mean cross-entropy before it.
    pub fn train(&mut self, x: &[f32], labels: &[usize]) -> f32 {
        self.predict(x);
        let mut loss = 0.0;
        self.hidden.clear_gradients();
        self.output.clear_gradients();
        for (row, x) in x.chunks_exact(INPUTS).enumerate() {
            let errors = &mut self.outputs[row];
            loss -= errors[labels[row]].ln();
            errors[labels[row]] -= 1.0;
            for error in errors.iter_mut() {
                *error /= BATCH as f32;
            }
            let activations = &self.activations[row];
            self.output.add_gradients(activations, errors);
            let mut errors = self.output.errors_of_inputs(errors);
            for (error, &activation) in errors.iter_mut().zip(activations) {
                *error = if activation > 0.0 { *error } else { 0.0 };
            }
            self.hidden.add_gradients(x, &errors);
        }
        self.steps += 1;
        let correction =
            (1.0 - 0.999_f64.powi(self.steps)).sqrt() / (1.0 - 0.9_f64.powi(self.steps));
        let rate = (0.001 * correction) as f32;
        self.hidden.update(rate);
        self.output.update(rate);
        loss / BATCH as f32
    }

    /// The probability of each class.
    pub fn predict(&mut self, x: &[f32]) -> &[[f32; CLASSES]; BATCH] {
        for (row, x) in x.chunks_exact(INPUTS).enumerate() {
            let activations = &mut self.activations[row];
            self.hidden.apply(x, activations);
            for activation in activations.iter_mut() {
                *activation = activation.max(0.0);
            }
            self.output.apply(activations, &mut self.outputs[row]);
            softmax(&mut self.outputs[row]);
        }
        &self.outputs
    }
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    for value in values {
        *value /= sum;
    }
}

/// `y = x · kernel + bias`.
struct Layer<const IN: usize, const OUT: usize> {
    kernel: [Weights<OUT>; IN],
    bias: Weights<OUT>,
}

impl<const IN: usize, const OUT: usize> Layer<IN, OUT> {
    fn new(kernel: &Tensor<f32>, bias: &Tensor<f32>) -> Self {
        let kernel = kernel.to_vec();
        Layer {
            kernel: std::array::from_fn(|row| Weights::new(&kernel[row * OUT..][..OUT])),
            bias: Weights::new(&bias.to_vec()),
        }
    }

    fn apply(&self, x: &[f32], y: &mut [f32; OUT]) {
        *y = self.bias.values;
        for (&x, weights) in x.iter().zip(&self.kernel) {
            for (y, &weight) in y.iter_mut().zip(&weights.values) {
                *y += x * weight;
            }
        }
    }

    fn errors_of_inputs(&self, errors: &[f32; OUT]) -> [f32; IN] {
        std::array::from_fn(|row| {
            let products = self.kernel[row].values.iter().zip(errors);
            products.map(|(weight, error)| weight * error).sum()
        })
    }

    fn clear_gradients(&mut self) {
        self.bias.gradients = [0.0; OUT];
        for weights in &mut self.kernel {
            weights.gradients = [0.0; OUT];
        }
    }

    fn add_gradients(&mut self, x: &[f32], errors: &[f32; OUT]) {
        self.bias.add_gradients(1.0, errors);
        for (&x, weights) in x.iter().zip(&mut self.kernel) {
            weights.add_gradients(x, errors);
        }
    }

    fn update(&mut self, rate: f32) {
        self.bias.update(rate);
        for weights in &mut self.kernel {
            weights.update(rate);
        }
    }
}

/// Weights with their gradients and what Adam remembers of those.
struct Weights<const N: usize> {
    values: [f32; N],
    gradients: [f32; N],
    momentum: [f32; N],
    velocity: [f32; N],
}

impl<const N: usize> Weights<N> {
    fn new(values: &[f32]) -> Self {
        Weights {
            values: std::array::from_fn(|i| values[i]),
            gradients: [0.0; N],
            momentum: [0.0; N],
            velocity: [0.0; N],
        }
    }

    fn add_gradients(&mut self, x: f32, errors: &[f32; N]) {
        for (gradient, error) in self.gradients.iter_mut().zip(errors) {
            *gradient += x * error;
        }
    }

    /// Adam with Keras's defaults, at a rate that has its corrections in it.
    fn update(&mut self, rate: f32) {
        for i in 0..N {
            let gradient = self.gradients[i];
            self.momentum[i] += (gradient - self.momentum[i]) * 0.1;
            self.velocity[i] += (gradient * gradient - self.velocity[i]) * 0.001;
            self.values[i] -= self.momentum[i] * rate / (self.velocity[i].sqrt() + 1e-7);
        }
    }
}
