//! Whole cells: those of all rows of a panel in one kernel call, with sums that become voxels before they leave the registers.

use super::{Level, Render, Renderer, Step};
use crate::fold::{Fold, Sum, Summand, What, fold_rest};
use crate::simd::lines::{CellLines, Fours, Line};
use crate::simd::views::{Cut, Panel, PanelMut, Rise, Row};
use crate::simd::{Backend, FULL, Isa, Kernel, SIDE};
use std::ops::Range;

/// Folds whole cells of one or two columns, all lines of a cell side by side, and writes their voxels at once.
pub struct Whole<'a, 'o, T, A, R: Renderer> {
    render: &'a R,
    step: &'a Step<R::Divisor>,
    /// Whether the sums are needed afterwards.
    keep: bool,
    from: &'a [Panel<'a, T>],
    level: &'a mut Level<A>,
    out: &'a mut PanelMut<'o, T>,
}

impl<'a, 'o, T: Summand<A>, A: Sum, R: Render<T, A>> Whole<'a, 'o, T, A, R> {
    /// If there are any.
    pub fn new(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        from: &'a [Panel<'a, T>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
    ) -> Option<Self> {
        let (step, level, out, keep) = (&steps[0], &mut levels[0], outs.first_mut()?, steps.len() > 1);
        level.done = (from[0].rows() / step.shape.factor[1]).min(render.alike(&step.by, step.cols, step.rows).1);
        level.hold(if keep { step.rows * step.cols } else { 0 });
        (level.done > 0).then_some(Whole { render, step, keep, from, level, out })
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Whole<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if !I::VECTORS {
            unreachable!("whole cells are finished by vectors");
        }
        match self.step.shape.factor[0] {
            1 => self.sides::<I, 1>(isa),
            _ => self.sides::<I, 2>(isa),
        }
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Whole<'_, '_, T, A, R> {
    #[inline(always)]
    fn sides<I: Isa, const FX: usize>(self, isa: I) {
        match self.from.len() * self.step.shape.factor[1] {
            1 => self.each::<I, FX, 1>(isa),
            2 => self.each::<I, FX, 2>(isa),
            _ => self.each::<I, FX, SIDE>(isa),
        }
    }

    #[inline(always)]
    fn each<I: Isa, const FX: usize, const N: usize>(self, isa: I) {
        let Whole { render, step, keep, from, level, out } = self;
        let cols = (from[0].cols() / FX).min(render.alike(&step.by, step.cols, step.rows).0);
        let (rows, counted) = (level.done, level.counted);
        let cells = CellLines::<T, N>::new(from, step.shape.factor[1], rows);
        let [mut sums, mut counts] = level.panels(rows, step.cols, keep);
        let ragged = cols < step.cols;
        for part in (Parts { rows: 0..rows, ragged }) {
            let (first, cells) = (part.start, cells.part(part));
            if ragged {
                let (lines, mut sum, mut count) = (cells.row(0), [A::default()], [A::default()]);
                let count = &mut count[..usize::from(counted)];
                let mut out = out.row_mut(first);
                let last = Some(out.part(cols..cols + 1));
                last_cell::<_, _, _, _, FX, N>(render, step, &lines, (&lines, What::Presence), &mut sum, count, last);
                if keep {
                    sums.row_mut(first).voxels[cols..].copy_from_slice(&sum);
                }
                if keep && counted {
                    counts.row_mut(first).voxels[cols..].copy_from_slice(count);
                }
            }
            if cols > 0 {
                let cut = Cut { first, cols };
                render.finish::<I, FX, N>(isa, &step.by, cells, cut, &mut sums, &mut counts, out);
            }
        }
    }
}

/// The lone last cell of a row: not worth vectors, nor the registers of the loop over the rows.
#[inline(never)]
fn last_cell<T, S: Summand<A>, A: Sum, R: Render<T, A>, const FX: usize, const N: usize>(
    render: &R,
    step: &Step<R::Divisor>,
    lines: &[Line<'_, S>; N],
    (counted, what): (&[Line<'_, S>; N], What),
    sum: &mut [A],
    count: &mut [A],
    out: Option<Row<'_, T>>,
) {
    let len = lines[0].voxels.len();
    let first = (len - 1) / FX * FX;
    // It may have all of its columns, and be lighter for another reason.
    let mirrored = step.shape.mirrored && len - first < FX;
    fold_rest(lines, first, mirrored, !step.first, &mut sum[0], What::Value);
    if let [count] = count {
        fold_rest(counted, first, mirrored, !step.first, count, what);
    }
    if let Some(out) = out {
        render.render(Backend::plain(), &step.by, false, sum, count, out);
    }
}

/// As [`Whole`], of cells of three columns and more of one line: the sums of a row become voxels while they are in the innermost cache.
pub struct Lone<'a, 'o, T, A, R: Renderer>(Whole<'a, 'o, T, A, R>);

impl<'a, 'o, T: Summand<A>, A: Sum, R: Render<T, A>> Lone<'a, 'o, T, A, R> {
    /// If these are such cells, and rows of their type are so fast that a kernel call for each would count.
    pub fn new(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        from: &'a [Panel<'a, T>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
    ) -> Option<Self> {
        let (step, level, keep) = (&steps[0], &mut levels[0], steps.len() > 1);
        let [fx, fy] = step.shape.factor;
        let lone = T::FAST
            && from.len() * fy == 1
            && fx > 2
            && T::first_step(fx, true) == fx
            && step.is_whole()
            && !level.counted;
        let out = outs.first_mut().filter(|_| lone)?;
        level.done = step.rows;
        level.hold(if keep { step.rows * step.cols } else { step.cols });
        Some(Lone(Whole { render, step, keep, from, level, out }))
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Lone<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if !T::FAST {
            unreachable!("`new` makes none");
        }
        let Lone(Whole { render, step, keep, from, level, out }) = self;
        let (fx, mirrored) = (step.shape.factor[0], step.shape.mirrored);
        let full = from[0].cols() / fx;
        for j in 0..step.rows {
            let line = from[0].line(j, j, 1, 1);
            let (sums, _) = level.row(if keep { j } else { 0 }, step.cols);
            if full < step.cols {
                fold_rest(&[line], fx * full, mirrored, false, &mut sums[full], What::Value);
            }
            T::cell_sums::<I, false>(isa, line.part(0..fx * full), fx, &mut sums[..full]);
            render.render(isa, &step.by, j + 1 == step.rows, sums, &[], out.row_mut(j));
        }
    }
}

/// As [`Whole`], of cells of two rows and one or two columns of sums, level after level, from as many rows as there are at a time.
pub struct Climb<'a, 'o, T, A, R: Renderer> {
    render: &'a R,
    /// The levels, from the one on that is there already, with the way into each and its output.
    steps: &'a [Step<R::Divisor>],
    levels: &'a mut [Level<A>],
    outs: &'a mut [PanelMut<'o, T>],
}

impl<'a, 'o, T: Summand<A>, A: Sum, R: Render<T, A>> Climb<'a, 'o, T, A, R> {
    /// If the first of the levels can be taken up, and there are vectors for it.
    pub fn new(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
    ) -> Option<Self> {
        let climb = Climb::as_far(render, steps, levels, outs, steps[1].shape.factor[0], true);
        (climb.levels.len() > 1).then_some(climb)
    }

    /// As far as all cells have `fx` columns, and no level starts again from its voxels, unless it is the first one and all `there`.
    fn as_far(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
        fx: usize,
        there: bool,
    ) -> Self {
        // Axes may be of one voxel from some level on, so that cells are of another shape there.
        let goes = |below: &Step<R::Divisor>, step: &Step<R::Divisor>, first: bool| {
            R::FINISHES_UP
                && fx <= 2
                && step.weight == 1
                && step.shape.factor == [fx, 2]
                && (!below.restarts || there && first)
                && render.finishes(&step.by)
        };
        let steps = &steps[..steps.len().min(levels.len())];
        let pairs = steps.iter().zip(&steps[1..]);
        let far = pairs.clone().enumerate().take_while(|(k, (below, step))| goes(below, step, *k == 0)).count();
        let levels = &mut levels[..=far];
        for (level, (below, step)) in levels[1..].iter_mut().zip(pairs) {
            let alike = render.alike(&step.by, step.cols, step.rows);
            level.whole = ((below.cols / fx).min(alike.0), alike.1);
            level.hold(step.rows * step.cols);
        }
        Climb { render, steps, levels, outs }
    }

    /// Takes up what is there of the first level, as far as it goes.
    #[inline(always)]
    fn rise<I: Isa, const FX: usize>(&mut self, isa: I, mut ready: usize) {
        for k in 1..self.levels.len() {
            let (lower, upper) = self.levels.split_at_mut(k);
            let (lower, upper) = (&lower[k - 1], &mut upper[0]);
            let (full, most) = upper.whole;
            ready = (ready / 2).min(most);
            let rows = upper.done..ready;
            if rows.is_empty() {
                return;
            }
            upper.done = ready;
            let (step, below) = (&self.steps[k], self.steps[k - 1].cols);
            // There is none yet if the last level has not had all its children.
            let mut out = self.outs.get_mut(k);
            for rows in (Parts { rows, ragged: full < step.cols }) {
                if full < step.cols {
                    let out = out.as_deref_mut();
                    last_cell_up::<_, _, _, FX>(self.render, (step, below), lower, upper, full, rows.start, out);
                }
                let (from, to) =
                    (2 * rows.start * below..2 * rows.end * below, rows.start * step.cols..rows.end * step.cols);
                let (sums, counts) = (&mut upper.sums, &mut upper.counts);
                let rise = |from, to| Rise { from, below, to, rows: rows.len(), cols: step.cols, full };
                let counts = if counts.is_empty() {
                    None
                } else {
                    Some(rise(&lower.counts[from.clone()], &mut counts[to.clone()]))
                };
                let sums = rise(&lower.sums[from], &mut sums[to]);
                let (out, first) = (out.as_deref_mut(), rows.start);
                self.render.finish_up::<I, FX>(isa, &step.by, sums, counts, !step.first, out, first);
            }
        }
    }
}

/// The lone last cell of row `j`, of two rows of sums.
#[inline(never)]
fn last_cell_up<T, A: Sum, R: Render<T, A>, const FX: usize>(
    render: &R,
    (step, below): (&Step<R::Divisor>, usize),
    lower: &Level<A>,
    upper: &mut Level<A>,
    full: usize,
    j: usize,
    out: Option<&mut PanelMut<'_, T>>,
) {
    let (sums, counts) = upper.row(j, step.cols);
    let counts = counts.get_mut(full..).unwrap_or_default();
    let mut out = out.map(|out| out.row_mut(j));
    let out = out.as_mut().map(|out| out.part(full..full + 1));
    let lines = two_rows(&lower.sums, below, j);
    let counted = if lower.counts.is_empty() { lines } else { two_rows(&lower.counts, below, j) };
    let counted = (&counted, What::Value);
    last_cell::<_, _, _, _, FX, 2>(render, step, &lines, counted, &mut sums[full..], counts, out);
}

/// Rows `2 j` and `2 j + 1`.
#[inline(always)]
fn two_rows<A>(sums: &[A], cols: usize, j: usize) -> [Line<'_, A>; 2] {
    let (a, b) = sums[2 * j * cols..2 * (j + 1) * cols].split_at(cols);
    [Line::here(a), Line::here(b)]
}

/// So many sums of a row's level are made before they are taken up. While they are, the memory is asked for nothing, so that it should be done
/// often; but each way up has its price, which short rows of sums have to share.
const BATCH: usize = 1600;
/// Rows of so many sums do not share it: they are taken up as soon as there are two.
const LONG: usize = BATCH / 8;

/// The rows, one by one beside last cells, which are made while their row is in the first cache.
struct Parts {
    rows: Range<usize>,
    ragged: bool,
}

impl Iterator for Parts {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let Range { start, end } = self.rows;
        self.rows.start = if self.ragged { start + 1 } else { end };
        (start < end).then_some(start..self.rows.start)
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Climb<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        if !I::VECTORS || !R::FINISHES_UP {
            unreachable!("whole cells are finished by vectors");
        }
        let rows = self.steps[0].rows;
        match self.steps[1].shape.factor[0] {
            1 => self.rise::<I, 1>(isa, rows),
            _ => self.rise::<I, 2>(isa, rows),
        }
    }
}

/// Two levels at once: whole cells of two rows, in one or two panels, and the cells of two such rows in the level above. Nothing is kept
/// of the first.
pub struct Two<'a, 'o, T, A, R: Renderer> {
    from: &'a [Panel<'a, T>],
    /// Whole columns and rows of the level above.
    cols: usize,
    rows: usize,
    /// The way into the first level, and its output.
    lower: &'a Step<R::Divisor>,
    out: &'a mut PanelMut<'o, T>,
    /// From the level above on; its output is there if the panels complete it.
    upper: Climb<'a, 'o, T, A, R>,
}

impl<'a, 'o, T: Summand<A>, A: Sum, R: Render<T, A>> Two<'a, 'o, T, A, R> {
    /// If they can be made at once, and there are vectors for it; `levels` are those of one type of sums.
    pub fn new(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        from: &'a [Panel<'a, T>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
    ) -> Option<Self> {
        let ([lower, upper, ..], [below, level, ..]) = (steps, &mut *levels) else { return None };
        let fx = lower.shape.factor[0];
        let alike = [render.alike(&lower.by, lower.cols, lower.rows), render.alike(&upper.by, upper.cols, upper.rows)];
        let cols = (from[0].cols() / (fx * fx)).min(alike[0].0 / fx).min(alike[1].0);
        let rows = (from[0].rows() / 4).min(alike[0].1 / 2).min(alike[1].1);
        let fits = R::FINISHES_UP
            && lower.shape.factor == [fx, 2]
            && upper.shape.factor == [fx, 2]
            && from.len() <= 2
            && upper.weight == 1
            && !lower.restarts
            && fx * cols >= FULL
            && rows > 0
            && render.finishes(&upper.by);
        if !fits {
            return None;
        }
        let (out, outs) = outs.split_first_mut()?;
        (below.done, level.done) = (2 * rows, rows);
        level.hold(upper.rows * upper.cols);
        let upper = Climb::as_far(render, &steps[1..], &mut levels[1..], outs, fx, false);
        Some(Two { from, cols, rows, lower, out, upper })
    }

    #[inline(always)]
    fn each<I: Isa, const FX: usize, const PANELS: usize>(self, isa: I) {
        let Two { from, cols, rows, lower, out, upper: mut climb } = self;
        let (render, upper) = (climb.render, &climb.steps[0]);
        let (add, ragged) = (!upper.first, cols < upper.cols);
        let cells = Fours::<T, PANELS>::new(from, rows);
        let batch = if cols < LONG { BATCH / cols } else { 2 };
        let mut ready = 0;
        while ready < rows {
            let first = ready;
            ready = (first + batch).min(rows);
            let mut above = climb.outs.first_mut();
            for part in (Parts { rows: first..ready, ragged }) {
                let (cells, j) = (cells.part(part.clone()), part.start);
                if ragged {
                    let (sums, counts) = climb.levels[0].row(j, upper.cols);
                    let counts = counts.get_mut(cols..).unwrap_or_default();
                    let mut above = above.as_mut().map(|above| above.row_mut(j));
                    let above = above.as_mut().map(|above| above.part(cols..upper.cols));
                    let [mut a, mut b] = out.two_rows_mut(2 * j);
                    let outs = [a.part(FX * cols..lower.cols), b.part(FX * cols..lower.cols)];
                    let sums = (&mut sums[cols..], counts);
                    last_cells(render, [lower, upper], (from, j), FX * FX * cols, sums, outs, above);
                }
                let [mut sums, mut counts] = climb.levels[0].panels(upper.rows, upper.cols, true);
                let (by, cut) = ([&lower.by, &upper.by], Cut { first: j, cols });
                let above = above.as_deref_mut();
                render.finish_two::<I, FX, PANELS>(isa, by, cells, cut, add, &mut sums, &mut counts, out, above);
            }
            climb.rise::<I, FX>(isa, ready);
        }
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Two<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if !I::VECTORS || !R::FINISHES_UP {
            unreachable!("whole cells are finished by vectors");
        }
        match (self.lower.shape.factor[0], self.from.len()) {
            (1, 1) => self.each::<I, 1, 1>(isa),
            (1, _) => self.each::<I, 1, 2>(isa),
            (_, 1) => self.each::<I, 2, 1>(isa),
            _ => self.each::<I, 2, 2>(isa),
        }
    }
}

/// What is behind voxel `first` of row `j` of the level above, in four rows of each panel: at most two cells in each of two rows, and the one that they make above.
#[inline(never)]
fn last_cells<T: Summand<A>, A: Sum, R: Render<T, A>>(
    render: &R,
    [lower, upper]: [&Step<R::Divisor>; 2],
    (from, j): (&[Panel<'_, T>], usize),
    first: usize,
    (sum, count): (&mut [A], &mut [A]),
    outs: [Row<'_, T>; 2],
    above: Option<Row<'_, T>>,
) {
    let plain = Backend::plain();
    let (mut sums, mut counts) = ([[A::default(); 2]; 2], [[A::default(); 2]; 2]);
    let cells = outs[0].voxels.len();
    for (((row, sums), counts), out) in (2 * j..).zip(&mut sums).zip(&mut counts).zip(outs) {
        let line = |k: usize| Line::here(&from[(k / 2).min(from.len() - 1)].row(2 * row + k % 2)[first..]);
        let lines: [_; 4] = std::array::from_fn(line);
        let lines = &lines[..2 * from.len()];
        let (sums, counts) = (&mut sums[..cells], if count.is_empty() { &mut [][..] } else { &mut counts[..cells] });
        let fold = |to: &mut [A], what| {
            Fold { lines, shape: lower.shape, add: false, to, what }.run(plain);
        };
        fold(&mut *sums, What::Value);
        if !counts.is_empty() {
            fold(&mut *counts, What::Presence);
        }
        render.render(plain, &lower.by, false, sums, counts, out);
    }
    let fold = |from: &[[A; 2]; 2], to: &mut [A]| {
        let lines = from.each_ref().map(|sums| Line::here(&sums[..cells]));
        Fold { lines: &lines, shape: upper.shape, add: !upper.first, to, what: What::Value }.run(plain);
    };
    fold(&sums, sum);
    if !count.is_empty() {
        fold(&counts, count);
    }
    if let Some(out) = above {
        render.render(plain, &upper.by, false, sum, count, out);
    }
}
