//! Averaging: means of cells, dense or of the voxels that are not background.
//!
//! Sums are exact and carried from mip to mip; the quotient is rounded toward zero when a mip is written. Where all
//! pooled axes have factor 2 (the halving pyramid), odd edges are mirrored at every level and 8- and 16-bit types restart
//! from the rendered mip after so many mips that sums of a fixed width suffice (the truncation period); with
//! any other factor a cell is the mean of the input voxels that exist in it. Sums are as narrow as the largest cell
//! permits, because narrow sums are more to a vector.

use crate::fold::{Folding, Render};
use crate::grid::{Array, Axis, Edge, Grid, Interrupted};
use crate::simd::tiles::Tiles;
use crate::simd::views::{Panel, PanelMut, Source, Span, Voxel};
use crate::simd::{Backend, Isa, Kernel};
use crate::sums::{Mean, Quotient, TwoFloats};
use std::marker::PhantomData;

/// The shape of an averaging call, and what its sums need.
pub struct Plan {
    /// How it walks.
    pub grid: Grid,
    /// Width of the sums in bits; floats sum in 64.
    pub width: u32,
    /// After so many levels the rendered voxels take the place of the sums; 0: never.
    pub period: usize,
    /// Whether background is left out.
    pub sparse: bool,
}

impl Plan {
    /// The plan for `targets.len()` mips of `source` by `factor` (an entry per axis).
    pub fn new<T: Average>(source: &Array, targets: &[Array], factor: &[usize], mips: usize, sparse: bool) -> Self {
        let pooled: Vec<usize> = (0..factor.len()).filter(|&a| factor[a] > 1).collect();
        let edge = if pooled.iter().all(|&a| factor[a] == 2) { Edge::Mirrored } else { Edge::Existing };
        let period = if edge == Edge::Mirrored { T::period(pooled.len()) } else { 0 };
        // log2 of the largest weight a voxel of a sum can have, rounded up.
        let span = u32::try_from(if period > 0 { mips.min(period) } else { mips }).unwrap_or(u32::MAX);
        let weight: u32 = pooled
            .iter()
            .map(|&a| factor[a].saturating_pow(span).min(source.axes[a].len.next_power_of_two()))
            .map(|cell| cell.next_power_of_two().trailing_zeros())
            .sum();
        // How many terms of a level are added up to one of the next, at most.
        let terms = pooled.iter().fold(1, |terms: usize, &a| terms.saturating_mul(factor[a].min(source.axes[a].len)));
        let enough = |&width: &u32| width >= T::BITS + weight && terms <= T::TERMS;
        let width = T::WIDTHS.iter().copied().find(enough).unwrap_or(T::WIDTHS[T::WIDTHS.len() - 1]);
        let state = width as usize / 8;
        let factors = vec![factor.to_vec(); mips];
        let outputs = (1..=mips).take(targets.len()).collect();
        let grid = Grid::new(source, targets, outputs, &factors, edge, size_of::<T>(), state);
        Plan { grid, width, period, sparse }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Interrupted`] if `interrupted` said so.
    pub fn run<T: Average>(
        &self,
        backend: Backend,
        source: Source<'_, T>,
        tiles: &Tiles<'_, T>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        T::run(self, backend, source, tiles, threads, interrupted)
    }

    fn run_in<T: Voxel + Mean<A>, A: Quotient>(
        &self,
        backend: Backend,
        source: Source<'_, T>,
        tiles: &Tiles<'_, T>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let folding = Folding { grid: &self.grid, backend, source, render: Means(self), state: PhantomData::<A> };
        self.grid.run(&folding, tiles, threads, interrupted)
    }

    /// How many voxels the sum of a voxel of `level` at `index` of `axis` weighs.
    fn weight(&self, axis: &Axis, level: usize, index: usize) -> u128 {
        match self.grid.edge() {
            Edge::Mirrored => {
                let since = (level - 1).checked_div(self.period).map_or(0, |restarts| restarts * self.period);
                axis.factors[since..level].iter().map(|&f| f as u128).product()
            }
            Edge::Existing => {
                let reach = axis.reach(level);
                reach.min(axis.extents[0] - index * reach) as u128
            }
        }
    }
}

/// Sums to means.
struct Means<'a>(&'a Plan);

impl<T: Voxel + Mean<A>, A: Quotient> Render<T, A> for Means<'_> {
    fn counts(&self) -> bool {
        self.0.sparse
    }

    fn restarts(&self, level: usize) -> bool {
        self.0.period > 0 && level.is_multiple_of(self.0.period)
    }

    fn render(
        &self,
        backend: Backend,
        level: usize,
        region: &[Span],
        sums: Panel<'_, A>,
        counts: Panel<'_, A>,
        out: &mut PanelMut<'_, T>,
    ) {
        if self.0.sparse {
            return backend.run(DivideByCounts { sums, counts, out });
        }
        let mut divisors = [(1, 1); 2];
        let mut rest = 1;
        for (a, (axis, span)) in self.0.grid.axes().iter().zip(region).enumerate() {
            let first = self.0.weight(axis, level, span.start);
            match divisors.get_mut(a) {
                Some(divisor) => *divisor = (first, self.0.weight(axis, level, span.start + span.len - 1)),
                None => rest *= first,
            }
        }
        backend.run(Divide { sums, divisors, rest, out });
    }
}

/// Divides a panel of sums by weights that differ, at most, in its last column and row.
struct Divide<'a, 'o, T, A> {
    sums: Panel<'a, A>,
    /// Weight of all columns but the last, and of that; the same of the rows.
    divisors: [(u128, u128); 2],
    /// Weight along the other axes.
    rest: u128,
    out: &'a mut PanelMut<'o, T>,
}

impl<T: Mean<A>, A: Quotient> Kernel for Divide<'_, '_, T, A> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let [x, y] = self.divisors;
        if x.0 == x.1 && y.0 == y.1 {
            let by = self.rest * x.0 * y.0;
            return self.out.fill_from(self.sums, |out, sums| divide(isa, sums, by, out));
        }
        let last = self.out.rows() - 1;
        for j in 0..=last {
            let (row, out) = (self.sums.row(j), self.out.row_mut(j));
            let weight = self.rest * if j == last { y.1 } else { y.0 };
            let whole = if x.0 == x.1 { row.len() } else { row.len() - 1 };
            divide(isa, &row[..whole], weight * x.0, &mut out[..whole]);
            divide(isa, &row[whole..], weight * x.1, &mut out[whole..]);
        }
    }
}

#[inline(always)]
fn divide<T: Mean<A>, A: Quotient, I: Isa>(isa: I, row: &[A], by: u128, out: &mut [T]) {
    if by.is_power_of_two() {
        T::shift(isa, row, by.trailing_zeros(), out);
    } else {
        // Not a power of two: as by counts, for which there are vectors.
        let counts = [A::from_weight(by); 64];
        for (out, row) in out.chunks_mut(counts.len()).zip(row.chunks(counts.len())) {
            T::divide(isa, row, &counts[..row.len()], out);
        }
    }
}

/// Divides sums by counts.
struct DivideByCounts<'a, 'o, T, A> {
    sums: Panel<'a, A>,
    counts: Panel<'a, A>,
    out: &'a mut PanelMut<'o, T>,
}

impl<T: Mean<A>, A: Quotient> Kernel for DivideByCounts<'_, '_, T, A> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for j in 0..self.out.rows() {
            T::divide(isa, self.sums.row(j), self.counts.row(j), self.out.row_mut(j));
        }
    }
}

/// Dtypes that can be averaged.
pub trait Average: Voxel {
    /// Bits of a value, its sign included.
    const BITS: u32;
    /// Widths of sums there are, narrow to wide.
    const WIDTHS: &'static [u32];
    /// How many terms may be added up at a level before the widest sum is due. In float64 64 terms are within 64 / 2^53 of
    /// the truth, and ten such levels within 1e-13.
    const TERMS: usize;

    /// The truncation period for so many pooled axes: 255 * 4^4 fits 16 bits, 255 * 8^8 and 65535 * 8^5 fit 32 bits.
    fn period(axes: usize) -> usize {
        match (Self::BITS, axes) {
            (8 | 16, 2) => 4,
            (8, 3) => 8,
            (16, 3) => 5,
            _ => 0,
        }
    }

    /// [`Plan::run`] with sums of the planned width.
    ///
    /// # Errors
    /// [`Interrupted`] if `interrupted` said so.
    fn run(
        plan: &Plan,
        backend: Backend,
        source: Source<'_, Self>,
        tiles: &Tiles<'_, Self>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted>;
}

macro_rules! average {
    ($($t:ty, $bits:literal, $terms:expr; $($sum:ty, $width:literal $(, $divide:ident $(, $shift:ident)?)?);+)*) => {$(
        $(
            impl Mean<$sum> for $t {
                $(
                    #[inline(always)]
                    fn divide<I: Isa>(isa: I, sums: &[$sum], counts: &[$sum], out: &mut [Self]) {
                        isa.$divide(sums, counts, out);
                    }
                    $(
                        #[inline(always)]
                        fn shift<I: Isa>(isa: I, sums: &[$sum], shift: u32, out: &mut [Self]) {
                            isa.$shift(sums, shift, out);
                        }
                    )?
                )?
            }
        )+

        impl Average for $t {
            const BITS: u32 = $bits;
            const TERMS: usize = $terms;
            const WIDTHS: &'static [u32] = &[$($width),+];

            fn run(
                plan: &Plan,
                backend: Backend,
                source: Source<'_, Self>,
                tiles: &Tiles<'_, Self>,
                threads: usize,
                interrupted: &dyn Fn() -> bool,
            ) -> Result<(), Interrupted> {
                match plan.width {
                    $($width => plan.run_in::<$t, $sum>(backend, source, tiles, threads, interrupted),)+
                    width => unreachable!("no sums of {width} bits"),
                }
            }
        }
    )*};
}
average! {
    u8, 8, usize::MAX; u16, 16, divide_u16, shift_u16; u32, 32; u64, 64
    u16, 16, usize::MAX; u32, 32, divide_u32; u64, 64
    u32, 32, usize::MAX; u64, 64; u128, 128
    u64, 64, usize::MAX; u128, 128
    i8, 8, usize::MAX; i16, 16; i32, 32; i64, 64
    i16, 16, usize::MAX; i32, 32; i64, 64
    i32, 32, usize::MAX; i64, 64; i128, 128
    i64, 64, usize::MAX; i128, 128
    // Not 32 and 64: floats have no truncation period, and their sums need no room.
    f32, 0, usize::MAX; f64, 64
    f64, 0, 64; f64, 64; TwoFloats, 128
}
