//! The micro-kernel: a tile of C in registers.

use crate::simd::{Kernel, Real, Simd, Vector, prefetch};

use super::blocking::TILE_VECTORS;
use super::past_caches;

/// `C = [C +] A · B [+ bias] [, ReLU]` for one tile, of at most 14 rows (6 where there
/// are 16 registers) and two vectors of columns.
#[derive(Clone, Copy)]
pub(super) struct Tile<T> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) depth: usize,
    /// Element (i, p) of A is at `a + i · a_row + p · a_step`.
    pub(super) a: *const T,
    pub(super) a_row: isize,
    pub(super) a_step: isize,
    /// Element (p, j) of B is at `b + p · b_step + j`, and all vectors that the columns touch can
    /// be read.
    pub(super) b: *const T,
    pub(super) b_step: isize,
    /// Element (i, j) of C is at `c + i · c_row + j`.
    pub(super) c: *mut T,
    pub(super) c_row: usize,
    /// Add to what C holds.
    pub(super) add: bool,
    /// Then add bias `j` to column `j`, unless null.
    pub(super) bias: *const T,
    /// Then replace negative numbers by zero.
    pub(super) relu: bool,
    /// What the cache fetches meanwhile.
    pub(super) meanwhile: Meanwhile<T>,
    /// Whether whole tiles of C, whose rows are then aligned to vectors, are written past the caches.
    pub(super) past_caches: bool,
    /// The tiles that follow this one.
    pub(super) run: Run,
}

/// Tiles of the same size that are computed one after the other, at the cost of one call.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// How many, with the first.
    pub(super) tiles: usize,
    /// From a tile to the next: numbers of A, of B, of C, and of the bias.
    pub(super) steps: [isize; 4],
}

impl Run {
    /// A tile alone.
    pub(super) const ONE: Run = Run {
        tiles: 1,
        steps: [0; 4],
    };
}

/// What the cache fetches while tiles are computed.
#[derive(Clone, Copy)]
pub(super) enum Meanwhile<T> {
    /// A stretch of an operand, during all tiles of a run.
    Operand(Ahead<T>),
    /// The next tile of C; after the last one of a run that at this address.
    Result(*const T),
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Addresses that the cache is asked for, one a step of depth: along a row, then along the next.
/// They need not be valid.
#[derive(Clone, Copy)]
pub(super) struct Ahead<T> {
    address: *const T,
    /// From one address to the next in a row.
    step: usize,
    /// Addresses of this row that are left.
    left: usize,
    /// Addresses of each further row.
    in_a_row: usize,
    /// From a row to the next.
    row_stride: isize,
}

impl<T> Ahead<T> {
    /// Nothing: an address that is in the cache as it is used anyway.
    pub(super) fn nothing(used: *const T) -> Self {
        Ahead {
            address: used,
            step: 0,
            left: usize::MAX,
            in_a_row: usize::MAX,
            row_stride: 0,
        }
    }

    /// Rows of `columns` numbers, line by line.
    #[inline(always)]
    pub(super) fn rows(start: *const T, row_stride: isize, columns: usize) -> Self {
        let step = LINE / size_of::<T>();
        Ahead {
            address: start,
            step,
            left: columns.div_ceil(step),
            in_a_row: columns.div_ceil(step),
            row_stride,
        }
    }

    /// The part of a matrix of `rows` rows from `start` on that falls to tile `tile` of `tiles`
    /// tiles of depth `depth`, which together fetch it whole.
    #[inline(always)]
    pub(super) fn part(
        start: *const T,
        row_stride: isize,
        [rows, columns]: [usize; 2],
        (tile, tiles): (usize, usize),
        depth: usize,
    ) -> Self {
        let step = (rows * columns).div_ceil(tiles * depth).next_power_of_two();
        let step = step.max(LINE / size_of::<T>());
        let in_a_row = columns.div_ceil(step);
        let (row, first) = (tile * depth / in_a_row, tile * depth % in_a_row);
        if row >= rows {
            return Ahead::nothing(start);
        }
        Ahead {
            address: start
                .wrapping_offset(row as isize * row_stride)
                .wrapping_add(first * step),
            step,
            left: in_a_row - first,
            in_a_row,
            row_stride,
        }
    }

    #[inline(always)]
    fn fetch(&mut self) {
        prefetch(self.address);
        self.address = self.address.wrapping_add(self.step);
        self.left -= 1;
        if self.left == 0 {
            self.left = self.in_a_row;
            self.address = self
                .address
                .wrapping_sub(self.in_a_row * self.step)
                .wrapping_offset(self.row_stride);
        }
    }
}

impl<T: Real> Tile<T> {
    /// Computes the tile.
    ///
    /// # Safety
    /// The pointers are valid for all elements that the fields' descriptions name, and nobody
    /// else uses the tile of C meanwhile.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self, simd: S) {
        if self.columns > T::Vector::<S>::LANES {
            self.run_rows::<S, TILE_VECTORS>(simd);
        } else {
            self.run_rows::<S, 1>(simd);
        }
    }

    #[inline(always)]
    fn run_rows<S: Simd, const VECTORS: usize>(&self, simd: S) {
        // Each number of rows has its own code, whose loops are unrolled into registers. Six is
        // all that 16 registers hold.
        match self.rows {
            0 => {}
            1 => simd.call(Sized::<T, 1, VECTORS>(self)),
            2 => simd.call(Sized::<T, 2, VECTORS>(self)),
            3 => simd.call(Sized::<T, 3, VECTORS>(self)),
            4 => simd.call(Sized::<T, 4, VECTORS>(self)),
            5 => simd.call(Sized::<T, 5, VECTORS>(self)),
            6 => simd.call(Sized::<T, 6, VECTORS>(self)),
            // A constant, which spares the compiler the rest.
            _ if const { S::REGISTERS < 32 } => {
                unreachable!("a tile has at most 6 rows at this level")
            }
            7 => simd.call(Sized::<T, 7, VECTORS>(self)),
            8 => simd.call(Sized::<T, 8, VECTORS>(self)),
            9 => simd.call(Sized::<T, 9, VECTORS>(self)),
            10 => simd.call(Sized::<T, 10, VECTORS>(self)),
            11 => simd.call(Sized::<T, 11, VECTORS>(self)),
            12 => simd.call(Sized::<T, 12, VECTORS>(self)),
            13 => simd.call(Sized::<T, 13, VECTORS>(self)),
            14 => simd.call(Sized::<T, 14, VECTORS>(self)),
            _ => unreachable!("a tile has at most 14 rows"),
        }
    }
}

/// A tile of `ROWS` rows and `VECTORS` vectors of columns. Made by [`Tile::run`] only.
struct Sized<'a, T, const ROWS: usize, const VECTORS: usize>(&'a Tile<T>);

impl<T: Real, const ROWS: usize, const VECTORS: usize> Kernel for Sized<'_, T, ROWS, VECTORS> {
    type Scalar = T;
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut tile = *self.0;
        let lanes = T::Vector::<S>::LANES;
        let mut ahead = match tile.meanwhile {
            Meanwhile::Operand(ahead) => ahead,
            Meanwhile::Result(_) => Ahead::nothing(tile.b),
        };
        for left in (0..tile.run.tiles).rev() {
            let [to_a, to_b, to_c, to_bias] = tile.run.steps;
            match tile.meanwhile {
                Meanwhile::Result(after) => {
                    let next = match left {
                        0 => after,
                        _ => tile.c.wrapping_offset(to_c).cast_const(),
                    };
                    ahead = Ahead::rows(next, tile.c_row as isize, VECTORS * lanes);
                }
                Meanwhile::Operand(_) if tile.past_caches => {}
                Meanwhile::Operand(_) => {
                    let mut row = tile.c;
                    for _ in 0..ROWS {
                        for v in 0..VECTORS {
                            prefetch(row.wrapping_add(v * lanes));
                        }
                        row = row.wrapping_add(tile.c_row);
                    }
                }
            }
            // SAFETY: the caller of `Tile::run` vouches for the pointers; `ROWS` and `VECTORS` are
            // those that the tile's rows and columns need.
            unsafe {
                let sums = if tile.a_row == 1 {
                    product::<T, S, ROWS, VECTORS>(simd, &tile, 1, &mut ahead)
                } else {
                    product::<T, S, ROWS, VECTORS>(simd, &tile, tile.a_row, &mut ahead)
                };
                finish(simd, &tile, sums[0], 0);
                if let Some(&sums) = sums.get(1) {
                    finish(simd, &tile, sums, lanes);
                }
            }
            tile.a = tile.a.wrapping_offset(to_a);
            tile.b = tile.b.wrapping_offset(to_b);
            tile.c = tile.c.wrapping_offset(to_c);
            if !tile.bias.is_null() {
                tile.bias = tile.bias.wrapping_offset(to_bias);
            }
        }
    }
}

/// The product of the panels, summed in order of depth.
///
/// # Safety
/// As for [`Tile::run`]. `a_row` is the tile's; it is an argument so that 1 can be a constant.
#[inline(always)]
unsafe fn product<T: Real, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    tile: &Tile<T>,
    a_row: isize,
    ahead: &mut Ahead<T>,
) -> [[T::Vector<S>; ROWS]; VECTORS] {
    let mut sums = [[T::Vector::<S>::zero(simd); ROWS]; VECTORS];
    let (mut a, mut b) = (tile.a, tile.b);
    let mut depth = tile.depth;
    // One vector is so little work that counting steps shows, and nothing is worth fetching.
    while VECTORS == 1 && depth >= 4 {
        for _ in 0..4 {
            // SAFETY: the caller vouches for A and B at all depths.
            unsafe { step(simd, &mut sums, a, a_row, b) };
            a = a.wrapping_offset(tile.a_step);
            b = b.wrapping_offset(tile.b_step);
        }
        depth -= 4;
    }
    for _ in 0..depth {
        if VECTORS > 1 {
            ahead.fetch();
        }
        // SAFETY: as above.
        unsafe { step(simd, &mut sums, a, a_row, b) };
        a = a.wrapping_offset(tile.a_step);
        b = b.wrapping_offset(tile.b_step);
    }
    sums
}

/// Adds the product of a column of A and a row of B.
///
/// # Safety
/// `a + i · a_row` is valid for `i < ROWS`, and `b` for reading `VECTORS` vectors.
#[inline(always)]
unsafe fn step<T: Real, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[T::Vector<S>; ROWS]; VECTORS],
    a: *const T,
    a_row: isize,
    b: *const T,
) {
    let lanes = T::Vector::<S>::LANES;
    let mut row = [T::Vector::<S>::zero(simd); VECTORS];
    for (v, vector) in row.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the vectors.
        *vector = unsafe { T::Vector::<S>::load_pointer(simd, b.add(v * lanes)) };
    }
    for i in 0..ROWS {
        // SAFETY: the caller vouches for `ROWS` rows of A.
        let factor = unsafe { a.offset(i as isize * a_row).read() };
        let factor = T::Vector::<S>::splat(simd, factor);
        for v in 0..VECTORS {
            sums[v][i] = factor.mul_add(row[v], sums[v][i]);
        }
    }
}

/// Writes a vector of columns, from column `first` of the tile on.
///
/// # Safety
/// As for [`Tile::run`].
#[inline(always)]
unsafe fn finish<T: Real, S: Simd, const ROWS: usize>(
    simd: S,
    tile: &Tile<T>,
    mut sums: [T::Vector<S>; ROWS],
    first: usize,
) {
    let lanes = T::Vector::<S>::LANES;
    let count = (tile.columns - first).min(lanes);
    let has_bias = !tile.bias.is_null();
    // Each loop is short enough to be unrolled before registers are given out; a choice inside, or
    // a loop around, would send all sums through memory.
    // SAFETY: the caller vouches for the rows and columns of C's tile, whose rows are aligned if it
    // goes past the caches, and for a bias for each column; `count` columns are left.
    unsafe {
        let c = |row: usize| tile.c.add(row * tile.c_row + first);
        if count == lanes && !has_bias && !tile.relu {
            // The common case on its own, as a short product is not much longer than its end.
            if tile.past_caches {
                for row in 0..ROWS {
                    past_caches::store::<T, S>(sums[row], c(row));
                }
            } else if tile.add {
                for row in 0..ROWS {
                    let there = T::Vector::<S>::load_pointer(simd, c(row));
                    (there + sums[row]).store_pointer(c(row));
                }
            } else {
                for row in 0..ROWS {
                    sums[row].store_pointer(c(row));
                }
            }
            return;
        }
        if tile.add {
            for row in 0..ROWS {
                let there = T::Vector::<S>::load_pointer_partial(simd, c(row), count);
                sums[row] = there + sums[row];
            }
        }
        if has_bias {
            let bias = T::Vector::<S>::load_pointer_partial(simd, tile.bias.add(first), count);
            for row in 0..ROWS {
                sums[row] = sums[row] + bias;
            }
        }
        if tile.relu {
            let zero = T::Vector::<S>::zero(simd);
            for row in 0..ROWS {
                sums[row] = zero.max(sums[row]);
            }
        }
        for row in 0..ROWS {
            sums[row].store_pointer_partial(c(row), count);
        }
    }
}
