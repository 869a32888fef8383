//! Minima and maxima of the voxels that exist in a cell; NaN wins over everything, as in `numpy.minimum`.
//!
//! The same fold as averaging with another +, and nothing to divide by: a mip is a direct reduction of the input.

use crate::cascade::{Folding, Render, Renderer};
use crate::fold::{Sum, Summand, few_columns};
use crate::grid::{Array, Bytes, Edge, Grid, Interrupted, PANEL};
use crate::simd::lines::{CellLines, Line};
use crate::simd::tiles::Tiles;
use crate::simd::views::{Bool, Cut, Greatest, Least, PanelMut, Row, Source, Span, Voxel};
use crate::simd::{Backend, Comparable, Isa};
use std::marker::PhantomData;

/// Which end of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extremum {
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// The shape of a call of min or max pooling.
pub struct Plan {
    /// How it walks.
    pub grid: Grid,
    /// What is kept of a cell.
    pub extremum: Extremum,
}

impl Plan {
    /// The plan for `mips` mips of `source` by `factor` (an entry per axis).
    pub fn new<T: Ordered>(
        source: &Array,
        targets: &[Array],
        factor: &[usize],
        mips: usize,
        extremum: Extremum,
    ) -> Self {
        let outputs = (1..=mips).take(targets.len()).collect();
        let size = size_of::<T>();
        let grid = Grid::new(
            source,
            targets,
            outputs,
            &vec![factor.to_vec(); mips],
            Edge::Existing,
            Bytes { voxel: size, state: size, panel: PANEL },
        );
        Plan { grid, extremum }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Interrupted`] if `interrupted` said so.
    pub fn run<T: Ordered>(
        &self,
        backend: Backend,
        source: Source<'_, T>,
        tiles: &Tiles<'_, T>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let grid = &self.grid;
        match self.extremum {
            Extremum::Min => {
                let state = PhantomData::<(Least<T::Key>, Least<T::Key>)>;
                let folding = Folding { grid, backend, source, render: Unwrap, narrow: grid.levels(), state };
                grid.run(&folding, tiles, threads, interrupted)
            }
            Extremum::Max => {
                let state = PhantomData::<(Greatest<T::Key>, Greatest<T::Key>)>;
                let folding = Folding { grid, backend, source, render: Unwrap, narrow: grid.levels(), state };
                grid.run(&folding, tiles, threads, interrupted)
            }
        }
    }
}

/// The extremum is the voxel.
struct Unwrap;

impl Renderer for Unwrap {
    type Divisor = ();

    fn counts(&self) -> bool {
        false
    }

    fn restarts(&self, _level: usize) -> bool {
        false
    }

    fn divisor(&self, _level: usize, _region: &[Span]) {}

    fn alike(&self, _by: &(), cols: usize, rows: usize) -> (usize, usize) {
        (cols, rows)
    }
}

impl<T: End<A>, A: Sum> Render<T, A> for Unwrap {
    #[inline(always)]
    fn render<I: Isa>(&self, _isa: I, _by: &(), _last: bool, sums: &[A], _counts: &[A], out: Row<'_, T>) {
        for (voxel, &sum) in out.voxels.iter_mut().zip(sums) {
            *voxel = T::lower(sum);
        }
    }

    const FINISHES: bool = T::VECTORS;
    const FINISHES_UP: bool = false;

    #[inline(always)]
    fn finishes(&self, _by: &()) -> bool {
        true
    }

    #[inline(always)]
    fn finish<I: Isa, const FX: usize, const N: usize>(
        &self,
        isa: I,
        _by: &(),
        cells: CellLines<'_, T, N>,
        cut: Cut,
        sums: &mut PanelMut<'_, A>,
        _counts: &mut PanelMut<'_, A>,
        out: &mut PanelMut<'_, T>,
    ) {
        let keep = sums.cols() > 0;
        for (j, lines) in (cut.first..).zip(cells) {
            let ends = if keep { &mut sums.row_mut(j).voxels[..cut.cols] } else { &mut [] };
            let done = T::fold_vectors::<I, FX, false, N>(isa, &lines, ends, Some(out.row_mut(j).part(0..cut.cols)));
            assert!(done == cut.cols);
        }
    }
}

/// A voxel whose cells are folded to the end of the order that `A` stands for.
pub trait End<A: Sum>: Summand<A> {
    /// Whether vectors fold it.
    const VECTORS: bool = false;

    /// The part of a fold of `FX` (1 or 2) columns that vectors do: how many. See [`Isa::extrema`].
    #[inline(always)]
    fn fold_vectors<I: Isa, const FX: usize, const ADD: bool, const N: usize>(
        _isa: I,
        _lines: &[Line<'_, Self>; N],
        _sums: &mut [A],
        _out: Option<Row<'_, Self>>,
    ) -> usize {
        0
    }
}

/// Folds lines onto the ends.
#[inline(always)]
fn fold_lines<T: End<A>, A: Sum, I: Isa, const FX: usize, const ADD: bool, const N: usize>(
    isa: I,
    lines: &[Line<'_, T>; N],
    ends: &mut [A],
) {
    if !I::VECTORS {
        return few_columns::<T, A, FX, ADD>(lines, ends, T::lift);
    }
    let done = T::fold_vectors::<I, FX, ADD, N>(isa, lines, ends, None);
    assert!(done == ends.len());
}

/// Dtypes with an order.
pub trait Ordered: Voxel + End<Least<Self::Key>> + End<Greatest<Self::Key>> {
    /// What is compared.
    type Key: Key;
}

/// What is compared: numbers.
pub trait Key: Comparable {
    /// The lesser, or NaN.
    fn least(self, other: Self) -> Self;
    /// The greater, or NaN.
    fn greatest(self, other: Self) -> Self;
}

macro_rules! keys {
    ($($t:ty: |$a:ident, $b:ident| $least:expr, $greatest:expr;)*) => {$(
        impl Key for $t {
            #[inline(always)]
            fn least(self, $b: Self) -> Self {
                let $a = self;
                $least
            }
            #[inline(always)]
            fn greatest(self, $b: Self) -> Self {
                let $a = self;
                $greatest
            }
        }
        impl Ordered for $t {
            type Key = $t;
        }
    )*};
}

macro_rules! ends {
    ($($end:ident, $plus:ident, $max:literal;)*) => {$(
        impl<K: Key> Sum for $end<K> {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                $end(self.0.$plus(other.0))
            }
        }

        ends!($end, $max, K, |voxel| $end(voxel), |end| end.0);
        ends!($end, $max, $end<K>, |voxel| voxel, |end| end);

        impl Summand<$end<u8>> for Bool {
            #[inline(always)]
            fn lift(self) -> $end<u8> {
                $end((self.0 != 0) as u8)
            }
            #[inline(always)]
            fn occupied(self) -> $end<u8> {
                unreachable!("extrema count nothing")
            }
            #[inline(always)]
            fn lower(end: $end<u8>) -> Self {
                Bool(end.0)
            }
        }

        impl End<$end<u8>> for Bool {}
    )*};
    // What is a key as it lies in memory.
    ($end:ident, $max:literal, $t:ty, |$voxel:ident| $lift:expr, |$sum:ident| $lower:expr) => {
        impl<K: Key> Summand<$end<K>> for $t {
            #[inline(always)]
            fn lift(self) -> $end<K> {
                let $voxel = self;
                $lift
            }
            #[inline(always)]
            fn occupied(self) -> $end<K> {
                unreachable!("extrema count nothing")
            }
            #[inline(always)]
            fn lower($sum: $end<K>) -> Self {
                $lower
            }
            #[inline(always)]
            fn sums<I: Isa, const FX: usize, const ADD: bool>(isa: I, lines: &[Line<'_, Self>], ends: &mut [$end<K>]) {
                match *lines {
                    [a] => fold_lines::<Self, _, I, FX, ADD, 1>(isa, &[a], ends),
                    [a, b] => fold_lines::<Self, _, I, FX, ADD, 2>(isa, &[a, b], ends),
                    _ => few_columns::<Self, $end<K>, FX, ADD>(lines, ends, Self::lift),
                }
            }
        }

        impl<K: Key> End<$end<K>> for $t {
            const VECTORS: bool = true;

            #[inline(always)]
            fn fold_vectors<I: Isa, const FX: usize, const ADD: bool, const N: usize>(
                isa: I,
                lines: &[Line<'_, Self>; N],
                ends: &mut [$end<K>],
                out: Option<Row<'_, Self>>,
            ) -> usize {
                isa.extrema::<K, Self, $end<K>, FX, ADD, $max, N>(lines, ends, out)
            }
        }
    };
}
ends! {
    Least, least, false;
    Greatest, greatest, true;
}

impl Ordered for Bool {
    type Key = u8;
}

keys! {
    u8: |a, b| a.min(b), a.max(b);
    u16: |a, b| a.min(b), a.max(b);
    u32: |a, b| a.min(b), a.max(b);
    u64: |a, b| a.min(b), a.max(b);
    i8: |a, b| a.min(b), a.max(b);
    i16: |a, b| a.min(b), a.max(b);
    i32: |a, b| a.min(b), a.max(b);
    i64: |a, b| a.min(b), a.max(b);
    f32: |a, b| if a < b || a.is_nan() { a } else { b }, if a > b || a.is_nan() { a } else { b };
    f64: |a, b| if a < b || a.is_nan() { a } else { b }, if a > b || a.is_nan() { a } else { b };
}
