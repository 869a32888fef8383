//! Folding: cells of a panel added up, level after level. Averages fold with +, minima and maxima with min and max.
//!
//! A row is folded along x into a row of sums a factor shorter, and rows of a cell are added to the same sums, which
//! stay in L1. Memory is read in address order: row after row, never the rows of a cell side by side.

use crate::grid::{Child, Edge, Grid, Pooling};
use crate::simd::tiles::Tile;
use crate::simd::views::{Panel, PanelMut, Source, Span, Voxel};
use crate::simd::{Backend, Isa, Kernel};
use std::marker::PhantomData;

/// What is carried from level to level: something with a `+`.
pub trait Sum: Copy + Default + Send + Sync + Summand<Self> {
    /// `self + other`; never overflows, as the width was chosen for the largest cell.
    fn plus(self, other: Self) -> Self;
}

/// What can be summed up in an `A`.
pub trait Summand<A: Sum>: Copy {
    /// This voxel as a sum of one.
    fn lift(self) -> A;

    /// 1 for a value, 0 for background.
    fn occupied(self) -> A;

    /// The voxel nearest to `sum` on the way to zero.
    fn lower(sum: A) -> Self;

    /// `sums[i]` becomes (with `ADD`: grows by) the sum of the pair `row[2 i], row[2 i + 1]`.
    #[inline(always)]
    fn pair_sums<I: Isa, const ADD: bool>(_isa: I, row: &[Self], sums: &mut [A]) {
        pairs::<Self, A, ADD>(row, sums, Self::lift);
    }

    /// As `pair_sums`, of cells of `fx` (3 and more) voxels.
    #[inline(always)]
    fn cell_sums<I: Isa, const ADD: bool>(_isa: I, row: &[Self], fx: usize, sums: &mut [A]) {
        any_cells::<Self, A, ADD>(row, fx, sums, Self::lift);
    }

    /// As `pair_sums`, of how many are not background.
    #[inline(always)]
    fn pair_counts<I: Isa, const ADD: bool>(_isa: I, row: &[Self], counts: &mut [A]) {
        pairs::<Self, A, ADD>(row, counts, Self::occupied);
    }
}

/// Folds the cells of a panel, `factor` (x, y) voxels each, into `sums`, or onto them; with `counts` also how many of
/// the voxels are not background.
pub struct Fold<'a, T, A> {
    /// What is folded.
    pub from: Panel<'a, T>,
    /// Voxels of a cell along x and y.
    pub factor: [usize; 2],
    /// Lone trailing voxels and rows count twice.
    pub mirrored: bool,
    /// Add to what is there.
    pub add: bool,
    /// The sums, row after row.
    pub sums: &'a mut [A],
    /// The counts, likewise; empty: not wanted.
    pub counts: &'a mut [A],
}

impl<T: Summand<A>, A: Sum> Kernel for Fold<'_, T, A> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        // One loop over the rows for each way along a row, so that short rows do not pay for the choice.
        match (self.factor[0], self.counts.is_empty()) {
            (1, true) => self.rows(Columns, false),
            (2, true) => self.rows(Pairs(isa), false),
            (_, true) => self.rows(Cells(isa), false),
            (1, false) => self.rows(Columns, true),
            (2, false) => self.rows(Pairs(isa), true),
            (_, false) => self.rows(Cells(isa), true),
        }
    }
}

impl<T: Summand<A>, A: Sum> Fold<'_, T, A> {
    #[inline(always)]
    fn rows(self, along: impl Along, counting: bool) {
        let ([fx, fy], mirrored) = (self.factor, self.mirrored);
        let cols = self.from.cols().div_ceil(fx);
        for (j, sums) in self.sums.chunks_exact_mut(cols).enumerate() {
            let (first, end) = (j * fy, ((j + 1) * fy).min(self.from.rows()));
            for y in first..end {
                self.from.announce(y);
                let (row, add) = (self.from.row(y), self.add || y > first);
                fold_row(along, row, fx, mirrored, add, sums, false);
                if counting {
                    fold_row(along, row, fx, mirrored, add, &mut self.counts[j * cols..][..cols], true);
                }
            }
            if mirrored && end - first < fy {
                // A lone trailing row counts twice.
                let row = self.from.row(first);
                fold_row(along, row, fx, mirrored, true, sums, false);
                if counting {
                    fold_row(along, row, fx, mirrored, true, &mut self.counts[j * cols..][..cols], true);
                }
            }
        }
    }
}

#[inline(always)]
fn fold_row<T: Summand<A>, A: Sum>(
    along: impl Along,
    row: &[T],
    fx: usize,
    mirrored: bool,
    add: bool,
    sums: &mut [A],
    count: bool,
) {
    let full = row.len() / fx;
    let (cells, to) = (&row[..fx * full], &mut sums[..full]);
    if add {
        along.fold::<T, A, true>(cells, fx, to, count);
    } else {
        along.fold::<T, A, false>(cells, fx, to, count);
    }
    if full < sums.len() {
        fold_rest(&row[fx * full..], mirrored, add, &mut sums[full], count);
    }
}

/// The last, smaller cell of a row. Kept out of the loop over the rows, which needs the registers.
#[inline(never)]
fn fold_rest<T: Summand<A>, A: Sum>(rest: &[T], mirrored: bool, add: bool, sum: &mut A, count: bool) {
    let lift = |voxel: T| if count { voxel.occupied() } else { voxel.lift() };
    let once = rest[1..].iter().fold(lift(rest[0]), |sum, &voxel| sum.plus(lift(voxel)));
    let cell = if mirrored { once.plus(once) } else { once };
    *sum = if add { sum.plus(cell) } else { cell };
}

/// The way along a row of full cells.
trait Along: Copy {
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, row: &[T], fx: usize, sums: &mut [A], count: bool);
}

/// Cells of one column.
#[derive(Clone, Copy)]
struct Columns;

impl Along for Columns {
    #[inline(always)]
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, row: &[T], _fx: usize, sums: &mut [A], count: bool) {
        for (sum, &voxel) in sums.iter_mut().zip(row) {
            let voxel = if count { voxel.occupied() } else { voxel.lift() };
            *sum = if ADD { sum.plus(voxel) } else { voxel };
        }
    }
}

/// Cells of two columns.
#[derive(Clone, Copy)]
struct Pairs<I>(I);

impl<I: Isa> Along for Pairs<I> {
    #[inline(always)]
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, row: &[T], _fx: usize, sums: &mut [A], count: bool) {
        if count {
            T::pair_counts::<I, ADD>(self.0, row, sums);
        } else {
            T::pair_sums::<I, ADD>(self.0, row, sums);
        }
    }
}

/// Cells of any other number of columns.
#[derive(Clone, Copy)]
struct Cells<I>(I);

impl<I: Isa> Along for Cells<I> {
    #[inline(always)]
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, row: &[T], fx: usize, sums: &mut [A], count: bool) {
        if count {
            any_cells::<T, A, ADD>(row, fx, sums, T::occupied);
        } else {
            T::cell_sums::<I, ADD>(self.0, row, fx, sums);
        }
    }
}

/// Cells of any number of columns, voxel by voxel.
#[inline(always)]
pub fn any_cells<T: Copy, A: Sum, const ADD: bool>(row: &[T], fx: usize, sums: &mut [A], lift: impl Fn(T) -> A) {
    match fx {
        3 => cells::<T, A, 3, ADD>(row, sums, lift),
        4 => cells::<T, A, 4, ADD>(row, sums, lift),
        5 => cells::<T, A, 5, ADD>(row, sums, lift),
        _ => {
            for (sum, cell) in sums.iter_mut().zip(row.chunks_exact(fx)) {
                let folded = cell[1..].iter().fold(lift(cell[0]), |folded, &voxel| folded.plus(lift(voxel)));
                *sum = if ADD { sum.plus(folded) } else { folded };
            }
        }
    }
}

/// Cells whose length the compiler knows.
#[inline(always)]
fn cells<T: Copy, A: Sum, const FX: usize, const ADD: bool>(row: &[T], sums: &mut [A], lift: impl Fn(T) -> A) {
    for (sum, cell) in sums.iter_mut().zip(row.as_chunks::<FX>().0) {
        let mut folded = lift(cell[0]);
        for &voxel in &cell[1..] {
            folded = folded.plus(lift(voxel));
        }
        *sum = if ADD { sum.plus(folded) } else { folded };
    }
}

#[inline(always)]
fn pairs<T: Copy, A: Sum, const ADD: bool>(row: &[T], sums: &mut [A], lift: impl Fn(T) -> A) {
    for (sum, pair) in sums.iter_mut().zip(row.chunks_exact(2)) {
        let pair = lift(pair[0]).plus(lift(pair[1]));
        *sum = if ADD { sum.plus(pair) } else { pair };
    }
}

/// How sums become voxels.
pub trait Render<T, A>: Sync {
    /// Whether counts of voxels that are not background are kept.
    fn counts(&self) -> bool;
    /// Writes the voxels of the panel at `region` of `level`.
    fn render(
        &self,
        backend: Backend,
        level: usize,
        region: &[Span],
        sums: Panel<'_, A>,
        counts: Panel<'_, A>,
        out: &mut PanelMut<'_, T>,
    );
    /// Whether the next level starts from the rendered voxels of `level` instead of its sums.
    fn restarts(&self, level: usize) -> bool;
}

/// A pooling that folds.
pub struct Folding<'a, T, A, R> {
    /// The call's shape.
    pub grid: &'a Grid,
    /// The instructions.
    pub backend: Backend,
    /// The input.
    pub source: Source<'a, T>,
    /// How sums become voxels.
    pub render: R,
    /// What is carried from level to level.
    pub state: PhantomData<A>,
}

/// A thread's sums, a panel for every level.
pub struct Sums<T, A> {
    levels: Vec<Level<A>>,
    gathered: Vec<T>,
    scattered: Vec<T>,
}

#[derive(Default)]
struct Level<A> {
    sums: Vec<A>,
    counts: Vec<A>,
    cols: usize,
}

impl<T, A, R> Pooling<T> for Folding<'_, T, A, R>
where
    T: Voxel + Summand<A>,
    A: Sum,
    R: Render<T, A>,
{
    type Panels = Sums<T, A>;

    fn panels(&self) -> Sums<T, A> {
        let grid = self.grid;
        let level = |l| {
            let sums = vec![A::default(); grid.panel_len(l)];
            let counts = if self.render.counts() { sums.clone() } else { Vec::new() };
            Level { sums, counts, cols: 0 }
        };
        Sums { levels: (1..=grid.levels()).map(level).collect(), gathered: Vec::new(), scattered: Vec::new() }
    }

    fn absorb(&self, panels: &mut Sums<T, A>, level: usize, child: Child, region: &[Span]) {
        let Folding { grid, backend, source, .. } = self;
        let factor = [grid.inner_factor(0, level), grid.inner_factor(1, level)];
        let mirrored = grid.edge() == Edge::Mirrored;
        let cells = [region[0].len.div_ceil(factor[0]), region[1].len.div_ceil(factor[1])];
        let (lower, upper) = panels.levels.split_at_mut(level - 1);
        let to = &mut upper[0];
        to.cols = cells[0];
        let (sums, counts) = (&mut to.sums[..cells[0] * cells[1]], &mut to.counts[..]);
        let counts = if counts.is_empty() { counts } else { &mut counts[..cells[0] * cells[1]] };
        for time in 0..child.weight {
            let add = !child.first || time > 0;
            match lower.last() {
                None => {
                    let from = source.panel(region, &mut panels.gathered);
                    backend.run(Fold { from, factor, mirrored, add, sums, counts });
                }
                Some(below) => {
                    let len = region[0].len * region[1].len;
                    let from = Panel::dense(&below.sums[..len], below.cols);
                    backend.run(Fold { from, factor, mirrored, add, sums, counts: &mut [] });
                    if !counts.is_empty() {
                        let from = Panel::dense(&below.counts[..len], below.cols);
                        backend.run(Fold { from, factor, mirrored, add, sums: counts, counts: &mut [] });
                    }
                }
            }
        }
    }

    fn finish(&self, panels: &mut Sums<T, A>, level: usize, region: &[Span], tile: &mut Tile<'_, T>) {
        let Folding { grid, backend, render, .. } = self;
        let Level { sums, counts, cols } = &mut panels.levels[level - 1];
        let len = region[0].len * region[1].len;
        let (sums, cols) = (&mut sums[..len], *cols);
        let counts = if counts.is_empty() { &mut counts[..] } else { &mut counts[..len] };
        let mip = grid.output(level).expect("every level of a folding is an output");
        tile.write(mip, region, &mut panels.scattered, |out| {
            render.render(*backend, level, region, Panel::dense(sums, cols), Panel::dense(counts, cols), out);
            if render.restarts(level) {
                backend.run(Fold { from: out.as_panel(), factor: [1, 1], mirrored: false, add: false, sums, counts });
            }
        });
    }
}
