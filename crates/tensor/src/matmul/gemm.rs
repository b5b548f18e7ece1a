//! `C = [C +] A · B`: the entry, which checks and chooses the way.

use crate::error::{Error, Result};
use crate::parallel::Par;
use crate::simd::{Level, Real};
use crate::storage::Buffer;

use super::blocking::Blocking;
use super::grid::{Grid, pack_region};
use super::product::Product;
use super::{Accum, MatrixMut, MatrixRef, direct, dots, fallback, in_parts, swap, sweep};

/// What happens to an element of the product before it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a, T> {
    /// Added to each row: one number a column.
    pub bias: Option<&'a [T]>,
    /// Then negative numbers become zero; NaN stays.
    pub relu: bool,
}

impl<T: Real> Epilogue<'_, T> {
    /// Stores the product as it is.
    pub const NONE: Self = Epilogue {
        bias: None,
        relu: false,
    };

    /// Puts the product's element in column `j` into C.
    #[inline(always)]
    pub(crate) fn store(&self, accum: Accum, j: usize, product: T, target: &mut T) {
        let mut sum = match accum {
            Accum::Replace => product,
            Accum::Add => target.plus(product),
        };
        if let Some(bias) = self.bias {
            sum = sum.plus(bias[j]);
        }
        if self.relu && sum < T::ZERO {
            sum = T::ZERO;
        }
        *target = sum;
    }

    pub(crate) fn is_none(&self) -> bool {
        self.bias.is_none() && !self.relu
    }
}

/// The right operand of a product.
#[derive(Clone, Copy)]
pub enum Right<'a, T: Real> {
    /// A matrix, packed as it is used.
    Matrix(MatrixRef<'a, T>),
    /// A matrix that was packed before, for the same level.
    Packed(&'a PackedColumns<T>),
}

impl<'a, T: Real> From<MatrixRef<'a, T>> for Right<'a, T> {
    fn from(matrix: MatrixRef<'a, T>) -> Self {
        Right::Matrix(matrix)
    }
}

impl<'a, T: Real> From<&'a PackedColumns<T>> for Right<'a, T> {
    fn from(packed: &'a PackedColumns<T>) -> Self {
        Right::Packed(packed)
    }
}

impl<T: Real> Right<'_, T> {
    fn depth(&self) -> usize {
        match self {
            Right::Matrix(b) => b.rows(),
            Right::Packed(b) => b.depth,
        }
    }

    fn columns(&self) -> usize {
        match self {
            Right::Matrix(b) => b.columns(),
            Right::Packed(b) => b.columns,
        }
    }
}

/// A right operand in packed form, to be multiplied with several left ones.
pub struct PackedColumns<T: Real> {
    panels: Buffer<T>,
    depth: usize,
    columns: usize,
    level: Level,
}

impl<T: Real> PackedColumns<T> {
    /// Packs `b` for products at `level`.
    ///
    /// # Errors
    /// If memory cannot be had, or this machine has no such level.
    pub fn new(b: MatrixRef<'_, T>, par: Par, level: Level) -> Result<Self> {
        check_level(level)?;
        let blocking = Blocking::at::<T>(level);
        let grid = Grid::new(0, b.rows(), b.columns(), &blocking);
        let mut panels = Buffer::unspecified("PackedColumns::new", grid.packed_len(&grid.whole()))?;
        pack_region(&b, &grid, &grid.whole(), panels.as_mut_slice(), par, level);
        Ok(PackedColumns {
            panels,
            depth: b.rows(),
            columns: b.columns(),
            level,
        })
    }
}

/// `C = [C +] A · B`, then the epilogue.
///
/// `A` is `[m, k]`, `B` is `[k, n]`, `C` is `[m, n]`; with `k = 0` the product is zero. Large
/// products are blocked and packed as in BLIS (Van Zee and van de Geijn, 2015), small ones
/// computed in place. `f32` products flush subnormal numbers to zero; NaN and infinity propagate
/// as IEEE 754 says. The bits of the result do not depend on the number of threads.
///
/// ```
/// use tensor::matmul::{Accum, Epilogue, MatrixMut, MatrixRef, gemm};
/// use tensor::{Level, Par};
/// let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let b = [1.0, -1.0, 0.0];
/// let mut c = [0.0; 2];
/// gemm(
///     MatrixRef::row_major(&a, [2, 3])?,
///     MatrixRef::row_major(&b, [3, 1])?,
///     MatrixMut::row_major(&mut c, [2, 1])?,
///     Accum::Replace,
///     Epilogue { bias: Some(&[0.5]), relu: true },
///     Par::Sequential,
///     Level::best(),
/// )?;
/// assert_eq!(c, [0.0, 0.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// If sizes do not fit together, `B` was packed for another level, this machine has no such
/// level, or memory for packing cannot be had.
pub fn gemm<'a, T: Real>(
    a: MatrixRef<'_, T>,
    b: impl Into<Right<'a, T>>,
    mut c: MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) -> Result<()> {
    let b = b.into();
    check([a.rows(), a.columns()], &b, &c, &epilogue, level)?;
    if c.rows() == 0 || c.columns() == 0 {
        return Ok(());
    }
    if a.columns() == 0 {
        without_depth(&mut c, accum, epilogue);
        return Ok(());
    }
    if let Right::Matrix(b) = b {
        // One column is one row of the transposed product, if C allows.
        if b.columns() == 1 && epilogue.bias.is_none() && a.row_stride() == 1 && c.row_stride() == 1
        {
            let [one, many] = [b.transposed(), a.transposed()];
            let mut c = c.into_row();
            sweep::product(&one, &many, &mut c, accum, epilogue, par, level);
            return Ok(());
        }
        if swap::pays(&a, &b) {
            return swap::product(&a, &b, &mut c, accum, epilogue, par, level);
        }
        if in_parts::pays(&a, &b) && !dots::pays(&a, &b) {
            return in_parts::product(&a, &b, &mut c, accum, epilogue, par, level);
        }
        type Way<T> = fn(
            &MatrixRef<'_, T>,
            &MatrixRef<'_, T>,
            &mut MatrixMut<'_, T>,
            Accum,
            Epilogue<'_, T>,
            Par,
            Level,
        );
        let way: Option<Way<T>> = if dots::pays(&a, &b) {
            Some(dots::product)
        } else if sweep::pays(&a, &b, level) {
            Some(sweep::product)
        } else if direct::pays(&a, &b, level) {
            Some(direct::product)
        } else if fallback::pays(&a, &b, level) && epilogue.is_none() {
            Some(fallback::product)
        } else {
            None
        };
        if let Some(product) = way {
            product(&a, &b, &mut c, accum, epilogue, par, level);
            return Ok(());
        }
    }
    packing(&a, b, c, accum, epilogue, par, level)
}

/// The product by panels. Sizes fit together.
pub(super) fn packing<T: Real>(
    a: &MatrixRef<'_, T>,
    b: Right<'_, T>,
    mut c: MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) -> Result<()> {
    let [m, k, n] = [a.rows(), a.columns(), c.columns()];
    let mut blocking = Blocking::at::<T>(level);
    let columns_first = match &b {
        Right::Matrix(b) => prefers_columns(a, b, &blocking),
        Right::Packed(_) => false,
    };
    if let (Right::Matrix(b), true) = (&b, columns_first)
        && b.column_stride() == 1
    {
        blocking = blocking.in_place::<T>(m, n);
    }
    let product = Product {
        a,
        c: c.share(),
        grid: Grid::new(m, k, n, &blocking),
        blocking,
        accum,
        epilogue,
        par,
        level,
    };
    match b {
        Right::Packed(b) => {
            product.by_rows(&product.grid.whole(), b.panels.as_slice());
            Ok(())
        }
        Right::Matrix(b) if columns_first => product.pack_left_first(&b),
        Right::Matrix(b) => product.pack_right_first(&b),
    }
}

/// Up to so many rows a copy of B costs more than reading it where it lies.
pub(super) const ROWS_THAT_ARE_FEW: usize = 128;

/// Whether A is small enough to be packed whole, each thread then taking columns of B.
fn prefers_columns<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>, blocking: &Blocking) -> bool {
    let most = match b.column_stride() {
        1 => ROWS_THAT_ARE_FEW,
        _ => 4 * blocking.tile_rows.max(8),
    };
    a.rows() <= most && b.columns() >= 2 * a.rows()
}

fn check<T: Real>(
    [m, k]: [usize; 2],
    b: &Right<'_, T>,
    c: &MatrixMut<'_, T>,
    epilogue: &Epilogue<'_, T>,
    level: Level,
) -> Result<()> {
    check_level(level)?;
    let sizes = |message: &str| {
        Error::shape("gemm", message)
            .with("A", format_args!("{m} × {k}"))
            .with("B", format_args!("{} × {}", b.depth(), b.columns()))
            .with("C", format_args!("{} × {}", c.rows(), c.columns()))
    };
    if k != b.depth() {
        return Err(sizes("A has not as many columns as B has rows"));
    }
    if [m, b.columns()] != [c.rows(), c.columns()] {
        return Err(sizes("C has not the rows of A and the columns of B"));
    }
    match (epilogue.bias, b) {
        (Some(bias), _) if bias.len() != c.columns() => {
            Err(sizes("there is not one bias for each column").with("biases", bias.len()))
        }
        (_, Right::Packed(b)) if b.level != level => {
            Err(Error::value("gemm", "B was packed for another level")
                .with("packed for", b.level.name())
                .with("asked for", level.name()))
        }
        _ => Ok(()),
    }
}

fn check_level(level: Level) -> Result<()> {
    if level <= Level::of_machine() {
        return Ok(());
    }
    Err(
        Error::unsupported("gemm", "this processor lacks the instruction set")
            .with("asked for", level.name())
            .with("highest", Level::of_machine().name())
            .fix("use `Level::best()`, or one of `Level::available()`"),
    )
}

/// The product of matrices of depth 0.
fn without_depth<T: Real>(c: &mut MatrixMut<'_, T>, accum: Accum, epilogue: Epilogue<'_, T>) {
    for i in 0..c.rows() {
        for (j, value) in c.row(i).iter_mut().enumerate() {
            epilogue.store(accum, j, T::ZERO, value);
        }
    }
}
