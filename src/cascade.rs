//! The cascade: panels of the input folded into panels of sums, and these, as soon as they are complete, rendered and folded on
//! into the levels above, while they are in the inner caches.
//!
//! Five mips then cost little more than one. The rows of a cell are read side by side, those of several slices too, so that most
//! cells are whole after one look and their sums need not leave the registers; memory is asked for in the order of its
//! addresses, ahead of the reads. Cells of several panels (many slices, or pieces of large cells) stay pending until the last has come.

use crate::fold::{Fold, Shape, Sum, Summand, What, fold_rest, prime};
use crate::grid::{Ascent, Edge, Grid, Pooling, SIBLINGS};
use crate::simd::lines::{CellLines, Line};
use crate::simd::tiles::Tile;
use crate::simd::views::{Panel, PanelMut, Row, Source, Span, Voxel};
use crate::simd::{Backend, FOLDED, Isa, Kernel, SIDE};
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
    /// How many of the columns and rows of a panel are divided by the same, from the first on: all, or all but the last.
    fn alike(&self, by: &Self::Divisor, cols: usize, rows: usize) -> (usize, usize);
}

/// How sums of type `A` become voxels of type `T`.
pub trait Render<T, A>: Renderer {
    /// Writes the voxels of a row; `last`: the last row of its panel.
    fn render<I: Isa>(&self, isa: I, by: &Self::Divisor, last: bool, sums: &[A], counts: &[A], out: Row<'_, T>);

    /// Folds the lines of full cells of `FX` (1 or 2) columns, row after row, and writes their voxels at once; `KEEP`: sums and
    /// counts (if there are any) are needed afterwards.
    fn finish<I: Isa, const FX: usize, const KEEP: bool, const N: usize>(
        &self,
        isa: I,
        by: &Self::Divisor,
        cells: CellLines<'_, T, N>,
        sums: &mut PanelMut<'_, A>,
        counts: &mut PanelMut<'_, A>,
        out: &mut PanelMut<'_, T>,
    );

    /// Of a row of cells of two rows and columns of sums, which are kept.
    fn finish_up<I: Isa>(
        &self,
        _isa: I,
        _by: &Self::Divisor,
        _lines: &[Line<'_, A>; 2],
        _sums: &mut [A],
        _out: Row<'_, T>,
    ) {
        unreachable!("only where `FINISHES_UP` says so");
    }

    /// Whether there is a [`Render::finish_up`] for these types, where there are vectors.
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
    /// Sums of a row whose cells are not yet folded along x, and what they are folded into.
    columns: [Vec<A>; 2],
}

impl<A: Sum> Level<A> {
    fn new(counted: bool) -> Self {
        Level { sums: Vec::new(), counts: Vec::new(), counted, columns: Default::default() }
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

    /// Sums and counts of `rows` rows, or if they are not kept, of the first one, again and again. Without counts, rows of none.
    fn panels(&mut self, rows: usize, cols: usize, keep: bool) -> [PanelMut<'_, A>; 2] {
        [&mut self.sums, &mut self.counts].map(|values| match (values.len().min(cols), keep) {
            (0, _) => PanelMut::repeated(&mut [], rows),
            (_, true) => PanelMut::dense(&mut values[..rows * cols], cols),
            (_, false) => PanelMut::repeated(&mut values[..cols], rows),
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
        let (step, [fx, fy], below) = (&steps[0], steps[0].shape.factor, from[0].rows());
        // Where these panels hold whole cells and a kernel takes all lines of one side by side, nothing is pending.
        let whole = step.first
            && step.last
            && step.weight == 1
            && fx <= 2
            && matches!(fy * from.len(), 1 | 2 | SIDE)
            && from.iter().all(|panel| panel.is_like(&from[0]));
        let mut done = 0;
        if <R as Render<T, N>>::FINISHES
            && whole
            && backend.has_vectors()
            && <R as Render<T, N>>::finishes(render, &step.by)
        {
            done = (below / fy).min(render.alike(&step.by, step.cols, step.rows).1);
            let keep = steps.len() > 1;
            if done > 0 {
                // Sums that are not kept all go to the first row.
                first[0].hold(if keep { step.rows * step.cols } else { step.cols });
                backend.run(Whole { render, step, keep, from, rows: done, level: &mut first[0], out: &mut outs[0] });
            }
        }
        if done < step.rows {
            first[0].hold(step.rows * step.cols);
            let out = outs.get_mut(0).filter(|_| step.last);
            fold_panels(backend, render, step, from, None, done..step.rows, &mut first[0], out);
        }
        if step.restarts && step.last {
            first[0].restart(&mut outs[0]);
        }
        for k in 1..steps.len() {
            let (step, cols, out) = (&steps[k], steps[k - 1].cols, outs.get_mut(k));
            match k.checked_sub(first.len()) {
                None => {
                    let (lower, upper) = first.split_at_mut(k);
                    fold_up(backend, render, step, &lower[k - 1], cols, &mut upper[0], out);
                }
                Some(0) => fold_up(backend, render, step, &first[k - 1], cols, &mut rest[0], out),
                Some(i) => {
                    let (lower, upper) = rest.split_at_mut(i);
                    fold_up(backend, render, step, &lower[i - 1], cols, &mut upper[0], out);
                }
            }
        }
    }
}

/// Folds the panel of a level into that of the level above, which may start again from its voxels.
fn fold_up<T, S: Summand<A>, A: Sum, R: Render<T, A>>(
    backend: Backend,
    render: &R,
    step: &Step<R::Divisor>,
    lower: &Level<S>,
    cols: usize,
    level: &mut Level<A>,
    mut out: Option<&mut PanelMut<'_, T>>,
) where
    T: Summand<A>,
{
    level.hold(step.rows * step.cols);
    let len = step.below * cols;
    let from = Panel::dense(&lower.sums[..len], cols);
    let counts = &[Panel::dense(&lower.counts[..len.min(lower.counts.len())], cols)];
    let whole = step.first && step.last && step.weight == 1 && step.shape.factor == [2, 2] && lower.counts.is_empty();
    let mut done = 0;
    if R::FINISHES_UP
        && whole
        && step.below >= 2
        && backend.has_vectors()
        && render.finishes(&step.by)
        && let (Some(from), Some(out)) = (S::same(from), out.as_deref_mut())
    {
        done = (step.below / 2).min(render.alike(&step.by, step.cols, step.rows).1);
        if done > 0 {
            backend.run(WholeUp { render, step, from, rows: done, level: &mut *level, out });
        }
    }
    if done < step.rows {
        fold_panels(backend, render, step, &[from], Some(counts), done..step.rows, level, out.as_deref_mut());
    }
    if step.restarts
        && step.last
        && let Some(out) = out
    {
        level.restart(out);
    }
}

/// As [`Whole`], of cells of two rows and columns of sums.
struct WholeUp<'a, 'o, T, A, R: Renderer> {
    render: &'a R,
    step: &'a Step<R::Divisor>,
    from: Panel<'a, A>,
    rows: usize,
    level: &'a mut Level<A>,
    out: &'a mut PanelMut<'o, T>,
}

impl<T, A: Sum, R: Render<T, A>> Kernel for WholeUp<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if !I::VECTORS || !R::FINISHES_UP {
            unreachable!("whole cells are finished by vectors");
        }
        let WholeUp { render, step, from, rows, level, out } = self;
        let by = &step.by;
        let full = (from.cols() / 2).min(render.alike(by, step.cols, step.rows).0);
        for (j, lines) in CellLines::<A, 2>::new(&[from], 2, rows).enumerate() {
            let ((sums, _), mut out) = (level.row(j, step.cols), out.row_mut(j));
            if full < step.cols {
                let mirrored = step.shape.mirrored && from.cols() % 2 == 1;
                fold_rest(&lines, 2 * full, mirrored, false, &mut sums[full], What::Value);
                render.render(Backend::plain(), by, false, &sums[full..], &[], out.part(full..full + 1));
            }
            render.finish_up(isa, by, &lines, &mut sums[..full], out.part(0..full));
        }
    }
}

/// Folds panels (and if they are sums, their counts) into rows of the panel of the level above, and writes the voxels of those
/// rows to `out`, if they are complete. Every row is a kernel call or two of its own: kernels that hold a loop over rows
/// and all the ways along a row are slow to compile, and short of registers.
#[allow(clippy::too_many_arguments)]
fn fold_panels<S: Summand<A>, T, A: Sum, R: Render<T, A>>(
    backend: Backend,
    render: &R,
    step: &Step<R::Divisor>,
    from: &[Panel<'_, S>],
    counted: Option<&[Panel<'_, S>]>,
    rows: Range<usize>,
    level: &mut Level<A>,
    mut out: Option<&mut PanelMut<'_, T>>,
) {
    let (counted, what) = counted.map_or((from, What::Presence), |counts| (counts, What::Value));
    let mut columns = std::mem::take(&mut level.columns);
    let mut lines = [Line::here(&[]); FOLDED];
    for j in rows {
        let cell = step.cell(j, from[0].rows());
        let (sums, counts) = level.row(j, step.cols);
        fold_row(backend, step, from, &cell, What::Value, &mut lines, &mut columns, sums);
        if !counts.is_empty() {
            fold_row(backend, step, counted, &cell, what, &mut lines, &mut columns, counts);
        }
        if let Some(out) = &mut out {
            let (last, out) = (j + 1 == step.rows, out.row_mut(j));
            backend.run(RenderRow { render, by: &step.by, last, sums, counts, out });
        }
    }
    level.columns = columns;
}

/// Folds the lines of a row of cells, each `times`: those of wide cells into columns first, and these, along x, in the end into `to`.
#[allow(clippy::too_many_arguments)]
fn fold_row<'a, S: Summand<A>, A: Sum, D>(
    backend: Backend,
    step: &Step<D>,
    from: &[Panel<'a, S>],
    (cell, times): &(Range<usize>, usize),
    what: What,
    lines: &mut [Line<'a, S>; FOLDED],
    [columns, spare]: &mut [Vec<A>; 2],
    to: &mut [A],
) {
    let (shape, add) = (step.shape, !step.first);
    let [fx, fy] = shape.factor;
    let alone = cell.len() * from.len() * times == 1 && what == What::Value;
    let first = if fx > 2 { S::first_step(fx, alone) } else { fx };
    let mut rest = fx / first;
    let mut len = from[0].cols().div_ceil(first);
    if rest > 1 {
        columns.resize(columns.len().max(len), A::default());
    }
    let side = side(from.len(), cell.len());
    let mut first_add = rest == 1 && add;
    for _ in 0..*times {
        for panels in from.chunks(side.0) {
            for y in cell.clone().step_by(side.1) {
                let lines = beside(panels, y..cell.end.min(y + side.1), from.len(), lines);
                let to = if rest == 1 { &mut *to } else { &mut columns[..len] };
                let shape = Shape { factor: [first, fy], ..shape };
                backend.run(Fold { lines, shape, add: first_add, to, what });
                first_add = true;
            }
        }
    }
    while rest > 1 {
        let by = prime(rest);
        rest /= by;
        let from = Line::here(&columns[..len]);
        len = len.div_ceil(by);
        let shape = Shape { factor: [by, fy], ..shape };
        if rest == 1 {
            backend.run(Fold { lines: &[from], shape, add, to: &mut *to, what: What::Value });
        } else {
            spare.resize(spare.len().max(len), A::default());
            backend.run(Fold { lines: &[from], shape, add: false, to: &mut spare[..len], what: What::Value });
            std::mem::swap(columns, spare);
        }
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

/// How many panels, and how many rows of each, are folded side by side: all, or parts that differ little, and whole slices of a
/// cell if they are not too large for that.
fn side(panels: usize, rows: usize) -> (usize, usize) {
    let even = |n: usize, most: usize| n.div_ceil(n.div_ceil(most));
    if rows > FOLDED { (1, even(rows, FOLDED)) } else { (even(panels, FOLDED / rows), rows) }
}

/// The rows of panels, side by side.
#[inline(always)]
fn beside<'l, 'a, S>(
    panels: &[Panel<'a, S>],
    rows: Range<usize>,
    all: usize,
    lines: &'l mut [Line<'a, S>; FOLDED],
) -> &'l [Line<'a, S>] {
    for (p, panel) in panels.iter().enumerate() {
        for y in rows.clone() {
            lines[p * rows.len() + y - rows.start] = panel.line(y, rows.start, rows.len(), all);
        }
    }
    &lines[..panels.len() * rows.len()]
}

/// Folds whole cells of one or two columns, all lines of a cell side by side, and writes their voxels at once.
struct Whole<'a, 'o, T, A, R: Renderer> {
    render: &'a R,
    step: &'a Step<R::Divisor>,
    /// Whether the sums are needed afterwards.
    keep: bool,
    from: &'a [Panel<'a, T>],
    /// So many rows of cells.
    rows: usize,
    level: &'a mut Level<A>,
    out: &'a mut PanelMut<'o, T>,
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Whole<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if !I::VECTORS {
            unreachable!("whole cells are finished by vectors");
        }
        match (self.step.shape.factor[0], self.keep) {
            (1, false) => self.sides::<I, 1, false>(isa),
            (1, true) => self.sides::<I, 1, true>(isa),
            (_, false) => self.sides::<I, 2, false>(isa),
            (_, true) => self.sides::<I, 2, true>(isa),
        }
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Whole<'_, '_, T, A, R> {
    #[inline(always)]
    fn sides<I: Isa, const FX: usize, const KEEP: bool>(self, isa: I) {
        match self.from.len() * self.step.shape.factor[1] {
            1 => self.each::<I, FX, KEEP, 1>(isa),
            2 => self.each::<I, FX, KEEP, 2>(isa),
            _ => self.each::<I, FX, KEEP, SIDE>(isa),
        }
    }

    #[inline(always)]
    fn each<I: Isa, const FX: usize, const KEEP: bool, const N: usize>(self, isa: I) {
        let Whole { render, step, from, level, out, rows, .. } = self;
        let full = (from[0].cols() / FX).min(render.alike(&step.by, step.cols, step.rows).0);
        let cells = CellLines::<T, N>::new(from, step.shape.factor[1], rows);
        let [mut sums, mut counts] = level.panels(rows, step.cols, KEEP);
        let counted = full.min(counts.cols());
        // If there is a last cell beside them, few rows at once: it is made while they are in the first cache.
        let side = if full < step.cols { SIDE } else { rows };
        for first in (0..rows).step_by(side) {
            let part = first..rows.min(first + side);
            let cells = cells.part(part.clone());
            let (sums_of, counts_of) = (&mut sums.part(part.clone(), full), &mut counts.part(part.clone(), counted));
            let out_of = &mut out.part(part.clone(), full);
            render.finish::<I, FX, KEEP, N>(isa, &step.by, cells, sums_of, counts_of, out_of);
            if full < step.cols {
                for (j, lines) in part.zip(cells) {
                    let (sum, count) = (&mut sums.row_mut(j).voxels[full..], counts.row_mut(j).voxels);
                    let count = count.get_mut(full..).unwrap_or_default();
                    last_cell(render, step, &lines, sum, count, out.row_mut(j).part(full..full + 1));
                }
            }
        }
    }
}

/// The lone last cell of a row: not worth vectors, nor the registers of the loop over the rows.
#[inline(never)]
fn last_cell<T: Summand<A>, A: Sum, R: Render<T, A>, const N: usize>(
    render: &R,
    step: &Step<R::Divisor>,
    lines: &[Line<'_, T>; N],
    sum: &mut [A],
    count: &mut [A],
    out: Row<'_, T>,
) {
    let (fx, len) = (step.shape.factor[0], lines[0].voxels.len());
    let mirrored = step.shape.mirrored && !len.is_multiple_of(fx);
    let first = (len - 1) / fx * fx;
    fold_rest(lines, first, mirrored, false, &mut sum[0], What::Value);
    if let [count] = count {
        fold_rest(lines, first, mirrored, false, count, What::Presence);
    }
    render.render(Backend::plain(), &step.by, false, sum, count, out);
}
