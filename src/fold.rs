//! Folding: cells of a panel added up, level after level. Averages fold with +, minima and maxima with min and max.
//!
//! A row is folded along x into a row of sums a factor shorter, and rows of a cell are added to the same sums, which
//! stay in L1. Memory is read in address order: row after row, never the rows of a cell side by side.

use crate::simd::views::Line;
use crate::simd::{Isa, Kernel};

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

    /// `sums[i]` becomes (with `ADD`: grows by) `line[i]`.
    #[inline(always)]
    fn row_sums<I: Isa, const ADD: bool>(_isa: I, line: Line<'_, Self>, sums: &mut [A]) {
        singles::<Self, A, ADD>(line, sums, Self::lift);
    }

    /// `sums[i]` becomes (with `ADD`: grows by) the sum of the pair `line[2 i], line[2 i + 1]`.
    #[inline(always)]
    fn pair_sums<I: Isa, const ADD: bool>(_isa: I, line: Line<'_, Self>, sums: &mut [A]) {
        pairs::<Self, A, ADD>(line, sums, Self::lift);
    }

    /// As `pair_sums`, of cells of `fx` (3 and more) voxels.
    #[inline(always)]
    fn cell_sums<I: Isa, const ADD: bool>(_isa: I, line: Line<'_, Self>, fx: usize, sums: &mut [A]) {
        any_cells::<Self, A, ADD>(line, fx, sums, Self::lift);
    }

    /// As `pair_sums`, of how many are not background.
    #[inline(always)]
    fn pair_counts<I: Isa, const ADD: bool>(_isa: I, line: Line<'_, Self>, counts: &mut [A]) {
        pairs::<Self, A, ADD>(line, counts, Self::occupied);
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

/// Folds a row into the sums of its cells, or onto them.
pub struct Fold<'a, T, A> {
    /// The row.
    pub line: Line<'a, T>,
    /// Its cells.
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
        match self.shape.factor[0] {
            1 => self.cells(Columns(isa)),
            2 => self.cells(Pairs(isa)),
            _ => self.cells(Cells(isa)),
        }
    }
}

impl<T: Summand<A>, A: Sum> Fold<'_, T, A> {
    #[inline(always)]
    fn cells(self, along: impl Along) {
        let Fold { line, shape, add, to, what } = self;
        let fx = shape.factor[0];
        let full = line.voxels.len() / fx;
        let (cells, sums) = (line.part(0..fx * full), &mut to[..full]);
        if add {
            along.fold::<T, A, true>(cells, fx, sums, what);
        } else {
            along.fold::<T, A, false>(cells, fx, sums, what);
        }
        if full < to.len() {
            fold_rest(&line.voxels[fx * full..], shape.mirrored, add, &mut to[full], what);
        }
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

/// The last, smaller cell of a row. Kept out of the loop over the rows, which needs the registers.
#[inline(never)]
fn fold_rest<T: Summand<A>, A: Sum>(rest: &[T], mirrored: bool, add: bool, sum: &mut A, what: What) {
    let lift = |voxel: T| if what == What::Presence { voxel.occupied() } else { voxel.lift() };
    let once = rest[1..].iter().fold(lift(rest[0]), |sum, &voxel| sum.plus(lift(voxel)));
    let cell = if mirrored { once.plus(once) } else { once };
    *sum = if add { sum.plus(cell) } else { cell };
}

/// The way along a row of full cells.
pub trait Along: Copy {
    /// Folds the cells of a row, of `fx` voxels each.
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, line: Line<'_, T>, fx: usize, sums: &mut [A], what: What);
}

/// Cells of one column.
#[derive(Clone, Copy)]
pub struct Columns<I>(pub I);

impl<I: Isa> Along for Columns<I> {
    #[inline(always)]
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, line: Line<'_, T>, _fx: usize, sums: &mut [A], what: What) {
        if what == What::Presence {
            singles::<T, A, ADD>(line, sums, T::occupied);
        } else {
            T::row_sums::<I, ADD>(self.0, line, sums);
        }
    }
}

/// Cells of two columns.
#[derive(Clone, Copy)]
pub struct Pairs<I>(pub I);

impl<I: Isa> Along for Pairs<I> {
    #[inline(always)]
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, line: Line<'_, T>, _fx: usize, sums: &mut [A], what: What) {
        if what == What::Presence {
            T::pair_counts::<I, ADD>(self.0, line, sums);
        } else {
            T::pair_sums::<I, ADD>(self.0, line, sums);
        }
    }
}

/// Cells of any other number of columns.
#[derive(Clone, Copy)]
pub struct Cells<I>(pub I);

impl<I: Isa> Along for Cells<I> {
    #[inline(always)]
    fn fold<T: Summand<A>, A: Sum, const ADD: bool>(self, line: Line<'_, T>, fx: usize, sums: &mut [A], what: What) {
        if what == What::Presence {
            any_cells::<T, A, ADD>(line, fx, sums, T::occupied);
        } else {
            T::cell_sums::<I, ADD>(self.0, line, fx, sums);
        }
    }
}

/// Cells of any number of columns, voxel by voxel.
#[inline(always)]
pub fn any_cells<T: Copy, A: Sum, const ADD: bool>(line: Line<'_, T>, fx: usize, sums: &mut [A], lift: impl Fn(T) -> A) {
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

#[inline(always)]
fn singles<T: Copy, A: Sum, const ADD: bool>(line: Line<'_, T>, sums: &mut [A], lift: impl Fn(T) -> A) {
    for (sum, &voxel) in sums.iter_mut().zip(line.announced()) {
        *sum = if ADD { sum.plus(lift(voxel)) } else { lift(voxel) };
    }
}

#[inline(always)]
fn pairs<T: Copy, A: Sum, const ADD: bool>(line: Line<'_, T>, sums: &mut [A], lift: impl Fn(T) -> A) {
    let row = line.announced();
    for (sum, pair) in sums.iter_mut().zip(row.chunks_exact(2)) {
        let pair = lift(pair[0]).plus(lift(pair[1]));
        *sum = if ADD { sum.plus(pair) } else { pair };
    }
}
