//! Reading and adding by index, and what is made of it: embeddings, sorting.

use tensor::{Error, Float, Result, Slice, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The elements that `index` names along `axis`; see [`Tensor::gather`]. Derivative: the
    /// gradient, added up where it was read from.
    ///
    /// # Errors
    /// As [`Tensor::gather`].
    #[track_caller]
    pub fn gather(&self, axis: isize, index: &Tensor<i64>) -> Result<Var<T>> {
        Read(Places::elements(axis, index)).apply(&[self])
    }

    /// `self` with `source` added at the places that `index` names along `axis`; see
    /// [`Tensor::scatter_add`]. Derivatives: the gradient; and what `index` gathers from it.
    ///
    /// # Errors
    /// As [`Tensor::scatter_add`].
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, index: &Tensor<i64>, source: &Var<T>) -> Result<Var<T>> {
        AddAt(Places::elements(axis, index)).apply(&[self, source])
    }

    /// The slices of `axis` that the 1-d `index` names; see [`Tensor::index_select`]. Derivative:
    /// the gradient, added up where it was read from.
    ///
    /// # Errors
    /// As [`Tensor::index_select`].
    #[track_caller]
    pub fn index_select(&self, axis: isize, index: &Tensor<i64>) -> Result<Var<T>> {
        Read(Places::slices(axis, index)).apply(&[self])
    }

    /// `self` with the slices of `source` added to those that the 1-d `index` names; see
    /// [`Tensor::index_add`]. Derivatives: the gradient; and what `index` selects from it.
    ///
    /// # Errors
    /// As [`Tensor::index_add`].
    #[track_caller]
    pub fn index_add(&self, axis: isize, index: &Tensor<i64>, source: &Var<T>) -> Result<Var<T>> {
        AddAt(Places::slices(axis, index)).apply(&[self, source])
    }

    /// Rows of the table `self`, `[rows, width]`, by number: `index` of any shape gives
    /// `[…index, width]`. Derivative: the gradient of each row, added up.
    ///
    /// # Errors
    /// If `self` has not two axes, or an index is not a row.
    #[track_caller]
    pub fn embedding(&self, index: &Tensor<i64>) -> Result<Var<T>> {
        composed("embedding", || {
            let &[_, width] = &self.shape()[..] else {
                return Err(Error::shape("embedding", "the table has not two axes")
                    .with("table", self.shape()));
            };
            let mut shape = index.shape().clone();
            shape.push(width);
            let flat = index.reshape([index.len()])?;
            self.index_select(0, &flat)?.reshape(shape)
        })
    }

    /// The elements along `axis` in ascending or descending order; see [`Tensor::sort`].
    /// Derivative: each gradient, to where its element came from.
    ///
    /// # Errors
    /// If the axis does not exist.
    #[track_caller]
    pub fn sort(&self, axis: isize, descending: bool) -> Result<Var<T>> {
        composed("sort", || {
            self.gather(axis, &self.value().argsort(axis, descending)?)
        })
    }

    /// The `k` largest elements along `axis`, largest first; see [`Tensor::topk`]. Derivative: each
    /// gradient, to where its element came from.
    ///
    /// # Errors
    /// If the axis does not exist or has fewer than `k` elements.
    #[track_caller]
    pub fn topk(&self, k: usize, axis: isize) -> Result<Var<T>> {
        composed("topk", || self.gather(axis, &self.value().topk(k, axis)?.1))
    }
}

/// Places along an axis.
#[derive(Clone)]
struct Places {
    axis: isize,
    index: Tensor<i64>,
    /// Whether the 1-d index names whole slices, instead of an element for each of its own.
    whole: bool,
}

impl Places {
    fn elements(axis: isize, index: &Tensor<i64>) -> Self {
        let index = index.clone();
        let whole = false;
        Places { axis, index, whole }
    }

    fn slices(axis: isize, index: &Tensor<i64>) -> Self {
        let whole = true;
        Places {
            whole,
            ..Self::elements(axis, index)
        }
    }

    fn bytes(&self) -> usize {
        self.index.len() * size_of::<i64>()
    }
}

/// What stands at the places.
struct Read(Places);

impl<T: Float> Op<T> for Read {
    fn name(&self) -> &str {
        if self.0.whole {
            "index_select"
        } else {
            "gather"
        }
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        let Places { axis, index, whole } = &self.0;
        if *whole {
            x.index_select(*axis, index)
        } else {
            x.gather(*axis, index)
        }
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.0.bytes()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let zeros = Var::constant(Tensor::zeros(at.input_shape(0)?)?);
            AddAt(self.0.clone()).apply(&[&zeros, dy])
        })
    }
}

/// The first input with the second added at the places.
struct AddAt(Places);

impl<T: Float> Op<T> for AddAt {
    fn name(&self) -> &str {
        if self.0.whole {
            "index_add"
        } else {
            "scatter_add"
        }
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, source] = inputs.exactly()?;
        let Places { axis, index, whole } = &self.0;
        if *whole {
            x.index_add(*axis, index, source)
        } else {
            x.scatter_add(*axis, index, source)
        }
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.0.bytes()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || Ok(dy.clone()))?.of(1, || {
            let read = Read(self.0.clone()).apply(&[dy])?;
            let shape = at.input_shape(1)?;
            if *read.shape() == shape {
                return Ok(read);
            }
            // The source may be larger than the index; the rest of it was not added.
            let sizes = read.shape().iter();
            let corner: Vec<Slice> = sizes.map(|&size| (0..size as isize).into()).collect();
            read.place(shape, &corner)
        })
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let rows = || Tensor::from([[2_i64, 0, 1], [2, 2, 0]]);
    let picks = || Tensor::from([1_i64, 3, 1]);
    vec![
        OpEntry::new(
            "gather",
            "`y[i, j] = x[i, index[i, j]]` along an axis",
            "`dy` added up where it was read from",
        )
        .sample(&[&[2, 3]], move |v| v[0].gather(1, &rows()))
        .sample(&[&[3, 4]], move |v| v[0].gather(0, &rows())),
        OpEntry::new(
            "scatter_add",
            "`x`, with `s[i, j]` added at `[i, index[i, j]]`",
            "`dx = dy`, `ds` gathered from `dy`",
        )
        .sample(&[&[2, 3], &[2, 3]], move |v| {
            v[0].scatter_add(-1, &rows(), &v[1])
        })
        .sample(&[&[3, 3], &[3, 4]], move |v| {
            v[0].scatter_add(0, &rows(), &v[1])
        }),
        OpEntry::new(
            "index_select",
            "the slices of an axis that an index names",
            "`dy` added up where it was read from",
        )
        .sample(&[&[4, 2]], move |v| v[0].index_select(0, &picks()))
        .sample(&[&[2, 4]], move |v| v[0].index_select(-1, &picks())),
        OpEntry::new(
            "index_add",
            "`x`, with slices of `s` added to those that an index names",
            "`dx = dy`, `ds` selected from `dy`",
        )
        .sample(&[&[4, 2], &[3, 2]], move |v| {
            v[0].index_add(0, &picks(), &v[1])
        }),
        OpEntry::new(
            "embedding",
            "rows of a table by number",
            "`dy` added up row by row",
        )
        .sample(&[&[3, 2]], move |v| v[0].embedding(&rows())),
        OpEntry::new(
            "sort",
            "the elements along an axis in order",
            "`dy` to where each came from",
        )
        .edges("ties keep their order; NaN counts as the largest")
        .sample(&[&[2, 4]], |v| v[0].sort(1, false))
        .distinct()
        .sample(&[&[3, 2]], |v| v[0].sort(0, true))
        .distinct(),
        OpEntry::new(
            "topk",
            "the `k` largest elements along an axis",
            "`dy` to where each came from, else 0",
        )
        .edges("of ties the first; NaN counts as the largest")
        .sample(&[&[2, 5]], |v| v[0].topk(3, -1))
        .distinct(),
    ]
}
