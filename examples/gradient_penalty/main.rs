//! Second order through a convolutional network: a loss that contains a gradient.
//!
//! A picture that is changed a little should be recognised as before, so the loss should be flat
//! around each picture. Double backpropagation (Drucker and LeCun, "Improving generalization
//! performance using double backpropagation", 1992) adds the slope itself to what is minimised:
//!
//! `Σᵢ ( lossᵢ + λ ‖∂lossᵢ/∂xᵢ‖² )`
//!
//! Its derivative with respect to the weights contains `∂²loss/∂w∂x`: a second reverse pass, through
//! the first. The gradient penalty of WGAN-GP (Gulrajani et al., 2017) is the same construction.
//! Here equal networks learn the same digits, without the penalty and with it. Then the pictures
//! are disturbed: by noise, and by the step that harms most, `ε · sign(∂loss/∂x)` (Goodfellow,
//! Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", 2015).
//!
//! `cargo run --release --example gradient_penalty`
use autograd::{Tape, Var};
use nn::data::{ImageSet, npz::Npz};
use nn::prelude::*;
use tensor::generator;

fn main() -> nn::Result<()> {
    let (train, test) = digits()?.split(0.2, 42)?;
    let (train, test) = (Digits::new(&train, 4000)?, Digits::new(&test, 1000)?);
    println!("4,000 digits to train, 1,000 others to test; accuracy in % on pictures that are");
    println!("clean, noisy (standard deviation σ), or changed by ε in the worst direction.\n");
    println!("    λ  clean  σ = 0.3  σ = 0.6  ε = 0.05  ε = 0.1  ε = 0.15  mean ‖∂loss/∂x‖");
    for penalty in [0.0, 0.1, 1.0] {
        let mut model = network(&[8, 16])?;
        train_model(&mut model, &train, penalty, 12)?;
        let slopes = input_gradient(&model, &test)?;
        print!(
            "{penalty:>5} {:>6.1}",
            accuracy(&model, &test.images, &test)?
        );
        for sigma in [0.3, 0.6] {
            let noise = Tensor::normal(test.images.shape(), 0.0, sigma, &mut generator(5))?;
            let noisy = &test.images + &noise;
            print!(" {:>8.1}", accuracy(&model, &noisy, &test)?);
        }
        for epsilon in [0.05, 0.1, 0.15] {
            let worst = &test.images + &(slopes.sign() * epsilon);
            print!(" {:>8.1}", accuracy(&model, &worst, &test)?);
        }
        let steepness = slopes.square().sum([1, 2, 3])?.sqrt().mean(..)?;
        println!(" {:>16.3}", steepness.item()?);
    }
    Ok(())
}

fn digits() -> nn::Result<ImageSet> {
    ImageSet::from_npz(&mut Npz::from_bytes(include_bytes!("../data/digits.npz"))?)
}

/// Pictures in `0 ..= 1`, `[count, 28, 28, 1]`, and their labels.
struct Digits {
    images: Tensor<f32>,
    labels: Tensor<i64>,
}

impl Digits {
    /// The first `count` pictures of the set.
    fn new(set: &ImageSet, count: usize) -> nn::Result<Self> {
        Ok(Digits {
            images: set.images.slice_axis(0, ..count as isize)?.cast::<f32>() / 255.0,
            labels: set.labels.slice_axis(0, ..count as isize)?.cast(),
        })
    }
}

/// Two convolutions and a dense layer, whose ten outputs are scores.
fn network(channels: &[usize; 2]) -> nn::Result<Sequential> {
    let mut model = Sequential::new().seed(42);
    model.add(
        Conv2d::new(channels[0], [5, 5])
            .stride([2, 2])
            .input_shape(&[28, 28, 1]),
    );
    model.add(Activation::relu());
    model.add(Conv2d::new(channels[1], [3, 3]).stride([2, 2]));
    model.add(Activation::relu());
    model.add(Flatten::new());
    model.add(Dense::new(10));
    model.compile(
        SparseCategoricalCrossentropy::new(),
        Adam::new(0.003),
        None::<Accuracy>,
    )?;
    Ok(model)
}

fn train_model(model: &mut Sequential, data: &Digits, penalty: f64, epochs: u64) -> nn::Result<()> {
    let (count, batch) = (data.labels.len(), 40);
    for epoch in 0..epochs {
        let order = Tensor::permutation(count, &mut generator(epoch))?;
        for start in (0..count).step_by(batch) {
            let end = count.min(start + batch);
            let rows = order.slice_axis(0, start as isize..end as isize)?;
            let images = data.images.index_select(0, &rows)?;
            let labels = data.labels.index_select(0, &rows)?;
            let gradients = gradients(model, images, &labels, penalty)?;
            model.apply_gradients(gradients)?;
        }
    }
    Ok(())
}

/// The gradients of the penalised loss of a batch with respect to all weights.
fn gradients(
    model: &Sequential,
    images: Tensor<f32>,
    labels: &Tensor<i64>,
    penalty: f64,
) -> nn::Result<Vec<Tensor<f32>>> {
    let tape = Tape::new();
    let weights = model.variables(&tape);
    let images = tape.variable(images);
    let loss = model
        .forward(&images, &weights)?
        .softmax_cross_entropy(labels)?
        .sum(..)?;
    let total = match penalty {
        0.0 => loss,
        _ => {
            // A first reverse pass that is recorded, so that the second can go through it.
            let slope = loss
                .reverse()
                .create_graph()
                .only(&[&images])
                .run()?
                .var(&images)?;
            loss.add(&slope.square().sum(..)?.scale(penalty))?
        }
    };
    let gradients = total.scale(1.0 / labels.len() as f64).backward()?;
    Ok(weights
        .iter()
        .map(|w| gradients.of(w).cloned())
        .collect::<Result<_, _>>()?)
}

/// `∂lossᵢ/∂xᵢ` for each picture.
fn input_gradient(model: &Sequential, data: &Digits) -> nn::Result<Tensor<f32>> {
    let tape = Tape::new();
    let weights: Vec<Var> = model.weights().into_iter().map(Var::from).collect();
    let images = tape.variable(data.images.clone());
    let scores = model.forward(&images, &weights)?;
    let loss = scores.softmax_cross_entropy(&data.labels)?.sum(..)?;
    Ok(loss.backward()?.of(&images)?.clone())
}

/// Of how many `images` in a hundred the highest score is that of their label.
fn accuracy(model: &Sequential, images: &Tensor<f32>, data: &Digits) -> nn::Result<f64> {
    let right = model.predict(images)?.argmax(-1)?.eq(&data.labels)?;
    Ok(right.iter().filter(|&right| right).count() as f64 * 100.0 / right.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_penalty_flattens_the_loss_and_protects_against_the_worst_direction() {
        let (train, test) = digits().unwrap().split(0.2, 1).unwrap();
        let train = Digits::new(&train, 400).unwrap();
        let test = Digits::new(&test, 200).unwrap();
        let [plain, flat] = [0.0, 3.0].map(|penalty| {
            let mut model = network(&[4, 8]).unwrap();
            train_model(&mut model, &train, penalty, 6).unwrap();
            let slopes = input_gradient(&model, &test).unwrap();
            let worst = &test.images + &(slopes.sign() * 0.1);
            let steepness = slopes.square().sum(..).unwrap().item().unwrap();
            (accuracy(&model, &worst, &test).unwrap(), steepness)
        });
        assert!(flat.1 < 0.5 * plain.1, "{} {}", plain.1, flat.1);
        assert!(flat.0 > plain.0 + 10.0, "{} {}", plain.0, flat.0);
    }
}
