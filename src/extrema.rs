//! Minima and maxima of the voxels that exist in a cell; NaN wins over everything, as in `numpy.minimum`.
//!
//! The same fold as averaging with another +, and nothing to divide by: a mip is a direct reduction of the input.

use crate::cascade::{Folding, Render, Renderer};
use crate::fold::{Along, Columns, Pairs, Sum, Summand, What};
use crate::grid::{Array, Edge, Grid, Interrupted};
use crate::simd::tiles::Tiles;
use crate::simd::views::{Bool, Line, Row, Source, Span, Voxel};
use crate::simd::{Backend, Isa};
use std::marker::PhantomData;

/// A value whose + is the minimum.
#[derive(Clone, Copy, Default)]
pub struct Least<T>(T);

/// A value whose + is the maximum.
#[derive(Clone, Copy, Default)]
pub struct Greatest<T>(T);

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
        let grid = Grid::new(source, targets, outputs, &vec![factor.to_vec(); mips], Edge::Existing, size, size);
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
                let folding = Folding { grid, backend, source, render: Unwrap, state };
                grid.run(&folding, tiles, threads, interrupted)
            }
            Extremum::Max => {
                let state = PhantomData::<(Greatest<T::Key>, Greatest<T::Key>)>;
                let folding = Folding { grid, backend, source, render: Unwrap, state };
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
}

impl<T: Summand<A>, A: Sum> Render<T, A> for Unwrap {
    #[inline(always)]
    fn render<I: Isa>(&self, _isa: I, _by: &(), _last: bool, sums: &[A], _counts: &[A], out: Row<'_, T>) {
        for (voxel, &sum) in out.voxels.iter_mut().zip(sums) {
            *voxel = T::lower(sum);
        }
    }

    #[inline(always)]
    fn finishes(&self, _by: &()) -> bool {
        true
    }

    #[inline(always)]
    fn finish<I: Isa, const FX: usize, const ADD: bool, const KEEP: bool>(
        &self,
        isa: I,
        by: &(),
        line: Line<'_, T>,
        sums: &mut [A],
        out: Row<'_, T>,
    ) {
        match FX {
            1 => Columns.fold::<T, A, ADD>(line, 1, sums, What::Value),
            _ => Pairs(isa).fold::<T, A, ADD>(line, 2, sums, What::Value),
        }
        self.render(isa, by, false, sums, &[], out);
    }
}

/// Dtypes with an order.
pub trait Ordered: Voxel + Summand<Least<Self::Key>> + Summand<Greatest<Self::Key>> {
    /// What is compared.
    type Key: Key;
}

/// What is compared: numbers.
pub trait Key: Voxel {
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
        ordered!($t, $t, |voxel| voxel, |key| key);
    )*};
}

macro_rules! ordered {
    ($t:ty, $key:ty, |$voxel:ident| $lift:expr, |$sum:ident| $lower:expr) => {
        impl Ordered for $t {
            type Key = $key;
        }
        ordered!(Least, $t, $key, |$voxel| $lift, |$sum| $lower);
        ordered!(Greatest, $t, $key, |$voxel| $lift, |$sum| $lower);
    };
    ($end:ident, $t:ty, $key:ty, |$voxel:ident| $lift:expr, |$sum:ident| $lower:expr) => {
        impl Summand<$end<$key>> for $t {
            #[inline(always)]
            fn lift(self) -> $end<$key> {
                let $voxel = self;
                $end($lift)
            }
            #[inline(always)]
            fn occupied(self) -> $end<$key> {
                unreachable!("extrema count nothing")
            }
            #[inline(always)]
            fn lower($end($sum): $end<$key>) -> Self {
                $lower
            }
        }
    };
}

macro_rules! ends {
    ($($end:ident, $plus:ident;)*) => {$(
        impl<T: Key> Sum for $end<T> {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                $end(self.0.$plus(other.0))
            }
        }

        impl<T: Key> Summand<Self> for $end<T> {
            #[inline(always)]
            fn lift(self) -> Self {
                self
            }
            #[inline(always)]
            fn occupied(self) -> Self {
                unreachable!("extrema count nothing")
            }
            #[inline(always)]
            fn lower(sum: Self) -> Self {
                sum
            }
        }
    )*};
}
ends! {
    Least, least;
    Greatest, greatest;
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
ordered!(Bool, u8, |voxel| (voxel.0 != 0) as u8, |key| Bool(key));
