//! The cascade: panels of the input folded into panels of sums, and these, as soon as they are complete, rendered and folded on
//! into the levels above, while they are in the inner caches.
//!
//! Five mips then cost little more than one. The rows of a cell are read side by side, those of several slices too, so that most
//! cells are whole after one look and their sums need not leave the registers; memory is asked for in the order of its
//! addresses, ahead of the reads. Where halving goes on, two levels are made of one look, and the rows of these are taken up through the
//! levels above at once ([`whole`]). Cells of several panels (many slices, or pieces of large cells) stay pending until the last has
//! come, and are folded row by row ([`rows`]).

use crate::fold::{Shape, Sum, Summand};
use crate::grid::{Ascent, Edge, Grid, Pooling, SIBLINGS};
use crate::simd::lines::{CellLines, Fours};
use crate::simd::tiles::Tile;
use crate::simd::views::{Cut, Panel, PanelMut, Rise, Row, Source, Span, Voxel};
use crate::simd::{Backend, Isa, SIDE};
use rows::fold_panels;
use std::marker::PhantomData;
use std::ops::Range;
use whole::{Climb, Lone, Two, Whole};

mod rows;
mod whole;

/// How sums become voxels, whatever the types.
pub trait Renderer: Sync {
    /// What the sums of a panel are divided by.
    type Divisor: Copy + Send + Sync;
    /// Whether counts of voxels that are not background are kept.
    fn counts(&self) -> bool;
    /// Whether the next level starts from the rendered voxels of `level` instead of its sums.
    fn restarts(&self, level: usize) -> bool;
    /// What the sums of the panel at `region` of `level` are divided by.
    fn divisor(&self, level: usize, region: &[Span]) -> Self::Divisor;
    /// How many of the columns and rows of a panel are divided by the same, from the first on: all, or all but the last.
    fn alike(&self, by: &Self::Divisor, cols: usize, rows: usize) -> (usize, usize);
}

/// How sums of type `A` become voxels of type `T`.
pub trait Render<T, A>: Renderer {
    /// Writes the voxels of a row; `last`: the last row of its panel.
    fn render<I: Isa>(&self, isa: I, by: &Self::Divisor, last: bool, sums: &[A], counts: &[A], out: Row<'_, T>);

    /// Folds full cells of `FX` (1 or 2) columns, row after row, and writes their voxels at once. Sums and counts without columns are not
    /// kept.
    #[allow(clippy::too_many_arguments)]
    fn finish<I: Isa, const FX: usize, const N: usize>(
        &self,
        isa: I,
        by: &Self::Divisor,
        cells: CellLines<'_, T, N>,
        cut: Cut,
        sums: &mut PanelMut<'_, A>,
        counts: &mut PanelMut<'_, A>,
        out: &mut PanelMut<'_, T>,
    );

    /// As [`Render::finish`], of pairs of rows of cells of two rows each, one beside the other, and the cells of `FX` columns that these two make in the level above: sums (and
    /// counts) set or added, and their voxels written if they are whole. Rows have [`FULL`] cells or more.
    #[allow(clippy::too_many_arguments)]
    fn finish_two<I: Isa, const FX: usize, const PANELS: usize>(
        &self,
        _isa: I,
        _by: [&Self::Divisor; 2],
        _cells: Fours<'_, T, PANELS>,
        _cut: Cut,
        _add: bool,
        _sums: &mut PanelMut<'_, A>,
        _counts: &mut PanelMut<'_, A>,
        _out: &mut PanelMut<'_, T>,
        _above: Option<&mut PanelMut<'_, T>>,
    ) {
        unreachable!("only where `FINISHES_UP` says so");
    }

    /// As [`Render::finish`], of cells of two rows and `FX` columns of sums (and counts), set or added, and written if they are whole: rows of `out` from
    /// `first` on.
    #[allow(clippy::too_many_arguments)]
    fn finish_up<I: Isa, const FX: usize>(
        &self,
        _isa: I,
        _by: &Self::Divisor,
        _sums: Rise<'_, A>,
        _counts: Option<Rise<'_, A>>,
        _add: bool,
        _out: Option<&mut PanelMut<'_, T>>,
        _first: usize,
    ) {
        unreachable!("only where `FINISHES_UP` says so");
    }

    /// Whether there are [`Render::finish_up`] and [`Render::finish_two`] for these types, where there are vectors.
    const FINISHES_UP: bool;

    /// Whether there is a [`Render::finish`] for these types, where there are vectors.
    const FINISHES: bool;

    /// Whether [`Render::finish`] can do it.
    fn finishes(&self, by: &Self::Divisor) -> bool;
}

/// A pooling that folds: `N` is what the first levels are summed in, `A` the others.
pub struct Folding<'a, T, N, A, R> {
    /// The call's shape.
    pub grid: &'a Grid,
    /// The instructions.
    pub backend: Backend,
    /// The input.
    pub source: Source<'a, T>,
    /// How sums become voxels.
    pub render: R,
    /// How many are the first levels; one at least.
    pub narrow: usize,
    /// What is carried from level to level.
    pub state: PhantomData<(N, A)>,
}

/// A thread's sums, a panel for every level.
pub struct Sums<T, N, A, D> {
    first: Vec<Level<N>>,
    rest: Vec<Level<A>>,
    steps: Vec<Step<D>>,
    gathered: Vec<Vec<T>>,
    scattered: Vec<Vec<T>>,
}

/// The pending sums of a level: rows of a panel, and counts, if they are kept.
struct Level<A> {
    sums: Vec<A>,
    counts: Vec<A>,
    /// Whether counts are kept.
    counted: bool,
    /// So many of the first rows of the panels that are taken up are done, by a kernel of whole cells.
    done: usize,
    /// So many of the first columns and rows of its panel are whole cells, which a kernel takes up from the level below.
    whole: (usize, usize),
    /// Sums of a row whose cells are not yet folded along x, and what they are folded into.
    columns: [Vec<A>; 2],
}

impl<A: Sum> Level<A> {
    fn new(counted: bool) -> Self {
        Level { sums: Vec::new(), counts: Vec::new(), counted, done: 0, whole: (0, 0), columns: Default::default() }
    }

    /// Makes room for so many sums: only as many as a panel has, because fresh memory costs small calls more than their sums.
    fn hold(&mut self, len: usize) {
        if self.sums.len() < len {
            self.sums.resize(len, A::default());
            self.counts.resize(if self.counted { len } else { 0 }, A::default());
        }
    }

    /// Puts the rendered voxels in the place of their sums.
    fn restart<T: Summand<A>>(&mut self, voxels: &mut PanelMut<'_, T>) {
        let cols = voxels.cols();
        for j in 0..voxels.rows() {
            let (sums, counts) = self.row(j, cols);
            let row = voxels.row_mut(j);
            sums.iter_mut().zip(&*row.voxels).for_each(|(sum, &voxel)| *sum = voxel.lift());
            counts.iter_mut().zip(&*row.voxels).for_each(|(count, &voxel)| *count = voxel.occupied());
        }
    }

    /// Sums and counts of `rows` rows, or if they are not kept, or not counted, of no columns.
    fn panels(&mut self, rows: usize, cols: usize, keep: bool) -> [PanelMut<'_, A>; 2] {
        [&mut self.sums, &mut self.counts].map(|values| {
            if keep && !values.is_empty() {
                PanelMut::dense(&mut values[..rows * cols], cols)
            } else {
                PanelMut::dense(&mut [], 0)
            }
        })
    }

    /// Sums and counts of row `j`.
    #[inline(always)]
    fn row(&mut self, j: usize, cols: usize) -> (&mut [A], &mut [A]) {
        let row = j * cols..(j + 1) * cols;
        let counts = if self.counts.is_empty() { &mut [][..] } else { &mut self.counts[row.clone()] };
        (&mut self.sums[row], counts)
    }
}

/// What happens on the way into a level.
#[derive(Clone, Copy)]
struct Step<D> {
    shape: Shape,
    /// Extents of the level's panel, and rows of the panel below.
    rows: usize,
    cols: usize,
    below: usize,
    /// Whether this child is the first of its panel, and the last; and how often it counts.
    first: bool,
    last: bool,
    weight: usize,
    restarts: bool,
    by: D,
}

impl<D> Step<D> {
    /// Whether all cells of the panel come from this child.
    fn is_whole(&self) -> bool {
        self.first && self.last && self.weight == 1
    }

    /// The rows of the level below (which has `rows`) that make row `j`, and how often each counts.
    #[inline(always)]
    fn cell(&self, j: usize, rows: usize) -> (Range<usize>, usize) {
        let fy = self.shape.factor[1];
        let range = j * fy..((j + 1) * fy).min(rows);
        let lone = self.shape.mirrored && range.len() < fy;
        (range, if lone { 2 * self.weight } else { self.weight })
    }
}

impl<T, N, A, R> Pooling<T> for Folding<'_, T, N, A, R>
where
    T: Voxel + Summand<N>,
    N: Sum + Summand<A>,
    A: Sum,
    T: Summand<A>,
    R: Render<T, N> + Render<T, A>,
{
    type Panels = Sums<T, N, A, R::Divisor>;

    fn panels(&self) -> Self::Panels {
        let (grid, counted) = (self.grid, self.render.counts());
        let narrow = self.narrow.min(grid.levels());
        Sums {
            first: (1..=narrow).map(|_| Level::new(counted)).collect(),
            rest: (narrow + 1..=grid.levels()).map(|_| Level::new(counted)).collect(),
            steps: Vec::new(),
            gathered: vec![Vec::new(); SIBLINGS],
            scattered: vec![Vec::new(); grid.levels()],
        }
    }

    fn take(&self, panels: &mut Self::Panels, ascent: Ascent<'_>, tile: &mut Tile<'_, T>) {
        let Folding { grid, backend, source, render, .. } = self;
        let Sums { first, rest, steps, gathered, scattered } = panels;
        steps.clear();
        steps.extend(ascent.children.iter().zip(1..).map(|(child, level)| {
            let region = &ascent.regions[level];
            Step {
                shape: Shape {
                    factor: [grid.inner_factor(0, level), grid.inner_factor(1, level)],
                    mirrored: grid.edge() == Edge::Mirrored,
                },
                rows: region[1].len,
                cols: region[0].len,
                below: ascent.regions[level - 1][1].len,
                first: child.first,
                last: child.last,
                weight: child.weight,
                restarts: render.restarts(level),
                by: render.divisor(level, region),
            }
        }));
        let mut from = [Panel::dense(&[], 0); SIBLINGS];
        for ((panel, (_, region)), gathered) in from.iter_mut().zip(ascent.siblings).zip(gathered) {
            *panel = source.panel(*backend, region, gathered);
        }
        let from = &from[..ascent.siblings.len()];
        let done = ascent.completed();
        // Every level of a folding is an output.
        tile.write_all(&ascent.regions[1..=done], scattered, |outs| {
            Cascade { backend: *backend, from, render, steps, first, rest, outs }.run();
        });
    }
}

/// Takes panels of the input through the levels that they reach.
struct Cascade<'a, 'o, T, N, A, R: Renderer> {
    backend: Backend,
    /// Panels of the input, all of one shape, but not always of one pitch.
    from: &'a [Panel<'a, T>],
    render: &'a R,
    steps: &'a [Step<R::Divisor>],
    first: &'a mut [Level<N>],
    rest: &'a mut [Level<A>],
    outs: &'a mut [PanelMut<'o, T>],
}

impl<T, N, A, R> Cascade<'_, '_, T, N, A, R>
where
    T: Voxel + Summand<N> + Summand<A>,
    N: Sum + Summand<A>,
    A: Sum,
    R: Render<T, N> + Render<T, A>,
{
    fn run(self) {
        let Cascade { backend, from, render, steps, first, rest, outs } = self;
        for (step, out) in steps.iter().zip(&mut *outs) {
            if step.restarts {
                out.keep();
            }
        }
        first.iter_mut().for_each(|level| level.done = 0);
        rest.iter_mut().for_each(|level| level.done = 0);
        let (step, [fx, fy]) = (&steps[0], steps[0].shape.factor);
        // Where these panels hold whole cells and a kernel takes all lines of one side by side, nothing is pending.
        let whole = <R as Render<T, N>>::FINISHES
            && step.is_whole()
            && fx <= 2
            && matches!(fy * from.len(), 1 | 2 | SIDE)
            && from.iter().all(|panel| panel.is_like(&from[0]))
            && backend.has_vectors()
            && <R as Render<T, N>>::finishes(render, &step.by);
        if whole {
            if let Some(two) = Two::new(render, steps, from, first, outs) {
                backend.run(two);
            } else if let Some(one) = Whole::new(render, steps, from, first, outs) {
                backend.run(one);
            }
        } else if let Some(lone) = Lone::new(render, steps, from, first, outs) {
            backend.run(lone);
        }
        if first[0].done < step.rows {
            first[0].hold(step.rows * step.cols);
            let out = outs.get_mut(0).filter(|_| step.last);
            fold_panels(backend, render, step, from, None, &mut first[0], out);
        }
        if step.restarts && step.last {
            first[0].restart(&mut outs[0]);
        }
        rise(backend, render, steps, first, outs);
        let (below, steps) = steps.split_at(first.len().min(steps.len()));
        if let (Some(lower), [step, ..]) = (first.last(), steps) {
            let outs = outs.get_mut(below.len()..).unwrap_or_default();
            fold_up(backend, render, (below[below.len() - 1].cols, step), lower, &mut rest[0], outs.first_mut());
            rise(backend, render, steps, rest, outs);
        }
    }
}

/// Takes the first of the levels up through the others that are reached.
fn rise<T: Summand<A>, A: Sum, R: Render<T, A>>(
    backend: Backend,
    render: &R,
    steps: &[Step<R::Divisor>],
    levels: &mut [Level<A>],
    outs: &mut [PanelMut<'_, T>],
) {
    for k in 1..levels.len().min(steps.len()) {
        if levels[k].done == 0
            && backend.has_vectors()
            && let Some(climb) =
                Climb::new(render, &steps[k - 1..], &mut levels[k - 1..], outs.get_mut(k - 1..).unwrap_or_default())
        {
            backend.run(climb);
        }
        let (lower, upper) = levels.split_at_mut(k);
        fold_up(backend, render, (steps[k - 1].cols, &steps[k]), &lower[k - 1], &mut upper[0], outs.get_mut(k));
    }
}

/// Folds what is not yet done of the panel of a level with so many columns into that of the level above, which may start again from its voxels.
fn fold_up<T: Summand<A>, S: Summand<A>, A: Sum, R: Render<T, A>>(
    backend: Backend,
    render: &R,
    (cols, step): (usize, &Step<R::Divisor>),
    lower: &Level<S>,
    level: &mut Level<A>,
    mut out: Option<&mut PanelMut<'_, T>>,
) {
    if level.done < step.rows {
        level.hold(step.rows * step.cols);
        let len = step.below * cols;
        let from = Panel::dense(&lower.sums[..len], cols);
        let counts = &[Panel::dense(&lower.counts[..len.min(lower.counts.len())], cols)];
        fold_panels(backend, render, step, &[from], Some(counts), level, out.as_deref_mut());
    }
    if step.restarts
        && step.last
        && let Some(out) = out
    {
        level.restart(out);
    }
}
