//! Rows of cells, one after the other, in any number of panels: whatever [`super::whole`] has no kernel for.

use super::{Level, Render, Renderer, Step};
use crate::fold::{Fold, Shape, Sum, Summand, What, prime};
use crate::simd::lines::Line;
use crate::simd::views::{Panel, PanelMut, Row};
use crate::simd::{Backend, FOLDED, Isa, Kernel};
use std::ops::Range;

/// Folds panels (and if they are sums, their counts) into rows of the panel of the level above, and writes the voxels of those
/// rows to `out`, if they are complete: those that are not done. Every row is a kernel call or two of its own: kernels that hold a loop over rows
/// and all the ways along a row are slow to compile, and short of registers.
#[allow(clippy::too_many_arguments)]
pub fn fold_panels<S: Summand<A>, T, A: Sum, R: Render<T, A>>(
    backend: Backend,
    render: &R,
    step: &Step<R::Divisor>,
    from: &[Panel<'_, S>],
    counted: Option<&[Panel<'_, S>]>,
    level: &mut Level<A>,
    mut out: Option<&mut PanelMut<'_, T>>,
) {
    let (counted, what) = counted.map_or((from, What::Presence), |counts| (counts, What::Value));
    let mut columns = std::mem::take(&mut level.columns);
    let mut lines = [Line::here(&[]); FOLDED];
    for j in level.done..step.rows {
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
