//! The network in loops over slices: no tensors, no tape, and no memory taken in a step.
//!
//! Loops count, since what iterators call need not be inlined in a program of several codegen units.

use nn::prelude::*;

/// `relu(x · w₁ + b₁) · w₂ + b₂`, with everything that a step of it needs.
pub struct Network {
    hidden: Layer,
    output: Layer,
    /// A row a sample: outputs of the hidden layer, probabilities, and the hidden layer's errors.
    activations: Vec<f32>,
    outputs: Vec<f32>,
    errors: Vec<f32>,
    steps: i32,
}

impl Network {
    /// With the weights of a model, for batches of this size.
    pub fn new(weights: &[Tensor<f32>], batch: usize) -> Self {
        let (hidden, output) = (
            Layer::new(&weights[0], &weights[1]),
            Layer::new(&weights[2], &weights[3]),
        );
        Network {
            activations: vec![0.0; batch * hidden.outputs],
            errors: vec![0.0; hidden.outputs],
            outputs: vec![0.0; batch * output.outputs],
            hidden,
            output,
            steps: 0,
        }
    }

    /// A step of Adam; returns the mean cross-entropy before it.
    pub fn train(&mut self, x: &[f32], labels: &[usize]) -> f32 {
        self.predict(x);
        let mut loss = 0.0;
        self.hidden.clear_gradients();
        self.output.clear_gradients();
        let rows = x.chunks_exact(self.hidden.inputs);
        let activations = self.activations.chunks_exact(self.hidden.outputs);
        let outputs = self.outputs.chunks_exact_mut(self.output.outputs);
        for (((x, activations), errors), &label) in rows.zip(activations).zip(outputs).zip(labels) {
            loss -= errors[label].ln();
            errors[label] -= 1.0;
            for error in errors.iter_mut() {
                *error /= labels.len() as f32;
            }
            self.output.add_gradients(activations, errors);
            self.output.errors_of_inputs(errors, &mut self.errors);
            for (error, &activation) in self.errors.iter_mut().zip(activations) {
                *error = if activation > 0.0 { *error } else { 0.0 };
            }
            self.hidden.add_gradients(x, &self.errors);
        }
        self.steps += 1;
        let correction =
            (1.0 - 0.999_f64.powi(self.steps)).sqrt() / (1.0 - 0.9_f64.powi(self.steps));
        let rate = (0.001 * correction) as f32;
        self.hidden.update(rate);
        self.output.update(rate);
        loss / labels.len() as f32
    }

    /// The probability of each class, a row a sample.
    pub fn predict(&mut self, x: &[f32]) -> &[f32] {
        let rows = x.chunks_exact(self.hidden.inputs);
        let activations = self.activations.chunks_exact_mut(self.hidden.outputs);
        let outputs = self.outputs.chunks_exact_mut(self.output.outputs);
        for ((x, activations), outputs) in rows.zip(activations).zip(outputs) {
            self.hidden.apply(x, activations);
            for activation in activations.iter_mut() {
                *activation = activation.max(0.0);
            }
            self.output.apply(activations, outputs);
            softmax(outputs);
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
struct Layer {
    inputs: usize,
    outputs: usize,
    kernel: Weights,
    bias: Weights,
}

impl Layer {
    fn new(kernel: &Tensor<f32>, bias: &Tensor<f32>) -> Self {
        Layer {
            inputs: kernel.shape()[0],
            outputs: kernel.shape()[1],
            kernel: Weights::new(kernel),
            bias: Weights::new(bias),
        }
    }

    fn apply(&self, x: &[f32], y: &mut [f32]) {
        y.copy_from_slice(&self.bias.values);
        let outputs = y.len();
        for i in 0..x.len() {
            let weights = &self.kernel.values[i * outputs..][..outputs];
            for j in 0..outputs {
                y[j] += x[i] * weights[j];
            }
        }
    }

    fn errors_of_inputs(&self, errors: &[f32], of_inputs: &mut [f32]) {
        let outputs = errors.len();
        for i in 0..of_inputs.len() {
            let weights = &self.kernel.values[i * outputs..][..outputs];
            let mut sum = 0.0;
            for j in 0..outputs {
                sum += weights[j] * errors[j];
            }
            of_inputs[i] = sum;
        }
    }

    fn clear_gradients(&mut self) {
        self.kernel.gradients.fill(0.0);
        self.bias.gradients.fill(0.0);
    }

    fn add_gradients(&mut self, x: &[f32], errors: &[f32]) {
        let outputs = errors.len();
        for i in 0..x.len() {
            let gradients = &mut self.kernel.gradients[i * outputs..][..outputs];
            for j in 0..outputs {
                gradients[j] += x[i] * errors[j];
            }
        }
        let gradients = &mut self.bias.gradients[..outputs];
        for j in 0..outputs {
            gradients[j] += errors[j];
        }
    }

    fn update(&mut self, rate: f32) {
        self.kernel.update(rate);
        self.bias.update(rate);
    }
}

/// Weights with their gradients and what Adam remembers of those.
struct Weights {
    values: Vec<f32>,
    gradients: Vec<f32>,
    momentum: Vec<f32>,
    velocity: Vec<f32>,
}

impl Weights {
    fn new(values: &Tensor<f32>) -> Self {
        let zeros = || vec![0.0; values.len()];
        Weights {
            values: values.to_vec(),
            gradients: zeros(),
            momentum: zeros(),
            velocity: zeros(),
        }
    }

    /// Adam with Keras's defaults, at a rate that has its corrections in it.
    fn update(&mut self, rate: f32) {
        let len = self.values.len();
        let (values, gradients) = (&mut self.values[..len], &self.gradients[..len]);
        let (momentum, velocity) = (&mut self.momentum[..len], &mut self.velocity[..len]);
        for i in 0..len {
            momentum[i] += (gradients[i] - momentum[i]) * 0.1;
            velocity[i] += (gradients[i] * gradients[i] - velocity[i]) * 0.001;
            values[i] -= momentum[i] * rate / (velocity[i].sqrt() + 1e-7);
        }
    }
}
