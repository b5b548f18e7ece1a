//! Models as layers of other models.

use std::any::Any;
use std::sync::Arc;

use autograd::Var;
use tensor::{Error, Float, Shape};

use super::forward::WeightSource;
use super::fuse::PlanKey;
use super::graph::Graph;
use super::{Model, Sequential, Symbol, Symbols};
use crate::error::Result;
use crate::layer::{Context, Identity, IntoLayer, Layer, Reach, Shared};
use crate::parameter::Weights;

/// Names that models have before they are given one; each place in a model makes up its own.
const UNNAMED: [&str; 2] = ["functional", "sequential"];

/// A model as a layer.
pub(crate) struct Nested<T: Float>(pub(crate) Model<T>);

impl<T: Float> Layer<T> for Nested<T> {
    fn class_name(&self) -> &str {
        match self.0.graph.is_chain() {
            true => "Sequential",
            false => "Functional",
        }
    }

    fn build(&self, input: &Shape, weights: &mut Weights<T>) -> Result<Shape> {
        only(self.build_many(std::slice::from_ref(input), weights)?)
    }

    fn forward(&self, x: &Var<T>, weights: &[Var<T>], context: &Context) -> Result<Var<T>> {
        only(self.forward_many(std::slice::from_ref(x), weights, context)?)
    }

    fn build_many(&self, inputs: &[Shape], weights: &mut Weights<T>) -> Result<Vec<Shape>> {
        let graph = self.0.graph_for(inputs)?;
        for stage in &graph.layers {
            let start = weights.parameters.len();
            weights.scope(&stage.name, |weights| {
                if self.0.fresh {
                    stage.layer.build_many(stage.built_inputs(), weights)?;
                    return Ok(());
                }
                let parameters = stage.parameters().iter();
                parameters
                    .into_iter()
                    .try_for_each(|parameter| weights.add_parameter(parameter))
            })?;
            for parameter in &mut weights.parameters[start..] {
                parameter.trainable &= stage.trainable;
            }
        }
        let outputs = graph
            .outputs
            .iter()
            .map(|&value| graph.shapes[value].clone());
        let known: Option<Vec<Shape>> = outputs.collect();
        known.ok_or_else(|| Error::value("model", "the nested model is not built").into())
    }

    fn forward_many(
        &self,
        inputs: &[Var<T>],
        weights: &[Var<T>],
        context: &Context,
    ) -> Result<Vec<Var<T>>> {
        let model = &self.0;
        let graph = model.nested.get().unwrap_or(&model.graph);
        let plan = model.plans.get(graph, &PlanKey::default());
        let weights = WeightSource::Given(weights);
        let observe = &mut |_: usize, _: &Var<T>| Ok(());
        let context = context.or_conv_algorithm(model.conv_algorithm);
        let run = graph.run(&plan, inputs.to_vec(), weights, &context, observe)?;
        Ok(run.outputs)
    }

    fn identity(&self) -> Identity {
        let name = self.0.name();
        let named = !UNNAMED.contains(&name);
        Identity {
            name: named.then(|| name.to_string()),
            input_shape: self.0.input_shape().cloned(),
            trainable: true,
        }
    }

    fn reach(&self) -> Reach {
        Reach::Everything
    }

    fn label(&self) -> String {
        let class = Layer::<T>::class_name(self);
        format!("{class} of {}", self.0.graph.layers.len())
    }
}

fn only<X>(values: Vec<X>) -> Result<X> {
    let count = values.len();
    match <[X; 1]>::try_from(values) {
        Ok([value]) => Ok(value),
        Err(_) => {
            let message = format!("the nested model gives {count} values, not one");
            Err(Error::value("model", message).into())
        }
    }
}

/// Tells [`IntoLayer`] that something is a model.
pub struct IsModel;

/// Tells [`IntoLayer`] that something is a sequential model.
pub struct IsSequential;

impl<T: Float> IntoLayer<T, IsModel> for Model<T> {
    fn into_layer(self) -> Arc<dyn Layer<T>> {
        Arc::new(Nested(self))
    }
}

impl<T: Float> IntoLayer<T, IsSequential> for Sequential<T> {
    fn into_layer(self) -> Arc<dyn Layer<T>> {
        Arc::new(Nested(self.into()))
    }
}

impl<T: Float> Sequential<T> {
    /// [`Model::apply`].
    ///
    /// # Errors
    /// Those of [`Model::apply`].
    pub fn apply(self, inputs: impl Symbols<T>) -> Result<Symbol<T>> {
        Shared::new(self).apply(inputs)
    }
}

impl<T: Float> Model<T> {
    /// The model's value at `inputs`, as a part of other models: its layers and weights become part
    /// of those, with paths for names (`"encoder/conv2d/kernel"`).
    ///
    /// The other model starts from the weights that this one has, if they were trained, loaded or
    /// set; otherwise it draws its own. They are its own from then on. Layers that are frozen stay
    /// so; the loss and the optimizer of this model play no part. [`Sequential::add`] takes models
    /// too.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let mut encoder = Sequential::new();
    /// encoder.set_name("encoder");
    /// encoder.add(Dense::new(3).activation(ActivationFunction::Relu).input_shape(&[8]));
    ///
    /// let x = Input::new(&[8]);
    /// let code = encoder.apply(&x)?;
    /// let model = Model::new(&x, &Dense::new(8).apply(&code)?)?;
    /// assert_eq!(model.layers()[0].name(), "encoder");
    /// assert_eq!(model.layers()[0].parameters()[0].name(), "dense/kernel");
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model cannot take inputs of these shapes, or has several outputs, which
    /// [`Shared::apply_many`] gives.
    pub fn apply(self, inputs: impl Symbols<T>) -> Result<Symbol<T>> {
        Shared::new(self).apply(inputs)
    }

    /// Whether each layer is fed by the one before alone, and none is a model.
    pub(crate) fn is_plain_chain(&self) -> bool {
        let is_model = |layer: &dyn Any| layer.is::<Nested<T>>();
        let mut layers = self.graph.layers.iter();
        self.graph.is_chain() && !layers.any(|stage| is_model(stage.layer() as &dyn Any))
    }

    /// The graph, built for these inputs.
    fn graph_for(&self, inputs: &[Shape]) -> Result<&Graph<T>> {
        let graph = match self.graph.knows_inputs() {
            true => &self.graph,
            false => {
                // Made whole or not at all; whoever comes second finds that of the first.
                if self.nested.get().is_none() {
                    let mut graph = self.graph.unbuilt();
                    for (own, shape) in graph.shapes.iter_mut().zip(inputs) {
                        *own = Some(shape.clone());
                    }
                    graph.build(self.seed)?;
                    let _ = self.nested.set(graph);
                }
                self.nested.get().unwrap_or(&self.graph)
            }
        };
        let own = graph.shapes[..graph.inputs.len()].iter().flatten();
        if own.eq(inputs) {
            graph.require_built(self.seed)?;
            return Ok(graph);
        }
        let list = |shapes: Vec<&Shape>| {
            let texts: Vec<String> = shapes.into_iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        let own = graph.shapes[..graph.inputs.len()].iter().flatten();
        Err(
            Error::shape("model", "the nested model takes inputs of another shape")
                .with("nested model", list(own.collect()))
                .with("inputs", list(inputs.iter().collect()))
                .into(),
        )
    }
}
