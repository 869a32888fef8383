//! Folding: cells of a panel added up, level after level. Averages fold with +, minima and maxima with min and max.
//!
//! A row is folded along x into a row of sums a factor shorter; two rows of a cell side by side, further ones added to the same
//! sums. Sums of floats depend on the order: lines are added up in pairs, then the pairs, then onto what is there, on every backend.

use crate::simd::lines::Line;
use crate::simd::scalar::each_cell;
use crate::simd::views::Panel;
use crate::simd::{FOLDED, Isa, Kernel};

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

    /// The panel itself, if these are sums of type `A`.
    #[inline(always)]
    fn same(_panel: Panel<'_, Self>) -> Option<Panel<'_, A>> {
        None
    }

    /// `sums[i]` becomes (with `ADD`: grows by) the sum of the `FX` (1 or 2) voxels from `FX i` on of each line (up to
    /// [`crate::simd::FOLDED`]).
    #[inline(always)]
    fn sums<I: Isa, const FX: usize, const ADD: bool>(_isa: I, lines: &[Line<'_, Self>], sums: &mut [A]) {
        few_columns::<Self, A, FX, ADD>(lines, sums, Self::lift);
    }

    /// As `sums`, of how many are not background.
    #[inline(always)]
    fn presences<I: Isa, const FX: usize, const ADD: bool>(_isa: I, lines: &[Line<'_, Self>], counts: &mut [A]) {
        few_columns::<Self, A, FX, ADD>(lines, counts, Self::occupied);
    }

    /// As `sums`, of cells of `fx` (3 and more) columns of one line.
    #[inline(always)]
    fn cell_sums<I: Isa, const ADD: bool>(_isa: I, line: Line<'_, Self>, fx: usize, sums: &mut [A]) {
        any_cells::<Self, A, ADD>(line, fx, sums, Self::lift);
    }
}

/// How the cells of a level lie along a row and from row to row.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Voxels of a cell along x and y.
    pub factor: [usize; 2],
    /// Lone trailing voxels and rows count twice.
    pub mirrored: bool,
}

/// Cells of three columns and more that are folded between two requests to the memory.
const PIECE: usize = 512;

/// Folds some rows into the sums of their cells, or onto them.
pub struct Fold<'a, T, A> {
    /// The rows.
    pub lines: &'a [Line<'a, T>],
    /// The cells.
    pub shape: Shape,
    /// Add to what is there.
    pub add: bool,
    /// The sums.
    pub to: &'a mut [A],
    /// What is added up.
    pub what: What,
}

impl<T: Summand<A>, A: Sum> Kernel for Fold<'_, T, A> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Fold { lines, shape, add, to, what } = self;
        let fx = shape.factor[0];
        if !lines[0].voxels.len().is_multiple_of(fx) {
            let full = lines[0].voxels.len() / fx;
            fold_rest(lines, fx * full, shape.mirrored, add, &mut to[full], what);
        }
        match (fx, add) {
            (1, false) => few::<T, A, I, 1, false>(isa, lines, to, what),
            (1, true) => few::<T, A, I, 1, true>(isa, lines, to, what),
            (2, false) => few::<T, A, I, 2, false>(isa, lines, to, what),
            (2, true) => few::<T, A, I, 2, true>(isa, lines, to, what),
            _ => {
                for (k, line) in lines.iter().enumerate() {
                    let full = line.voxels.len() / fx;
                    for start in (0..full).step_by(PIECE) {
                        let cells = start..full.min(start + PIECE);
                        let (line, to) = (line.part(fx * start..fx * cells.end), &mut to[cells]);
                        match (what, add || k > 0) {
                            (What::Value, false) => T::cell_sums::<I, false>(isa, line, fx, to),
                            (What::Value, true) => T::cell_sums::<I, true>(isa, line, fx, to),
                            (What::Presence, false) => any_cells::<T, A, false>(line, fx, to, T::occupied),
                            (What::Presence, true) => any_cells::<T, A, true>(line, fx, to, T::occupied),
                        }
                    }
                }
            }
        }
    }
}

/// Folds the full cells of one or two columns.
#[inline(always)]
fn few<T: Summand<A>, A: Sum, I: Isa, const FX: usize, const ADD: bool>(
    isa: I,
    lines: &[Line<'_, T>],
    to: &mut [A],
    what: What,
) {
    let full = lines[0].voxels.len() / FX;
    let to = &mut to[..full];
    match what {
        What::Value => T::sums::<I, FX, ADD>(isa, lines, to),
        What::Presence => T::presences::<I, FX, ADD>(isa, lines, to),
    }
}

/// What of a voxel is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its value.
    Value,
    /// One, if it is not background.
    Presence,
}

/// The last, smaller cell of each line. Kept out of the loop over the rows, which needs the registers.
#[inline(never)]
pub fn fold_rest<T: Summand<A>, A: Sum>(
    lines: &[Line<'_, T>],
    from: usize,
    mirrored: bool,
    add: bool,
    sum: &mut A,
    what: What,
) {
    let lift = |voxel: T| if what == What::Presence { voxel.occupied() } else { voxel.lift() };
    let rest = |line: &Line<'_, T>| {
        let rest = &line.voxels[from..];
        rest[1..].iter().fold(lift(rest[0]), |sum, &voxel| sum.plus(lift(voxel)))
    };
    let once = total(lines, rest);
    let cell = if mirrored { once.plus(once) } else { once };
    *sum = if add { sum.plus(cell) } else { cell };
}

/// Cells of any number of columns, voxel by voxel.
#[inline(always)]
pub fn any_cells<T: Copy, A: Sum, const ADD: bool>(
    line: Line<'_, T>,
    fx: usize,
    sums: &mut [A],
    lift: impl Fn(T) -> A,
) {
    let row = line.announced();
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

/// Cells of one or two columns, voxel by voxel: first the cell, line after line, then onto what is there.
#[inline(always)]
pub fn few_columns<T: Copy, A: Sum, const FX: usize, const ADD: bool>(
    lines: &[Line<'_, T>],
    sums: &mut [A],
    lift: impl Fn(T) -> A,
) {
    let cell = |cell: &[T]| if FX == 1 { lift(cell[0]) } else { lift(cell[0]).plus(lift(cell[1])) };
    let put = |sum: &mut A, all| *sum = if ADD { sum.plus(all) } else { all };
    each_cell::<T, A, FX>(lines, 0, sums, cell, A::plus, put);
}

/// The total over the lines: pairs first, as the vectors do it.
#[inline(always)]
fn total<T, A: Sum>(lines: &[Line<'_, T>], of: impl Fn(&Line<'_, T>) -> A) -> A {
    let pair = |pair: &[Line<'_, T>]| pair[1..].iter().fold(of(&pair[0]), |sum, line| sum.plus(of(line)));
    let mut pairs = lines.chunks(FOLDED).map(pair);
    let first = pairs.next().expect("a line");
    pairs.fold(first, A::plus)
}

/// Cells of `fx` (1 or 2) columns of any number of lines, where vectors are not worth it.
#[inline(never)]
pub fn few_cells<T: Copy, A: Sum>(lines: &[Line<'_, T>], fx: usize, add: bool, sums: &mut [A], lift: fn(T) -> A) {
    let cell = |line: &Line<'_, T>, i: usize| {
        let cell = &line.voxels[fx * i..][..fx];
        if fx == 1 { lift(cell[0]) } else { lift(cell[0]).plus(lift(cell[1])) }
    };
    for (i, sum) in sums.iter_mut().enumerate() {
        let all = total(lines, |line| cell(line, i));
        *sum = if add { sum.plus(all) } else { all };
    }
}
