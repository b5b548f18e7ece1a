//! Matrices that may be products not computed yet.

use crate::error::{Error, Result};
use crate::float::Float;
use crate::matmul::MatrixRef;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A tensor, or a matrix `left · right` that is known by its factors.
///
/// A large product of thin factors, such as the gradient of a fully connected layer's weights, is
/// more memory than arithmetic. Whoever uses each of its elements once need not store it:
/// [`Tensor::update`] multiplies a block of rows at a time, and uses it while it is in the cache.
///
/// ```
/// use tensor::{Factored, Tensor};
/// let (left, right) = (Tensor::from([[1.0], [2.0]]), Tensor::from([[10.0, 20.0]]));
/// let product = Factored::product(left, right)?;
/// assert!(product.is_product());
/// assert_eq!(product.shape(), &[2, 2]);
/// assert_eq!(product.into_tensor()?, Tensor::from([[10.0, 20.0], [20.0, 40.0]]));
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Factored<T: Float>(Parts<T>);

/// Small as a tensor, since small gradients pass through many hands.
#[derive(Clone, Debug)]
enum Parts<T: Float> {
    Whole(Tensor<T>),
    Product(Box<Product<T>>),
}

#[derive(Clone, Debug)]
struct Product<T: Float> {
    shape: Shape,
    left: Tensor<T>,
    right: Tensor<T>,
}

impl<T: Float> Factored<T> {
    /// The product of `left`, `[m, k]`, and `right`, `[k, n]`.
    ///
    /// # Errors
    /// If they are no matrices, or have not the same `k`.
    pub fn product(left: Tensor<T>, right: Tensor<T>) -> Result<Self> {
        let (&[m, k], &[depth, n]) = (&left.shape[..], &right.shape[..]) else {
            return Err(unfit(&left, &right));
        };
        if k != depth {
            return Err(unfit(&left, &right));
        }
        let shape = Shape::from([m, n]);
        let product = Product { shape, left, right };
        Ok(Factored(Parts::Product(Box::new(product))))
    }

    /// Whether a product of such factors is better left undone until it is used: it is larger than
    /// a second-level cache, and its factors are small beside it.
    ///
    /// ```
    /// use tensor::Factored;
    /// assert!(Factored::<f32>::pays(&[30_000, 32], &[32, 512]));
    /// assert!(!Factored::<f32>::pays(&[64, 32], &[32, 10]));
    /// ```
    pub fn pays(left: &[usize], right: &[usize]) -> bool {
        const LARGE: usize = 1 << 20;
        let (&[m, k], &[_, n]) = (left, right) else {
            return false;
        };
        let bytes = m.saturating_mul(n).saturating_mul(size_of::<T>());
        bytes > LARGE && k.saturating_mul(4) <= m.min(n) && n <= ROW
    }

    /// Whether it is a product that nobody has computed.
    pub fn is_product(&self) -> bool {
        matches!(self.0, Parts::Product(_))
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        match &self.0 {
            Parts::Whole(tensor) => &tensor.shape,
            Parts::Product(product) => &product.shape,
        }
    }

    /// The tensor; a product is computed now.
    ///
    /// # Errors
    /// If memory for a product cannot be had.
    pub fn into_tensor(self) -> Result<Tensor<T>> {
        match self.0 {
            Parts::Whole(tensor) => Ok(tensor),
            Parts::Product(product) => product
                .left
                .matmul(&product.right)
                .map_err(|error| error.in_operation("Factored::into_tensor")),
        }
    }

    /// The elements in order, for `body`.
    pub(crate) fn with_rows<R>(
        &self,
        operation: &str,
        body: impl FnOnce(Rows<'_, T>) -> Result<R>,
    ) -> Result<R> {
        match &self.0 {
            Parts::Whole(tensor) => {
                let tensor = tensor.try_contiguous(operation)?;
                body(Rows::Known(tensor.as_slice().unwrap_or_default()))
            }
            Parts::Product(product) => {
                let [left, right] = [product.left.matrix()?, product.right.matrix()?];
                body(Rows::Product(left, right))
            }
        }
    }
}

impl<T: Float> From<Tensor<T>> for Factored<T> {
    fn from(tensor: Tensor<T>) -> Self {
        Factored(Parts::Whole(tensor))
    }
}

impl<T: Float> From<&Tensor<T>> for Factored<T> {
    fn from(tensor: &Tensor<T>) -> Self {
        Self::from(tensor.clone())
    }
}

impl<T: Float> From<&Factored<T>> for Factored<T> {
    fn from(other: &Factored<T>) -> Self {
        other.clone()
    }
}

/// Columns of a product whose rows still make blocks of several rows.
const ROW: usize = 4096;

/// Elements in row-major order, or rows of a product.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a, T> {
    Known(&'a [T]),
    Product(MatrixRef<'a, T>, MatrixRef<'a, T>),
}

impl<'a, T: Float> Rows<'a, T> {
    /// Elements that must stay together.
    pub(crate) fn unit(&self) -> usize {
        match self {
            Rows::Known(_) => 1,
            Rows::Product(_, right) => right.columns(),
        }
    }

    /// The first `len` elements, whole units, and the others.
    pub(crate) fn split_at(self, len: usize) -> (Self, Self) {
        match self {
            Rows::Known(elements) => {
                let (head, tail) = elements.split_at(len);
                (Rows::Known(head), Rows::Known(tail))
            }
            Rows::Product(left, right) => {
                let (head, tail) = left.split_at_row(len / right.columns());
                (Rows::Product(head, right), Rows::Product(tail, right))
            }
        }
    }
}

#[cold]
fn unfit<T: Float>(left: &Tensor<T>, right: &Tensor<T>) -> Error {
    Error::shape("Factored::product", "the factors do not fit together")
        .with("left", &left.shape)
        .with("right", &right.shape)
        .fix("they must be [m, k] and [k, n]")
}
