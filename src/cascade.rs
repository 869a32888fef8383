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

    /// Folds the lines of full cells of `FX` (1 or 2) columns and writes their voxels at once; `KEEP`: sums and counts (if there
    /// are any) are needed afterwards.
    fn finish<I: Isa, const FX: usize, const KEEP: bool>(
        &self,
        isa: I,
        by: &Self::Divisor,
        lines: &[Line<'_, T>],
        sums: &mut [A],
        counts: &mut [A],
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

    /// The sums of row `j` (`counts`: its counts), to read.
    #[inline(always)]
    fn line(&self, j: usize, cols: usize, counts: bool) -> Line<'_, A> {
        let start = j % self.rows * cols;
        Line::here(&(if counts { &self.counts } else { &self.sums })[start..start + cols])
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
        let step = &self.steps[0];
        let ([fx, fy], below) = (step.shape.factor, self.from[0].rows());
        // Where these panels hold whole cells and a kernel takes all lines of one side by side, nothing is pending.
        let whole = step.first && step.last && fx <= 2 && fy * self.from.len() <= SIDE;
        let whole = whole && <R as Render<T, N>>::finishes(self.render, &step.by);
        // So many rows at once as are kept until the level above takes them.
        let most = if self.steps.len() > 1 { self.first.rows } else { step.rows };
        let mut j = 0;
        while j < step.rows {
            let (cell, times) = step.cell(j, below);
            let mut end = j + 1;
            if whole && times == 1 {
                if cell.len() == fy {
                    end = (j + most).min(below / fy);
                }
                self.backend.run(Whole {
                    render: self.render,
                    step,
                    keep: self.steps.len() > 1,
                    from: self.from,
                    cell: cell.len(),
                    rows: j..end,
                    level: &mut *self.first,
                    out: &mut self.outs[0],
                });
            } else {
                self.row(j, cell, times);
            }
            for j in j..end {
                if step.last && step.restarts {
                    let (sums, counts) = self.first.row_mut(j, step.cols);
                    restart(self.outs[0].row_mut(j).voxels, sums, counts);
                }
                if step.last && self.steps.len() > 1 {
                    self.rise(j);
                }
            }
            j = end;
        }
    }

    /// Folds the rows of the input that make row `j` of level 1, and renders it if it is complete.
    fn row(&mut self, j: usize, rows: Range<usize>, times: usize) {
        let Cascade { backend, from, render, steps, .. } = *self;
        let step = &steps[0];
        let (sums, counts) = self.first.row_mut(j, step.cols);
        let mut add = !step.first;
        let line = |panel: usize, y, first, count| from[panel].line(y, first, count);
        each_group(from.len(), rows, times, line, |lines, n, last| {
            let lines = &lines[..n];
            let render = (step.last && last).then(|| (render, &step.by, j + 1 == step.rows, self.outs[0].row_mut(j)));
            let (sums, counts) = (&mut *sums, &mut *counts);
            backend.run(FoldRow { lines, counted: lines, what: What::Presence, shape: step.shape, add, sums, counts, render });
            add = true;
        });
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
            let render = step.last.then(|| (render, &step.by, j + 1 == step.rows, self.outs[k].row_mut(j)));
            match done.last() {
                None => fold_up(backend, self.first, lower.cols, rows, times, step, sums, counts, render),
                Some(level) => fold_up(backend, level, lower.cols, rows, times, step, sums, counts, render),
            }
            if !step.last {
                return;
            }
            if step.restarts {
                let (sums, counts) = pending[0].row_mut(j, step.cols);
                restart(self.outs[k].row_mut(j).voxels, sums, counts);
            }
            below = j;
        }
    }
}

/// How a row is rendered, if it is complete: by what, whether it is the last of its panel, and where to.
type Rendering<'a, T, R> = Option<(&'a R, &'a <R as Renderer>::Divisor, bool, Row<'a, T>)>;

/// Folds rows of sums, and of counts if there are any, into a row of the level above.
#[allow(clippy::too_many_arguments)]
fn fold_up<T, S: Summand<A> + Sum, A: Sum, R: Render<T, A>>(
    backend: Backend,
    from: &Level<S>,
    cols: usize,
    rows: Range<usize>,
    times: usize,
    step: &Step<R::Divisor>,
    sums: &mut [A],
    counts: &mut [A],
    mut render: Rendering<'_, T, R>,
) {
    let mut add = !step.first;
    each_group(1, rows, times, |_, y, _, _| y, |&rows, n, last| {
        let lines = |of_counts| rows.map(|y| from.line(y, cols, of_counts));
        let (lines, counted) = (lines(false), lines(!counts.is_empty()));
        let render = if last { render.take() } else { None };
        let (what, shape) = (What::Value, step.shape);
        let (sums, counts) = (&mut *sums, &mut *counts);
        backend.run(FoldRow { lines: &lines[..n], counted: &counted[..n], what, shape, add, sums, counts, render });
        add = true;
    });
}

/// Calls `fold` with the rows of a cell, as many side by side as there are kernels for, and tells it how many and whether they come
/// last. `row` gives row y of a panel, which is one of `count` from `first` on that are read at the same time. If the cell
/// counts several `times`, its rows come as often.
#[inline(always)]
fn each_group<L: Copy>(
    panels: usize,
    rows: Range<usize>,
    times: usize,
    row: impl Fn(usize, usize, usize, usize) -> L,
    mut fold: impl FnMut(&[L; SIDE], usize, bool),
) {
    let unit = if panels == 1 { SIDE } else { SIDE / 2 };
    for time in 1..=times {
        let (mut group, mut n) = ([row(0, rows.start, rows.start, 1); SIDE], 0);
        for panel in 0..panels {
            let mut first = rows.start;
            while first < rows.end {
                let count = unit.min(rows.end - first);
                if n + count > SIDE {
                    fold(&group, n, false);
                    n = 0;
                }
                for y in first..first + count {
                    group[n] = row(panel, y, first, count);
                    n += 1;
                }
                first += count;
            }
        }
        fold(&group, n, time == times);
    }
}

/// Folds lines, and if that completes the row, writes its voxels.
struct FoldRow<'a, S, T, A, R: Renderer> {
    lines: &'a [Line<'a, S>],
    /// The counts of the lines, or again the lines, if it is presences that count.
    counted: &'a [Line<'a, S>],
    what: What,
    shape: Shape,
    add: bool,
    sums: &'a mut [A],
    counts: &'a mut [A],
    render: Rendering<'a, T, R>,
}

impl<S: Summand<A>, T, A: Sum, R: Render<T, A>> Kernel for FoldRow<'_, S, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let FoldRow { lines, counted, what, shape, add, sums, counts, render } = self;
        Fold { lines, shape, add, to: &mut *sums, what: What::Value }.run(isa);
        if !counts.is_empty() {
            Fold { lines: counted, shape, add, to: &mut *counts, what }.run(isa);
        }
        if let Some((render, by, last, out)) = render {
            render.render(isa, by, last, sums, counts, out);
        }
    }
}

/// Folds rows of whole cells of one or two columns, all lines of a cell side by side, and writes their voxels at once.
struct Whole<'a, 'o, T, A, R: Renderer> {
    render: &'a R,
    step: &'a Step<R::Divisor>,
    keep: bool,
    from: &'a [Panel<'a, T>],
    /// How many rows of each panel are in a cell.
    cell: usize,
    rows: Range<usize>,
    level: &'a mut Level<A>,
    out: &'a mut PanelMut<'o, T>,
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Whole<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        match (self.step.shape.factor[0], self.keep) {
            (1, false) => self.each::<I, 1, false>(isa),
            (1, true) => self.each::<I, 1, true>(isa),
            (_, false) => self.each::<I, 2, false>(isa),
            (_, true) => self.each::<I, 2, true>(isa),
        }
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Whole<'_, '_, T, A, R> {
    #[inline(always)]
    fn each<I: Isa, const FX: usize, const KEEP: bool>(self, isa: I) {
        let Whole { render, step, from, cell, level, out, .. } = self;
        let full = from[0].cols() / FX;
        for j in self.rows {
            let (mut lines, mut n) = ([Line::here(&[]); SIDE], 0);
            let first = j * step.shape.factor[1];
            for panel in from {
                for y in first..first + cell {
                    lines[n] = panel.line(y, first, cell);
                    n += 1;
                }
            }
            let lines = &lines[..n];
            let (sums, counts) = level.row_mut(j, step.cols);
            let mut out = out.row_mut(j);
            if full < step.cols {
                let (sums, counts) = (&mut sums[full..], if counts.is_empty() { &mut [] } else { &mut counts[full..] });
                let (rest, out) = (behind(lines, FX * full), out.part(full..full + 1));
                let (rest, render) = (&rest[..n], Some((render, &step.by, true, out)));
                rest_of_row(FoldRow {
                    lines: rest,
                    counted: rest,
                    what: What::Presence,
                    shape: step.shape,
                    add: false,
                    sums,
                    counts,
                    render,
                });
            }
            let counts = if counts.is_empty() { counts } else { &mut counts[..full] };
            render.finish::<I, FX, KEEP>(isa, &step.by, lines, &mut sums[..full], counts, out.part(0..full));
        }
    }
}

/// The lone last cell of a row: not worth vectors, nor the registers of the loop over the rows.
#[inline(never)]
fn rest_of_row<S: Summand<A>, T, A: Sum, R: Render<T, A>>(rest: FoldRow<'_, S, T, A, R>) {
    Backend::scalar().run(rest);
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
