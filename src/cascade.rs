//! The cascade: rows of the input folded into rows of sums, and these, as soon as a row of cells is complete, rendered
//! and folded on into the level above, while they are in L1.
//!
//! Five mips then cost little more than one, and there is no phase without reads: while a row is folded, memory is asked for
//! what comes a few KiB later. A panel of the input passes through all levels that it completes, row by row; a
//! level whose cells are made of several panels (slices along other axes, or pieces of large cells) keeps all its rows until the
//! last of them has come, the others need only one.

use crate::fold::{Fold, Shape, Sum, Summand, What};
use crate::grid::{Ascent, Edge, Grid, Pooling, SIBLINGS};
use crate::simd::tiles::Tile;
use crate::simd::views::{Line, Panel, PanelMut, Row, Source, Span, Voxel, behind};
use crate::simd::{Backend, Isa, Kernel, SIDE};
use std::marker::PhantomData;
use std::ops::Range;

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
}

/// How sums of type `A` become voxels of type `T`.
pub trait Render<T, A>: Renderer {
    /// Writes the voxels of a row; `last`: the last row of its panel.
    fn render<I: Isa>(&self, isa: I, by: &Self::Divisor, last: bool, sums: &[A], counts: &[A], out: Row<'_, T>);

    /// Adds (`ADD`: or sets) the last rows (up to [`SIDE`]) of full cells of `FX` columns to `sums` and writes the voxels at once, if that can
    /// be done; `KEEP`: the sums are needed afterwards.
    fn finish<I: Isa, const FX: usize, const ADD: bool, const KEEP: bool>(
        &self,
        isa: I,
        by: &Self::Divisor,
        lines: &[Line<'_, T>],
        sums: &mut [A],
        out: Row<'_, T>,
    );

    /// Whether [`Render::finish`] can do it.
    fn finishes(&self, by: &Self::Divisor) -> bool;
}

/// A pooling that folds: `N` is what the first level is summed in, `A` the others.
pub struct Folding<'a, T, N, A, R> {
    /// The call's shape.
    pub grid: &'a Grid,
    /// The instructions.
    pub backend: Backend,
    /// The input.
    pub source: Source<'a, T>,
    /// How sums become voxels.
    pub render: R,
    /// What is carried from level to level.
    pub state: PhantomData<(N, A)>,
}

/// A thread's sums, a panel for every level.
pub struct Sums<T, N, A, D> {
    first: Level<N>,
    rest: Vec<Level<A>>,
    steps: Vec<Step<D>>,
    gathered: Vec<Vec<T>>,
    scattered: Vec<Vec<T>>,
}

/// The pending sums of a level.
struct Level<A> {
    sums: Vec<A>,
    counts: Vec<A>,
    /// How many rows it keeps: all of a panel, or those of a cell of the level above.
    rows: usize,
}

impl<A: Sum> Level<A> {
    fn new(grid: &Grid, level: usize, counts: bool) -> Self {
        let above = if level < grid.levels() { grid.inner_factor(1, level + 1) } else { 1 };
        let (cols, all) = (grid.panel_cols(level), grid.panel_len(level) / grid.panel_cols(level));
        let rows = if grid.children(level).is_empty() { above.min(all) } else { all };
        let sums = vec![A::default(); rows * cols];
        let counts = if counts { sums.clone() } else { Vec::new() };
        Level { sums, counts, rows }
    }

    /// Sums and counts (if they are kept) of row `j`.
    #[inline(always)]
    fn row_mut(&mut self, j: usize, cols: usize) -> (&mut [A], &mut [A]) {
        let start = j % self.rows * cols;
        let counts = if self.counts.is_empty() { &mut [][..] } else { &mut self.counts[start..start + cols] };
        (&mut self.sums[start..start + cols], counts)
    }

    /// As [`Level::row_mut`], to read.
    #[inline(always)]
    fn row(&self, j: usize, cols: usize) -> (&[A], &[A]) {
        let start = j % self.rows * cols;
        let counts = if self.counts.is_empty() { &[][..] } else { &self.counts[start..start + cols] };
        (&self.sums[start..start + cols], counts)
    }
}

/// What happens on the way into a level.
#[derive(Clone, Copy)]
struct Step<D> {
    shape: Shape,
    /// Extents of the level's panel.
    rows: usize,
    cols: usize,
    /// Whether this child is the first of its panel, and the last; and how often it counts.
    first: bool,
    last: bool,
    weight: usize,
    restarts: bool,
    by: D,
}

impl<D> Step<D> {
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
        let (grid, counts) = (self.grid, self.render.counts());
        Sums {
            first: Level::new(grid, 1, counts),
            rest: (2..=grid.levels()).map(|level| Level::new(grid, level, counts)).collect(),
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
                first: child.first,
                last: child.last,
                weight: child.weight,
                restarts: render.restarts(level),
                by: render.divisor(level, region),
            }
        }));
        let mut from = [Panel::dense(&[], 0); SIBLINGS];
        for ((panel, (_, region)), gathered) in from.iter_mut().zip(ascent.siblings).zip(gathered) {
            *panel = source.panel(region, gathered);
        }
        let from = &from[..ascent.siblings.len()];
        let done = ascent.completed();
        // Every level of a folding is an output.
        tile.write_all(&ascent.regions[1..=done], scattered, |outs| {
            Cascade { backend: *backend, from, render, steps, first, rest, outs }.run();
        });
    }
}

/// Takes the rows of a panel through the levels. Every row is a kernel call of its own: one large kernel would need more
/// registers than there are, and spend its time on moving them about.
struct Cascade<'a, 'o, T, N, A, R: Renderer> {
    backend: Backend,
    /// Panels of the input, all of one shape.
    from: &'a [Panel<'a, T>],
    render: &'a R,
    steps: &'a [Step<R::Divisor>],
    first: &'a mut Level<N>,
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
    fn run(&mut self) {
        for j in 0..self.steps[0].rows {
            self.row(j);
            if self.steps[0].last {
                self.rise(j);
            }
        }
    }

    /// Folds the rows of the input that make row `j` of level 1, and renders it if it is complete.
    #[inline(always)]
    fn row(&mut self, j: usize) {
        let Cascade { backend, from, render, steps, .. } = *self;
        let (step, shape) = (&steps[0], steps[0].shape);
        let (rows, times) = step.cell(j, from[0].rows());
        let (sums, counts) = self.first.row_mut(j, step.cols);
        let finishes =
            step.last && shape.factor[0] <= 2 && counts.is_empty() && <R as Render<T, N>>::finishes(render, &step.by);
        let (mut add, keep) = (!step.first, steps.len() > 1);
        let line = |panel: usize, y, first, count| from[panel].line(y, first, count);
        each_group(from.len(), rows, times, line, |lines, last| {
            if finishes && last {
                let out = self.outs[0].row_mut(j);
                backend.run(Finish { render, by: &step.by, lines, shape, add, keep, sums: &mut *sums, out });
            } else {
                backend.run(Fold { lines, shape, add, to: &mut *sums, what: What::Value });
                if !counts.is_empty() {
                    backend.run(Fold { lines, shape, add, to: &mut *counts, what: What::Presence });
                }
            }
            add = true;
        });
        if step.last && !finishes {
            let (last, out) = (j + 1 == step.rows, self.outs[0].row_mut(j));
            backend.run(RenderRow { render, by: &step.by, last, sums, counts, out });
        }
        if step.last && step.restarts {
            restart(self.outs[0].row_mut(j).voxels, sums, counts);
        }
    }

    /// Takes row `below` of level 1, which is complete, into the levels above, as far as rows become complete by it.
    #[inline(always)]
    fn rise(&mut self, mut below: usize) {
        let Cascade { backend, render, steps, .. } = *self;
        for k in 1..steps.len() {
            let (lower, step) = (&steps[k - 1], &steps[k]);
            let j = below / step.shape.factor[1];
            let (rows, times) = step.cell(j, lower.rows);
            if below + 1 < rows.end {
                return;
            }
            let (done, pending) = self.rest.split_at_mut(k - 1);
            let (sums, counts) = pending[0].row_mut(j, step.cols);
            match done.last() {
                None => fold_up(backend, self.first, lower.cols, rows, times, step, sums, counts),
                Some(level) => fold_up(backend, level, lower.cols, rows, times, step, sums, counts),
            }
            if !step.last {
                return;
            }
            let (last, out) = (j + 1 == step.rows, self.outs[k].row_mut(j));
            backend.run(RenderRow { render, by: &step.by, last, sums, counts, out });
            if step.restarts {
                restart(self.outs[k].row_mut(j).voxels, sums, counts);
            }
            below = j;
        }
    }
}

/// Folds rows of sums, and of counts if there are any, into a row of the level above.
#[allow(clippy::too_many_arguments)]
fn fold_up<S: Summand<A> + Sum, A: Sum, D>(
    backend: Backend,
    from: &Level<S>,
    cols: usize,
    rows: Range<usize>,
    times: usize,
    step: &Step<D>,
    sums: &mut [A],
    counts: &mut [A],
) {
    let (shape, what) = (step.shape, What::Value);
    let mut add = !step.first;
    each_group(1, rows.clone(), times, |_, y, _, _| Line::here(from.row(y, cols).0), |lines, _| {
        backend.run(Fold { lines, shape, add, to: &mut *sums, what });
        add = true;
    });
    if !counts.is_empty() {
        add = !step.first;
        each_group(1, rows, times, |_, y, _, _| Line::here(from.row(y, cols).1), |lines, _| {
            backend.run(Fold { lines, shape, add, to: &mut *counts, what });
            add = true;
        });
    }
}

/// Calls `fold` with the rows of a cell, as many side by side as there are kernels for, and tells it which come last. `line`
/// gives row y of a panel, which is one of `count` from `first` on that are read at the same time. If the cell counts several
/// `times`, its rows come as often.
#[inline(always)]
fn each_group<'a, T>(
    panels: usize,
    rows: Range<usize>,
    times: usize,
    line: impl Fn(usize, usize, usize, usize) -> Line<'a, T>,
    mut fold: impl FnMut(&[Line<'a, T>], bool),
) where
    T: 'a,
{
    let unit = if panels == 1 { SIDE } else { SIDE / 2 };
    for time in 1..=times {
        let (mut group, mut n) = ([Line::here(&[]); SIDE], 0);
        for panel in 0..panels {
            let mut first = rows.start;
            while first < rows.end {
                let count = unit.min(rows.end - first);
                if n + count > SIDE {
                    fold(&group[..n], false);
                    n = 0;
                }
                for y in first..first + count {
                    group[n] = line(panel, y, first, count);
                    n += 1;
                }
                first += count;
            }
        }
        fold(&group[..n], time == times);
    }
}

/// Writes the voxels of a row.
struct RenderRow<'a, T, A, R: Renderer> {
    render: &'a R,
    by: &'a R::Divisor,
    last: bool,
    sums: &'a [A],
    counts: &'a [A],
    out: Row<'a, T>,
}

impl<T, A, R: Render<T, A>> Kernel for RenderRow<'_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.render.render(isa, self.by, self.last, self.sums, self.counts, self.out);
    }
}

/// Folds the last rows of cells of one or two columns, and writes their voxels.
struct Finish<'a, T, A, R: Renderer> {
    render: &'a R,
    by: &'a R::Divisor,
    lines: &'a [Line<'a, T>],
    shape: Shape,
    add: bool,
    keep: bool,
    sums: &'a mut [A],
    out: Row<'a, T>,
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Finish<'_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let (fx, len) = (self.shape.factor[0], self.lines[0].voxels.len());
        let full = len / fx;
        if full < self.sums.len() {
            let (to, lines) = (&mut self.sums[full..], behind(self.lines, fx * full));
            let lines = &lines[..self.lines.len()];
            Fold { lines, shape: self.shape, add: self.add, to: &mut *to, what: What::Value }.run(isa);
            self.render.render(isa, self.by, true, to, &[], self.out.part(full..full + 1));
        }
        match (fx, self.add, self.keep) {
            (1, false, false) => self.cells::<I, 1, false, false>(isa, full),
            (1, false, true) => self.cells::<I, 1, false, true>(isa, full),
            (1, true, false) => self.cells::<I, 1, true, false>(isa, full),
            (1, true, true) => self.cells::<I, 1, true, true>(isa, full),
            (_, false, false) => self.cells::<I, 2, false, false>(isa, full),
            (_, false, true) => self.cells::<I, 2, false, true>(isa, full),
            (_, true, false) => self.cells::<I, 2, true, false>(isa, full),
            (_, true, true) => self.cells::<I, 2, true, true>(isa, full),
        }
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Finish<'_, T, A, R> {
    /// The full cells.
    #[inline(always)]
    fn cells<I: Isa, const FX: usize, const ADD: bool, const KEEP: bool>(mut self, isa: I, full: usize) {
        let (sums, out) = (&mut self.sums[..full], self.out.part(0..full));
        self.render.finish::<I, FX, ADD, KEEP>(isa, self.by, self.lines, sums, out);
    }
}

/// Puts the rendered voxels in the place of their sums.
#[inline(never)]
fn restart<T: Summand<A>, A: Sum>(voxels: &[T], sums: &mut [A], counts: &mut [A]) {
    for (sum, &voxel) in sums.iter_mut().zip(voxels) {
        *sum = voxel.lift();
    }
    for (count, &voxel) in counts.iter_mut().zip(voxels) {
        *count = voxel.occupied();
    }
}
