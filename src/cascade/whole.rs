//! Whole cells: those of all rows of a panel in one kernel call, with sums that become voxels before they leave the registers.

use super::{Level, Render, Renderer, Step};
use crate::fold::{Fold, Sum, Summand, What, fold_rest};
use crate::simd::lines::{CellLines, Line};
use crate::simd::views::{Cut, Panel, PanelMut, Row};
use crate::simd::{Backend, FULL, Isa, Kernel, SIDE};

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
        // Beside a last cell one row at a time: it is made while this is in the first cache.
        let ragged = cols < step.cols;
        for first in (0..rows).step_by(if ragged { 1 } else { rows }) {
            let cells = cells.part(first..if ragged { first + 1 } else { rows });
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
    let mirrored = step.shape.mirrored && !len.is_multiple_of(FX);
    let first = (len - 1) / FX * FX;
    fold_rest(lines, first, mirrored, !step.first, &mut sum[0], What::Value);
    if let [count] = count {
        fold_rest(counted, first, mirrored, !step.first, count, what);
    }
    if let Some(out) = out {
        render.render(Backend::plain(), &step.by, false, sum, count, out);
    }
}

/// As [`Whole`], of cells of three columns and more of one line: the sums of a row become voxels while they are in the innermost cache.
pub struct Lone<'a, 'o, T, A, R: Renderer> {
    render: &'a R,
    step: &'a Step<R::Divisor>,
    /// Whether the sums are needed afterwards.
    keep: bool,
    from: &'a Panel<'a, T>,
    level: &'a mut Level<A>,
    out: &'a mut PanelMut<'o, T>,
}

impl<'a, 'o, T: Summand<A>, A: Sum, R: Render<T, A>> Lone<'a, 'o, T, A, R> {
    /// If these are such cells, and rows of their type are so fast that a kernel call for each would count.
    pub fn new(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        from: &'a [Panel<'a, T>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
    ) -> Option<Self> {
        let (step, level, keep, [from]) = (&steps[0], &mut levels[0], steps.len() > 1, from) else { return None };
        let [fx, fy] = step.shape.factor;
        let lone = T::FAST && fy == 1 && fx > 2 && T::first_step(fx, true) == fx && step.is_whole() && !level.counted;
        let out = outs.first_mut().filter(|_| lone)?;
        level.done = step.rows;
        level.hold(if keep { step.rows * step.cols } else { step.cols });
        Some(Lone { render, step, keep, from, level, out })
    }
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Lone<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if !T::FAST {
            unreachable!("`new` makes none");
        }
        let Lone { render, step, keep, from, level, out } = self;
        let (fx, mirrored) = (step.shape.factor[0], step.shape.mirrored);
        let full = from.cols() / fx;
        for j in 0..step.rows {
            let line = from.line(j, j, 1, 1);
            let (sums, _) = level.row(if keep { j } else { 0 }, step.cols);
            if full < step.cols {
                fold_rest(&[line], fx * full, mirrored, false, &mut sums[full], What::Value);
            }
            T::cell_sums::<I, false>(isa, line.part(0..fx * full), fx, &mut sums[..full]);
            render.render(isa, &step.by, j + 1 == step.rows, sums, &[], out.row_mut(j));
        }
    }
}

/// As [`Whole`], of cells of two rows and one or two columns of sums, level after level: every two rows are taken up as far as they go before
/// the next ones, while they are in the innermost cache.
pub struct Climb<'a, 'o, T, A, R: Renderer> {
    render: &'a R,
    /// The levels, from the one on that is there already, with the way into each and its output.
    steps: &'a [Step<R::Divisor>],
    levels: &'a mut [Level<A>],
    outs: &'a mut [PanelMut<'o, T>],
    rows: usize,
}

impl<'a, 'o, T: Summand<A>, A: Sum, R: Render<T, A>> Climb<'a, 'o, T, A, R> {
    /// If the first of the levels can be taken up, and there are vectors for it.
    pub fn new(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
    ) -> Option<Self> {
        let (rows, fx) = (steps[0].rows, steps[1].shape.factor[0]);
        let climb = Climb::from_rows(render, steps, levels, outs, rows, fx);
        (climb.levels[1].done > 0).then_some(climb)
    }

    /// Of so many rows of the first level, where all cells have `fx` columns.
    fn from_rows(
        render: &'a R,
        steps: &'a [Step<R::Divisor>],
        levels: &'a mut [Level<A>],
        outs: &'a mut [PanelMut<'o, T>],
        rows: usize,
        fx: usize,
    ) -> Self {
        let mut below = rows;
        for k in 1..steps.len().min(levels.len()) {
            let (step, level) = (&steps[k], &mut levels[k]);
            // Axes may be of one voxel from some level on, so that cells are of another shape there.
            let whole = step.weight == 1 && fx <= 2 && step.shape.factor == [fx, 2] && !steps[k - 1].restarts;
            if !(R::FINISHES_UP && whole && render.finishes(&step.by)) {
                break;
            }
            level.done = (below / 2).min(render.alike(&step.by, step.cols, step.rows).1);
            level.hold(step.rows * step.cols);
            below = level.done;
        }
        Climb { render, steps, levels, outs, rows }
    }

    /// Takes the two rows up that end with this one, if they are two, and the two above that end with theirs, and so on.
    #[inline(always)]
    fn row<I: Isa, const FX: usize>(&mut self, isa: I, mut row: usize) {
        for k in 1..self.levels.len() {
            let (lower, upper) = self.levels.split_at_mut(k);
            let (lower, upper) = (&mut lower[k - 1], &mut upper[0]);
            if row.is_multiple_of(2) || row / 2 >= upper.done {
                return;
            }
            row /= 2;
            let (step, cols) = (&self.steps[k], self.steps[k - 1].cols);
            let lines = two_rows(&lower.sums, cols, row);
            let counted = if lower.counts.is_empty() { lines } else { two_rows(&lower.counts, cols, row) };
            // There is none yet if the last level has not had all its children.
            let mut out = self.outs.get_mut(k).map(|out| out.row_mut(row));
            let (sums, counts) = upper.row(row, step.cols);
            let full = (cols / FX).min(self.render.alike(&step.by, step.cols, step.rows).0);
            if full < step.cols {
                let counts = counts.get_mut(full..).unwrap_or_default();
                let counted = (&counted, What::Value);
                let out = out.as_mut().map(|out| out.part(full..full + 1));
                last_cell::<_, _, _, _, FX, 2>(self.render, step, &lines, counted, &mut sums[full..], counts, out);
            }
            let counts = counts.get_mut(..full).unwrap_or_default();
            let (sums, out) = (&mut sums[..full], out.as_mut().map(|out| out.part(0..full)));
            self.render.finish_up::<I, FX>(isa, &step.by, [&lines, &counted], !step.first, sums, counts, out);
        }
    }
}

/// Rows `2 j` and `2 j + 1`.
#[inline(always)]
fn two_rows<A>(sums: &[A], cols: usize, j: usize) -> [Line<'_, A>; 2] {
    let (a, b) = sums[2 * j * cols..2 * (j + 1) * cols].split_at(cols);
    [Line::here(a), Line::here(b)]
}

impl<T: Summand<A>, A: Sum, R: Render<T, A>> Kernel for Climb<'_, '_, T, A, R> {
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        if !I::VECTORS || !R::FINISHES_UP {
            unreachable!("whole cells are finished by vectors");
        }
        for row in (1..self.rows).step_by(2) {
            match self.steps[1].shape.factor[0] {
                1 => self.row::<I, 1>(isa, row),
                _ => self.row::<I, 2>(isa, row),
            }
        }
    }
}

/// Two levels at once: whole cells of two rows, in one or two panels, and the cells of two such rows in the level above. Nothing is kept
/// of the first.
pub struct Two<'a, 'o, T, A, R: Renderer> {
    from: &'a [Panel<'a, T>],
    /// Whole columns of the level above.
    cols: usize,
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
        (below.done, level.done) = (2 * rows, rows);
        level.hold(upper.rows * upper.cols);
        let (out, outs) = outs.split_first_mut()?;
        let upper = Climb::from_rows(render, &steps[1..], &mut levels[1..], outs, rows, fx);
        Some(Two { from, cols, lower, out, upper })
    }

    #[inline(always)]
    fn each<I: Isa, const FX: usize, const N: usize, const ALL: usize>(self, isa: I) {
        let Two { from, cols, lower, out, upper: mut climb } = self;
        let (render, upper) = (climb.render, &climb.steps[0]);
        let add = !upper.first;
        for (j, lines) in CellLines::<T, ALL>::new(from, 4, climb.rows).enumerate() {
            let mut outs = out.two_rows_mut(2 * j);
            let mut above = climb.outs.first_mut().map(|above| above.row_mut(j));
            let (sums, counts) = climb.levels[0].row(j, upper.cols);
            // Panel after panel has four lines of a cell, two for each of the two rows.
            let pair = |row: usize| std::array::from_fn::<_, N, _>(|k| lines[k / 2 * 4 + 2 * row + k % 2]);
            let lines = [pair(0), pair(1)];
            if cols < upper.cols {
                let above = above.as_mut().map(|above| above.part(cols..upper.cols));
                let counts = counts.get_mut(cols..).unwrap_or_default();
                let [a, b] = &mut outs;
                let outs = [a.part(FX * cols..lower.cols), b.part(FX * cols..lower.cols)];
                last_cells(render, [lower, upper], &lines, FX * FX * cols, (&mut sums[cols..], counts), outs, above);
            }
            let counts = counts.get_mut(..cols).unwrap_or_default();
            let [a, b] = &mut outs;
            let outs = [a.part(0..FX * cols), b.part(0..FX * cols)];
            let above = above.as_mut().map(|above| above.part(0..cols));
            let by = [&lower.by, &upper.by];
            render.finish_two::<I, FX, N>(isa, by, &lines, add, &mut sums[..cols], counts, outs, above);
            climb.row::<I, FX>(isa, j);
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
            (1, 1) => self.each::<I, 1, 2, 4>(isa),
            (1, _) => self.each::<I, 1, 4, 8>(isa),
            (_, 1) => self.each::<I, 2, 2, 4>(isa),
            _ => self.each::<I, 2, 4, 8>(isa),
        }
    }
}

/// What is behind voxel `first` of the lines of two rows of cells: at most two cells, and the one that they make in the level above.
#[inline(never)]
fn last_cells<T: Summand<A>, A: Sum, R: Render<T, A>, const N: usize>(
    render: &R,
    [lower, upper]: [&Step<R::Divisor>; 2],
    lines: &[[Line<'_, T>; N]; 2],
    first: usize,
    (sum, count): (&mut [A], &mut [A]),
    outs: [Row<'_, T>; 2],
    above: Option<Row<'_, T>>,
) {
    let plain = Backend::plain();
    let (mut sums, mut counts) = ([[A::default(); 2]; 2], [[A::default(); 2]; 2]);
    let cells = outs[0].voxels.len();
    for (((lines, sums), counts), out) in lines.iter().zip(&mut sums).zip(&mut counts).zip(outs) {
        let lines = lines.map(|line| line.part(first..line.voxels.len()));
        let (sums, counts) = (&mut sums[..cells], if count.is_empty() { &mut [][..] } else { &mut counts[..cells] });
        let fold = |to: &mut [A], what| {
            Fold { lines: &lines, shape: lower.shape, add: false, to, what }.run(plain);
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
