//! Averaging: means of cells, dense or of the voxels that are not background.
//!
//! Sums are exact and carried from mip to mip; the quotient is rounded toward zero when a mip is written. Where all
//! pooled axes have factor 2 (the halving pyramid), odd edges are mirrored at every level and 8- and 16-bit types restart
//! from the rendered mip after so many mips that sums of a fixed width suffice (the truncation period); with
//! any other factor a cell is the mean of the input voxels that exist in it. Sums are as narrow as the largest cell
//! permits, because narrow sums are more to a vector.
//!
//! Exact means are the same sums of the voxels that exist, for every factor and never restarted, rounded to the nearest.

use crate::cascade::{Folding, Render, Renderer};
use crate::fold::Summand;
use crate::grid::{Amounts, Array, Axis, Bytes, Edge, Grid, Interrupted, PANEL};
use crate::simd::halves::Halves;
use crate::simd::lines::{CellLines, Fours};
use crate::simd::tiles::Tiles;
use crate::simd::two_floats::TwoFloats;
use crate::simd::views::{Bool, Cut, PanelMut, Rise, Row, Source, Span, Voxel};
use crate::simd::{Backend, Halving, Isa};
use crate::sums::{Mean, Quotient, add_up};
use std::marker::PhantomData;

/// The shape of an averaging call, and what its sums need.
pub struct Plan {
    /// How it walks.
    pub grid: Grid,
    /// Width of the sums of the first levels and of the others, in bits; float32 sums in 64, float64 in twice that.
    pub widths: (u32, u32),
    /// How many the first levels are.
    pub narrow: usize,
    /// After so many levels the rendered voxels take the place of the sums; 0: never.
    pub period: usize,
    /// Whether background is left out.
    pub sparse: bool,
    /// Whether every mip is the mean of the input voxels that exist, rounded to the nearest.
    pub exact: bool,
}

impl Plan {
    /// The plan for `mips` mips of `source` by `factor` (an entry per axis), written to `targets` if there are any.
    pub fn new<T: Average>(
        source: &Array,
        targets: &[Array],
        factor: &[usize],
        mips: usize,
        sparse: bool,
        exact: bool,
    ) -> Self {
        let pooled: Vec<usize> = (0..factor.len()).filter(|&a| factor[a] > 1).collect();
        let halving = pooled.iter().all(|&a| factor[a] == 2) && !exact;
        let edge = if halving { Edge::Mirrored } else { Edge::Existing };
        let period = if edge == Edge::Mirrored { T::period(pooled.len()) } else { 0 };
        // log2 of the largest weight a voxel of a sum can have after so many mips, rounded up.
        let weight = |mips: u32| -> u32 {
            let cell = |&a: &usize| factor[a].saturating_pow(mips).min(source.axes[a].len.next_power_of_two());
            pooled.iter().map(cell).map(|cell| cell.next_power_of_two().trailing_zeros()).sum()
        };
        let span = u32::try_from(if period > 0 { mips.min(period) } else { mips }).unwrap_or(u32::MAX);
        let needed = (T::BITS + weight(1), T::BITS + weight(span));
        let enough = |w: &(u32, u32)| w.0 >= needed.0 && w.1 >= needed.1;
        let widths = T::WIDTHS.iter().copied().find(enough).unwrap_or(T::WIDTHS[T::WIDTHS.len() - 1]);
        let narrow = (2..=span).take_while(|&level| T::BITS + weight(level) <= widths.0).count() + 1;
        let state = widths.0.next_power_of_two() as usize / 8;
        let factors = vec![factor.to_vec(); mips];
        let outputs = (1..=mips).take(targets.len()).collect();
        let bytes = Bytes { voxel: size_of::<T>(), state, panel: PANEL };
        let grid = Grid::new(source, targets, outputs, &factors, edge, bytes);
        Plan { grid, widths, narrow, period, sparse, exact }
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

    fn run_in<T: Voxel + Mean<N> + Mean<A>, N: Quotient + Summand<A>, A: Quotient>(
        &self,
        backend: Backend,
        source: Source<'_, T>,
        tiles: &Tiles<'_, T>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let (grid, narrow, state) = (&self.grid, self.narrow, PhantomData::<(N, A)>);
        let folding = Folding { grid, backend, source, render: Means(self), narrow, state };
        self.grid.run(&folding, tiles, threads, interrupted)
    }

    /// How many voxels the sum of a voxel of `level` at `index` of `axis` weighs.
    fn weight(&self, axis: &Axis, level: usize, index: usize) -> u128 {
        match self.grid.edge() {
            Edge::Mirrored => {
                let since = (level - 1).checked_div(self.period).map_or(0, |restarts| restarts * self.period);
                axis.factors[since..level].iter().map(|&f| f as u128).product()
            }
            Edge::Existing => axis.existing(level, index) as u128,
        }
    }
}

/// Sums to means.
struct Means<'a>(&'a Plan);

/// What the sums of a panel weigh: cells at the end of an axis may be smaller.
#[derive(Clone, Copy)]
struct Weight {
    /// If that of all cells but the last of a row, and but those of the last row, is a power of two: its logarithm.
    shift: Option<u32>,
    amounts: Amounts,
}

impl Renderer for Means<'_> {
    type Divisor = Weight;

    fn counts(&self) -> bool {
        self.0.sparse
    }

    fn restarts(&self, level: usize) -> bool {
        self.0.period > 0 && level.is_multiple_of(self.0.period)
    }

    fn divisor(&self, level: usize, region: &[Span]) -> Weight {
        let amounts = self.0.grid.amounts(region, |axis, index| self.0.weight(axis, level, index));
        let all = amounts.rest * amounts.x.0 * amounts.y.0;
        Weight { shift: all.is_power_of_two().then(|| all.trailing_zeros()), amounts }
    }

    fn alike(&self, by: &Weight, cols: usize, rows: usize) -> (usize, usize) {
        let all_but = |end: (u128, u128), cells: usize| if end.0 == end.1 || self.0.sparse { cells } else { cells - 1 };
        (all_but(by.amounts.x, cols), all_but(by.amounts.y, rows))
    }
}

impl Means<'_> {
    #[inline(always)]
    fn halving(&self, by: &Weight) -> Halving {
        Halving { shift: by.shift.unwrap_or_default(), nearest: self.0.exact }
    }
}

/// As [`Mean::divide`], of so many rows of cells.
#[inline(always)]
fn divide_rows<I: Isa, T: Mean<A>, A: Quotient>(
    isa: I,
    rows: usize,
    cut: Cut,
    sums: &mut PanelMut<'_, A>,
    counts: &mut PanelMut<'_, A>,
    out: &mut PanelMut<'_, T>,
) {
    for j in cut.first..cut.first + rows {
        let (mut sums, mut counts, mut out) = (sums.row_mut(j), counts.row_mut(j), out.row_mut(j));
        let part = 0..cut.cols;
        T::divide(isa, sums.part(part.clone()).voxels, counts.part(part.clone()).voxels, out.part(part));
    }
}

impl<T: Voxel + Mean<A>, A: Quotient> Render<T, A> for Means<'_> {
    #[inline(always)]
    fn render<I: Isa>(&self, isa: I, by: &Weight, last: bool, sums: &[A], counts: &[A], mut out: Row<'_, T>) {
        let nearest = self.0.exact;
        match self.0.sparse {
            true if nearest => return T::divide_to_nearest(sums, counts, out),
            true => return T::divide(isa, sums, counts, out),
            false => (),
        }
        let Amounts { x, y, rest } = by.amounts;
        let weight = rest * if last { y.1 } else { y.0 };
        let whole = if x.0 == x.1 { sums.len() } else { sums.len() - 1 };
        T::over(isa, &sums[..whole], weight * x.0, nearest, out.part(0..whole));
        if whole < sums.len() {
            T::over(isa, &sums[whole..], weight * x.1, nearest, out.part(whole..sums.len()));
        }
    }

    const FINISHES: bool = <T as Mean<A>>::VECTORS;
    const FINISHES_UP: bool = <T as Mean<A>>::VECTORS;

    #[inline(always)]
    fn finishes(&self, by: &Weight) -> bool {
        if self.0.sparse { T::DIVIDES && !self.0.exact } else { by.shift.is_some() }
    }

    #[inline(always)]
    fn finish_two<I: Isa, const FX: usize, const PANELS: usize>(
        &self,
        isa: I,
        by: [&Weight; 2],
        cells: Fours<'_, T, PANELS>,
        cut: Cut,
        add: bool,
        sums: &mut PanelMut<'_, A>,
        counts: &mut PanelMut<'_, A>,
        out: &mut PanelMut<'_, T>,
        above: Option<&mut PanelMut<'_, T>>,
    ) {
        let halvings = by.map(|by| self.halving(by));
        if !self.0.sparse {
            return T::finish_two::<I, FX, PANELS, false>(isa, cells, cut, add, sums, counts, halvings, out, above);
        }
        T::finish_two::<I, FX, PANELS, true>(isa, cells, cut, add, sums, counts, halvings, out, None);
        if let Some(above) = above {
            divide_rows(isa, cells.fours(), cut, sums, counts, above);
        }
    }

    #[inline(always)]
    fn finish_up<I: Isa, const FX: usize>(
        &self,
        isa: I,
        by: &Weight,
        mut sums: Rise<'_, A>,
        counts: Option<Rise<'_, A>>,
        add: bool,
        mut out: Option<&mut PanelMut<'_, T>>,
        first: usize,
    ) {
        let full = sums.full;
        let Some(mut counts) = counts else {
            return T::finish_up::<I, FX>(isa, sums, add, self.halving(by), out, first);
        };
        add_up::<I, A, FX>(isa, &mut sums, add);
        add_up::<I, A, FX>(isa, &mut counts, add);
        let rows = sums.to.chunks_exact(sums.cols).zip(counts.to.chunks_exact(sums.cols));
        for (j, (sums, counts)) in (first..).zip(rows) {
            if let Some(out) = &mut out {
                T::divide(isa, &sums[..full], &counts[..full], out.row_mut(j).part(0..full));
            }
        }
    }

    #[inline(always)]
    fn finish<I: Isa, const FX: usize, const N: usize>(
        &self,
        isa: I,
        by: &Weight,
        cells: CellLines<'_, T, N>,
        cut: Cut,
        sums: &mut PanelMut<'_, A>,
        counts: &mut PanelMut<'_, A>,
        out: &mut PanelMut<'_, T>,
    ) {
        let halving = self.halving(by);
        if self.0.sparse {
            T::finish::<I, FX, N, true>(isa, cells, cut, sums, counts, halving, out);
        } else {
            T::finish::<I, FX, N, false>(isa, cells, cut, sums, counts, halving, out);
        }
    }
}

/// Dtypes that can be averaged.
pub trait Average: Voxel {
    /// Bits of a value, its sign included.
    const BITS: u32;
    /// Widths of sums there are, narrow to wide: of the first levels, and of the others.
    const WIDTHS: &'static [(u32, u32)];

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
    ($($t:ty, $bits:literal; $($first:ty, $sum:ty, $widths:tt);+)*) => {$(
        impl Average for $t {
            const BITS: u32 = $bits;
            const WIDTHS: &'static [(u32, u32)] = &[$((<$first>::WIDTH, <$sum>::WIDTH)),+];

            fn run(
                plan: &Plan,
                backend: Backend,
                source: Source<'_, Self>,
                tiles: &Tiles<'_, Self>,
                threads: usize,
                interrupted: &dyn Fn() -> bool,
            ) -> Result<(), Interrupted> {
                match plan.widths {
                    $($widths => plan.run_in::<$t, $first, $sum>(backend, source, tiles, threads, interrupted),)+
                }
            }
        }
    )*};
}
average! {
    u8, 8; u16, u16, (16, 16); u16, u32, (16, 32); u32, u32, (32, 32); u64, u64, _
    u16, 16; u32, u32, (32, 32); u64, u64, _
    u32, 32; u64, u64, (64, 64); u128, u128, _
    u64, 64; Halves<u64>, Halves<u64>, (96, 96); u128, u128, _
    i8, 8; i16, i16, (16, 16); i16, i32, (16, 32); i32, i32, (32, 32); i64, i64, _
    i16, 16; i32, i32, (32, 32); i64, i64, _
    i32, 32; i64, i64, (64, 64); i128, i128, _
    i64, 64; Halves<i64>, Halves<i64>, (96, 96); i128, i128, _
    // Not 32 and 64: floats have no truncation period, and their sums need no room.
    f32, 0; f64, f64, _
    f64, 0; TwoFloats, TwoFloats, _
    // Counts of the true ones: the nearest to their share is true above one half.
    Bool, 1; u32, u32, (32, 32); u64, u64, _
}
