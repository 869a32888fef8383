//! Folding: cells of a panel added up, level after level. Averages fold with +, minima and maxima with min and max.
//!
//! Rows of a cell are folded side by side into a row of sums, further ones added to the same sums; at most two columns of a
//! cell at first. The sums of wider cells are then folded on along x, by one prime factor after the other. Sums of floats depend
//! on the order: cells of a line, then pairs of lines, which are added one after the other onto what is there, on every backend.

use crate::simd::lines::Line;
use crate::simd::scalar::each_cell;
use crate::simd::views::Panel;
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

    /// The panel itself, if these are sums of type `A`.
    #[inline(always)]
    fn same(_panel: Panel<'_, Self>) -> Option<Panel<'_, A>> {
        None
    }

    /// How many lines [`Summand::sums`] folds side by side: an even number.
    const LINES: usize = 2;

    /// `sums[i]` becomes (with `ADD`: grows by) the sum of the `FX` (1 or 2) voxels from `FX i` on of each line (up to
    /// [`Summand::LINES`]).
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

    /// Whether [`Summand::cell_sums`] are so fast that many rows are folded by one kernel call.
    const FAST: bool = false;

    /// How many columns of cells of `fx` are best folded first, with all lines or with the one that is `alone`; the sums of
    /// these are folded on by [`prime`] after prime.
    fn first_step(fx: usize, alone: bool) -> usize {
        if alone { fx } else { few_first(fx) }
    }
}

/// Two columns first, or if cells are odd, none.
pub fn few_first(fx: usize) -> usize {
    2 - fx % 2
}

/// How many columns of cells of `fx` are folded at a time: the smallest prime, as far as there are vectors for it.
pub fn prime(fx: usize) -> usize {
    [2, 3, 5, 7].into_iter().find(|&p| fx.is_multiple_of(p)).unwrap_or(fx)
}

/// How the cells of a level lie along a row and from row to row.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Voxels of a cell along x and y.
    pub factor: [usize; 2],
    /// Lone trailing voxels and rows count twice.
    pub mirrored: bool,
}

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
        let full = lines[0].voxels.len() / fx;
        if fx * full < lines[0].voxels.len() {
            fold_rest(lines, fx * full, shape.mirrored, add, &mut to[full], what);
        }
        for (k, lines) in lines.chunks(T::LINES).enumerate() {
            match (fx, add || k > 0) {
                (1, false) => few::<T, A, I, 1, false>(isa, lines, to, what),
                (1, true) => few::<T, A, I, 1, true>(isa, lines, to, what),
                (2, false) => few::<T, A, I, 2, false>(isa, lines, to, what),
                (2, true) => few::<T, A, I, 2, true>(isa, lines, to, what),
                _ => break,
            }
        }
        if fx > 2 {
            let ([line], What::Value) = (lines, what) else { unreachable!("one line of values") };
            let (line, to) = (line.part(0..fx * full), &mut to[..full]);
            if add {
                T::cell_sums::<I, true>(isa, line, fx, to);
            } else {
                T::cell_sums::<I, false>(isa, line, fx, to);
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
    if mirrored {
        let once = total(lines, None, rest);
        *sum = if add { sum.plus(once.plus(once)) } else { once.plus(once) };
    } else {
        *sum = total(lines, add.then_some(*sum), rest);
    }
}

/// Cells of three columns and more that are folded between two requests to the memory.
const PIECE: usize = 512;

/// Cells of any number of columns, voxel by voxel.
#[inline(always)]
pub fn any_cells<T: Copy, A: Sum, const ADD: bool>(
    line: Line<'_, T>,
    fx: usize,
    sums: &mut [A],
    lift: impl Fn(T) -> A,
) {
    for (k, sums) in sums.chunks_mut(PIECE).enumerate() {
        let first = fx * PIECE * k;
        let row = line.part(first..first + fx * sums.len()).announced();
        match fx {
            3 => cells::<T, A, 3, ADD>(row, sums, &lift),
            4 => cells::<T, A, 4, ADD>(row, sums, &lift),
            5 => cells::<T, A, 5, ADD>(row, sums, &lift),
            _ => {
                for (sum, cell) in sums.iter_mut().zip(row.chunks_exact(fx)) {
                    let folded = cell[1..].iter().fold(lift(cell[0]), |folded, &voxel| folded.plus(lift(voxel)));
                    *sum = if ADD { sum.plus(folded) } else { folded };
                }
            }
        }
    }
}

/// As [`any_cells`], of what vectors leave of a row from cell `done` on.
#[inline(never)]
pub fn rest_of_cells<T: Summand<A>, A: Sum, const ADD: bool>(
    line: Line<'_, T>,
    fx: usize,
    sums: &mut [A],
    done: usize,
) {
    let line = line.part(fx * done..fx * sums.len());
    any_cells::<T, A, ADD>(line, fx, &mut sums[done..], T::lift);
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

/// Cells of one or two columns, voxel by voxel.
#[inline(always)]
pub fn few_columns<T: Copy, A: Sum, const FX: usize, const ADD: bool>(
    lines: &[Line<'_, T>],
    sums: &mut [A],
    lift: impl Fn(T) -> A,
) {
    each_cell::<T, A, FX, ADD>(lines, 0, sums, lift, A::plus);
}

/// The total over the lines, onto what is there: pairs first, as the vectors do it.
#[inline(always)]
fn total<T, A: Sum>(lines: &[Line<'_, T>], there: Option<A>, of: impl Fn(&Line<'_, T>) -> A) -> A {
    let pair = |pair: &[Line<'_, T>]| pair[1..].iter().fold(of(&pair[0]), |sum, line| sum.plus(of(line)));
    let all = lines.chunks(2).map(pair);
    there.into_iter().chain(all).reduce(A::plus).expect("a line")
}
