//! Running the layers: once over a batch, with or without a tape.

use autograd::{Tape, Var};
use tensor::{Error, Float, Shape, Tensor};

use super::Model;
use super::fuse::{Kernel, Plan, PlanKey, Step};
use super::graph::{Graph, Stage};
use crate::error::Result;
use crate::layer::Context;
use crate::layers::{Conv2d, Dense};
use crate::samples::Inputs;

/// Samples that run through the model together where the result does not depend on it; Keras's
/// default.
pub(super) const BATCH: usize = 32;

/// What the layers run with.
#[derive(Clone, Copy)]
pub(super) enum WeightSource<'a, T: Float> {
    /// The model's weights, as constants.
    Model,
    /// The model's weights; those that training changes are variables, which each layer makes on
    /// this tape just before it runs, so that the reverse pass is done with them just after it.
    Tape(&'a Tape<T>),
    /// These, in the order of [`Model::parameters`].
    Given(&'a [Var<T>]),
}

/// What a run gave.
pub(super) struct Run<T: Float> {
    pub(super) outputs: Vec<Var<T>>,
    /// The number, among the weights that gradients change, of each variable that was made on the
    /// tape, in the order in which they were made.
    pub(super) variables: Vec<usize>,
}

/// Sees the outputs of each layer, by the number of its call.
pub(super) type Observer<'a, T> = &'a mut dyn FnMut(usize, &Var<T>) -> Result<()>;

impl<T: Float> Graph<T> {
    /// Runs the steps of a plan on `inputs`; `observe` sees what each gives, and `context` takes the
    /// new states.
    pub(super) fn run(
        &self,
        plan: &Plan,
        inputs: Vec<Var<T>>,
        weights: WeightSource<'_, T>,
        context: &Context,
        observe: Observer<'_, T>,
    ) -> Result<Run<T>> {
        let tape = match weights {
            WeightSource::Model => None,
            WeightSource::Tape(tape) => Some(tape),
            WeightSource::Given(weights) => weights.iter().find_map(Var::tape),
        };
        let tape = tape.or(inputs.iter().find_map(Var::tape)).cloned();
        let mut source = LayerWeights {
            graph: self,
            weights,
            firsts: self.first_parameters(),
            shared: Vec::new(),
            variables: Vec::new(),
        };
        let mut uses = plan.uses.clone();
        let mut values: Vec<Option<Var<T>>> = inputs.into_iter().map(Some).collect();
        values.resize(self.shapes.len(), None);
        for step in &plan.steps {
            let call = &self.calls[step.first];
            let stage = &self.layers[call.layer];
            let taken = call.inputs.iter().map(|&value| {
                uses[value] -= 1;
                match uses[value] {
                    0 => values[value].take(),
                    _ => values[value].clone(),
                }
            });
            let Some(taken) = taken.collect::<Option<Vec<_>>>() else {
                return Err(Error::value("model", "a value is used before it is computed").into());
            };
            let first_weight = source.firsts[call.layer].0;
            let context = context.of_layer(call.layer, first_weight, !stage.trainable);
            let body = || {
                let weights = source.of(call.layer)?;
                run_step(stage, step, &taken, &weights, &context)
            };
            let result = match &tape {
                Some(tape) => tape.scope(&stage.name, body),
                None => autograd::section(&stage.name, body),
            };
            let outputs = result.map_err(|error| self.in_layer(error, call.layer))?;
            let places = self.calls[step.last].outputs.clone();
            if outputs.len() != places.len() {
                let message = format!(
                    "the layer gave {} values, not {}",
                    outputs.len(),
                    places.len()
                );
                return Err(self.in_layer(Error::value("model", message).into(), call.layer));
            }
            for (value, output) in places.zip(outputs) {
                observe(step.last, &output)?;
                values[value] = (uses[value] > 0).then_some(output);
            }
        }
        let variables = source.variables;
        let outputs = self.outputs.iter().map(|&value| {
            uses[value] -= 1;
            match uses[value] {
                0 => values[value].take(),
                _ => values[value].clone(),
            }
        });
        let Some(outputs) = outputs.collect::<Option<Vec<_>>>() else {
            return Err(Error::value("model", "an output was not computed").into());
        };
        Ok(Run { outputs, variables })
    }

    #[cold]
    fn in_layer(&self, error: crate::Error, index: usize) -> crate::Error {
        let stage = &self.layers[index];
        let error = error.with(format!("layer {index}"), stage.describe());
        match stage.input_shape() {
            Some(shape) => error.with("built for", format!("{shape}   (without the batch axis)")),
            None => error,
        }
    }

    /// For each layer, the number of its first weight, and that among the weights that gradients
    /// change.
    fn first_parameters(&self) -> Vec<(usize, usize)> {
        let mut next = (0, 0);
        let firsts = self.layers.iter().map(|stage| {
            let first = next;
            let parameters = stage.parameters();
            next.0 += parameters.len();
            next.1 += parameters.iter().filter(|p| stage.trains(p)).count();
            first
        });
        firsts.collect()
    }
}

fn run_step<T: Float>(
    stage: &Stage<T>,
    step: &Step,
    inputs: &[Var<T>],
    weights: &[Var<T>],
    context: &Context,
) -> Result<Vec<Var<T>>> {
    let layer = stage.layer() as &dyn std::any::Any;
    let fused = match (&step.kernel, inputs) {
        (Kernel::Absorbed, [x]) => Some(Ok(x.clone())),
        (Kernel::Dense { activation }, [x]) => layer
            .downcast_ref::<Dense>()
            .map(|dense| dense.forward_fused(x, weights, activation)),
        (
            Kernel::Conv2d {
                activation,
                pooling,
            },
            [x],
        ) => layer
            .downcast_ref::<Conv2d>()
            .map(|conv| conv.forward_fused(x, weights, context, activation, pooling.as_ref())),
        _ => None,
    };
    match fused {
        Some(output) => Ok(vec![output?]),
        None => stage.layer.forward_many(inputs, weights, context),
    }
}

/// Hands each layer its weights.
struct LayerWeights<'a, T: Float> {
    graph: &'a Graph<T>,
    weights: WeightSource<'a, T>,
    firsts: Vec<(usize, usize)>,
    /// Variables of layers that are called more than once.
    shared: Vec<(usize, Vec<Var<T>>)>,
    variables: Vec<usize>,
}

impl<T: Float> LayerWeights<'_, T> {
    /// The weights of a layer, in whose scope this is called.
    fn of(&mut self, index: usize) -> Result<Vec<Var<T>>> {
        let stage = &self.graph.layers[index];
        let (first, mut first_trainable) = self.firsts[index];
        let parameters = stage.parameters();
        match self.weights {
            WeightSource::Model => {
                let values = parameters.iter().map(|p| Var::constant(p.value.clone()));
                Ok(values.collect())
            }
            WeightSource::Given(all) => match all.get(first..first + parameters.len()) {
                Some(own) => Ok(own.to_vec()),
                None => Err(Error::value("model", "there are too few weights").into()),
            },
            WeightSource::Tape(tape) => {
                if let Some((_, made)) = self.shared.iter().find(|(layer, _)| *layer == index) {
                    return Ok(made.clone());
                }
                let made: Vec<Var<T>> = parameters
                    .iter()
                    .map(|parameter| match stage.trains(parameter) {
                        true => {
                            self.variables.push(first_trainable);
                            first_trainable += 1;
                            tape.variable(parameter.value.clone())
                        }
                        false => Var::constant(parameter.value.clone()),
                    })
                    .collect();
                if self.graph.calls_of(index).nth(1).is_some() {
                    self.shared.push((index, made.clone()));
                }
                Ok(made)
            }
        }
    }
}

impl<T: Float> Model<T> {
    /// Predictions for `x`, one row a sample; no tape is recorded.
    ///
    /// # Errors
    /// If the model is not built, built for samples of another shape, or has several outputs
    /// ([`Model::predict_many`] gives those).
    pub fn predict(&self, x: impl Into<Inputs>) -> Result<Tensor<T>> {
        let mut outputs = self.predict_many(x)?;
        match (outputs.pop(), outputs.len()) {
            (Some(output), 0) => Ok(output),
            _ => Err(Error::value("predict", "the model has several outputs")
                .with("outputs", self.output_names().join(", "))
                .fix("use `predict_many`")
                .into()),
        }
    }

    /// Predictions of each output for `x`, one row a sample; no tape is recorded.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let x = Input::new(&[4]);
    /// let (a, b) = (Dense::new(2).apply(&x)?, Dense::new(3).apply(&x)?);
    /// let model = Model::new(&x, [&a, &b])?;
    /// let outputs = model.predict_many(&Tensor::<f32>::ones([5, 4])?)?;
    /// assert_eq!((outputs[0].shape()[1], outputs[1].shape()[1]), (2, 3));
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not built, or built for samples of another shape.
    pub fn predict_many(&self, x: impl Into<Inputs>) -> Result<Vec<Tensor<T>>> {
        let x = x.into();
        self.require_fit("predict", &x)?;
        self.on_pool(x.len(), || self.predict_all(&x))
    }

    /// Predictions for samples that fit.
    fn predict_all(&self, x: &Inputs) -> Result<Vec<Tensor<T>>> {
        let count = x.len();
        let shapes = self.graph.outputs.iter().map(|&value| {
            let mut shape = Shape::from(count);
            let output = self.graph.shapes[value]
                .as_ref()
                .map_or(&[][..], |shape| shape);
            output.iter().for_each(|&size| shape.push(size));
            shape
        });
        let shapes: Vec<Shape> = shapes.collect();
        if (1..=BATCH).contains(&count) {
            let predictions = self.predict_batch(x.to_tensors("predict")?)?;
            for (output, shape) in predictions.iter().zip(&shapes) {
                if output.shape() != shape {
                    return Err(unexpected_output(output.shape(), shape));
                }
            }
            return Ok(predictions);
        }
        let zeros = shapes.iter().map(Tensor::zeros);
        let mut predictions = zeros
            .collect::<tensor::Result<Vec<Tensor<T>>>>()
            .map_err(|error| error.in_operation("predict"))?;
        let mut start = 0;
        while start < count {
            let end = count.min(start + BATCH);
            let outputs = self.predict_batch(x.slice(start..end)?.to_tensors("predict")?)?;
            for (all, output) in predictions.iter_mut().zip(&outputs) {
                let row = all.len() / count;
                if output.len() != (end - start) * row {
                    return Err(unexpected_output(output.shape(), all.shape()));
                }
                if let Some(output) = output.as_slice() {
                    all.make_mut()[start * row..end * row].copy_from_slice(output);
                }
            }
            start = end;
        }
        Ok(predictions)
    }

    /// Predictions for samples that run through the model together.
    fn predict_batch(&self, x: Vec<Tensor<T>>) -> Result<Vec<Tensor<T>>> {
        let inputs = x.into_iter().map(Var::constant).collect();
        let key = PlanKey::default();
        let run = self.run(inputs, WeightSource::Model, &self.predict_context(), &key)?;
        let outputs = run.outputs.into_iter();
        let contiguous = outputs.map(|output| output.into_value().try_contiguous("predict"));
        Ok(contiguous.collect::<tensor::Result<_>>()?)
    }

    /// All weights as variables on `tape`, in the order of [`Model::parameters`] and in the scopes
    /// of their layers, but for those that gradients do not change, which are constants: for
    /// [`Model::forward`].
    pub fn variables(&self, tape: &Tape<T>) -> Vec<Var<T>> {
        let mut variables = Vec::with_capacity(self.parameters().count());
        for stage in &self.graph.layers {
            tape.scope(&stage.name, || {
                let values = stage.parameters().iter();
                variables.extend(values.map(|parameter| match stage.trains(parameter) {
                    true => tape.variable(parameter.value.clone()),
                    false => Var::constant(parameter.value.clone()),
                }));
            });
        }
        variables
    }

    /// The output for a batch `x` with these weights, which come in the order of
    /// [`Model::parameters`] and need not be the model's own: for training loops of one's own,
    /// and for derivatives of any order with respect to weights and inputs. Dropout does not act.
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use nn::prelude::*;
    ///
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(1).input_shape(&[3]));
    /// let tape = Tape::new();
    /// let weights = model.variables(&tape);
    /// let x = Var::from(Tensor::from([[1.0_f32, 2.0, 3.0]]));
    /// let y = model.forward(&x, &weights)?;
    /// assert_eq!(y.sum(..)?.backward()?.of(&weights[0])?.to_vec(), [1.0, 2.0, 3.0]);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not built, or built for samples of another shape, there are more or
    /// fewer weights than it has, or it has several inputs or outputs
    /// ([`Model::forward_many`] takes and gives those).
    pub fn forward(&self, x: &Var<T>, weights: &[Var<T>]) -> Result<Var<T>> {
        let mut outputs = self.forward_many(std::slice::from_ref(x), weights)?;
        match (outputs.pop(), outputs.len()) {
            (Some(output), 0) => Ok(output),
            _ => Err(Error::value("forward", "the model has several outputs")
                .fix("use `forward_many`")
                .into()),
        }
    }

    /// [`Model::forward`] for models with any number of inputs and outputs.
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn forward_many(&self, x: &[Var<T>], weights: &[Var<T>]) -> Result<Vec<Var<T>>> {
        self.require_built()?;
        let shapes: Vec<&Shape> = x.iter().map(Var::shape).collect();
        self.require_shapes("forward", &shapes)?;
        self.require_weights("forward", weights)?;
        let weights = WeightSource::Given(weights);
        let key = PlanKey::default();
        let run = self.run(x.to_vec(), weights, &self.predict_context(), &key)?;
        Ok(run.outputs)
    }

    /// Runs all layers with these weights.
    pub(super) fn run(
        &self,
        inputs: Vec<Var<T>>,
        weights: WeightSource<'_, T>,
        context: &Context,
        key: &PlanKey,
    ) -> Result<Run<T>> {
        let plan = self.plans.get(&self.graph, key);
        let mut observe = |_: usize, _: &Var<T>| Ok(());
        self.graph
            .run(&plan, inputs, weights, context, &mut observe)
    }

    /// The context of a training step, counted from 0.
    pub(super) fn step_context(&self, step: u64) -> Context {
        let key = mix(mix(self.seed).wrapping_add(step));
        Context::training(key).or_conv_algorithm(self.conv_algorithm)
    }

    /// The context of a prediction.
    pub(super) fn predict_context(&self) -> Context {
        Context::predicting().or_conv_algorithm(self.conv_algorithm)
    }

    /// Checks that there are as many weights as the model has.
    pub(super) fn require_weights(&self, operation: &str, weights: &[Var<T>]) -> Result<()> {
        let count = self.parameters().count();
        if weights.len() == count {
            return Ok(());
        }
        let message = format!("{} weights given, the model has {count}", weights.len());
        Err(Error::value(operation, message).into())
    }

    /// Checks that the model is built for samples such as `x`.
    pub(super) fn require_fit(&self, operation: &str, x: &Inputs) -> Result<()> {
        self.require_built()?;
        self.require_shapes(operation, &x.shapes())
    }

    /// Checks that the inputs, samples first, are what the model takes.
    pub(super) fn require_shapes(&self, operation: &str, shapes: &[&Shape]) -> Result<()> {
        self.require_whole(operation)?;
        let count = self.graph.inputs.len();
        if shapes.len() != count {
            let message = format!("the model takes {count} inputs, {} are given", shapes.len());
            return Err(Error::value(operation, message)
                .fix("give several inputs as an array: `[&a, &b]`")
                .into());
        }
        for (shape, own) in shapes.iter().zip(&self.graph.shapes) {
            let Some(expected) = own else { continue };
            if shape.rank() == expected.rank() + 1 && shape[1..] == expected[..] {
                continue;
            }
            let error = Error::shape(
                operation,
                "the samples have another shape than the model takes",
            )
            .with("samples", format!("{shape}   (samples first)"))
            .with("model", format!("{expected}   (one sample)"));
            let channels_first = match expected[..] {
                [height, width, channels] => shape.get(1..) == Some(&[channels, height, width]),
                _ => false,
            };
            return Err(error
                .fix(match channels_first {
                    true => "move the channels behind height and width: `x.permute(&[0, 2, 3, 1])`",
                    false => {
                        "add the axis of samples with `expand_dims(0)` if this is a single one"
                    }
                })
                .into());
        }
        Ok(())
    }
}

#[cold]
fn unexpected_output(output: &Shape, promised: &Shape) -> crate::Error {
    Error::shape(
        "predict",
        "the layers gave an output of an unexpected shape",
    )
    .with("output", output)
    .with("promised by `build`", promised)
    .into()
}

/// The key of a layer's random numbers in a run: SplitMix64 (Steele, Lea and Flood 2014) over seed,
/// step and the number of the layer.
pub(crate) fn part_key(key: u64, layer: usize) -> u64 {
    mix(key.wrapping_add(layer as u64))
}

fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_seed_step_and_layer() {
        let mut keys = std::collections::HashSet::new();
        for seed in 0..20 {
            let model: Model<f32> = crate::Sequential::new().seed(seed).into();
            for step in 0..20 {
                for layer in 0..20 {
                    keys.insert(part_key(model.step_context(step).key(), layer));
                }
            }
        }
        assert_eq!(keys.len(), 8000);
    }
}
