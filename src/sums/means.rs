//! Means: sums divided and made voxels, by vectors where there are some for the types.

use super::Quotient;
use crate::fold::{Sum, Summand};
use crate::simd::halves::Halves;
use crate::simd::lines::{CellLines, Fours, Line};
use crate::simd::two_floats::TwoFloats;
use crate::simd::views::{Cut, PanelMut, Rise, Row};
use crate::simd::{Backend, Halving, Isa};

/// A voxel as the mean of a sum.
pub trait Mean<A: Quotient>: Summand<A> {
    /// Whether vectors finish whole cells of these, and halve their sums.
    const VECTORS: bool = false;
    /// Whether vectors finish whole sparse cells too.
    const DIVIDES: bool = false;
    /// By which numbers sums are divided as by [`Mean::divide_all`], at most.
    const DIVISORS: u128 = 0;

    /// `out[i] = sums[i]` by a power of two.
    #[inline(always)]
    fn shift<I: Isa>(isa: I, sums: &[A], by: Halving, mut out: Row<'_, Self>) {
        if I::VECTORS && Self::VECTORS {
            let done = Self::narrow(isa, sums, by, out.part(0..sums.len()));
            return halve_few(&sums[done..], by, &mut out.voxels[done..sums.len()]);
        }
        for (voxel, &sum) in out.voxels.iter_mut().zip(sums) {
            *voxel = Self::lower(sum.halved(by));
        }
    }

    /// `out[i] = sums[i] / counts[i]`, or 0 where there is no count.
    #[inline(always)]
    fn divide<I: Isa>(_isa: I, sums: &[A], counts: &[A], out: Row<'_, Self>) {
        for ((voxel, &sum), &count) in out.voxels.iter_mut().zip(sums).zip(counts) {
            *voxel = Self::lower(sum.over(count));
        }
    }

    /// `out[i] = sums[i] / by`, toward zero.
    #[inline(always)]
    fn divide_all<I: Isa>(_isa: I, _sums: &[A], _by: A, _out: Row<'_, Self>) {
        unreachable!("only by up to `DIVISORS`");
    }

    /// As [`Mean::divide`], to the nearest.
    #[inline(always)]
    fn divide_to_nearest(sums: &[A], counts: &[A], out: Row<'_, Self>) {
        for ((voxel, &sum), &count) in out.voxels.iter_mut().zip(sums).zip(counts) {
            *voxel = Self::lower(sum.nearest(count));
        }
    }

    /// `out[i] = sums[i] / by`.
    #[inline(always)]
    fn over<I: Isa>(isa: I, sums: &[A], by: u128, nearest: bool, out: Row<'_, Self>) {
        if by.is_power_of_two() {
            return Self::shift(isa, sums, Halving { shift: by.trailing_zeros(), nearest }, out);
        }
        if !nearest && by <= Self::DIVISORS {
            return Self::divide_all(isa, sums, A::from_weight(by), out);
        }
        // As by counts, for which there are vectors.
        let counts = [A::from_weight(by); 64];
        for (out, sums) in out.voxels.chunks_mut(counts.len()).zip(sums.chunks(counts.len())) {
            let counts = &counts[..sums.len()];
            if nearest {
                Self::divide_to_nearest(sums, counts, Row::new(out));
            } else {
                Self::divide(isa, sums, counts, Row::new(out));
            }
        }
    }

    /// Sums whole cells of `FX` (1 or 2) columns up, row after row, and divides them by a power of two at once, or with `SPARSE` by how many voxels are not
    /// background.
    #[inline(always)]
    fn finish<I: Isa, const FX: usize, const N: usize, const SPARSE: bool>(
        _isa: I,
        _cells: CellLines<'_, Self, N>,
        _cut: Cut,
        _sums: &mut PanelMut<'_, A>,
        _counts: &mut PanelMut<'_, A>,
        _by: Halving,
        _out: &mut PanelMut<'_, Self>,
    ) {
        unreachable!("only where there are vectors");
    }

    /// Sums pairs of rows of cells of `FX` columns up, which become voxels at once, and the cells of `FX` columns of these two: all of [`crate::simd::FULL`] or more. With
    /// `SPARSE`, of the voxels that are not background.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn finish_two<I: Isa, const FX: usize, const PANELS: usize, const SPARSE: bool>(
        _isa: I,
        _cells: Fours<'_, Self, PANELS>,
        _cut: Cut,
        _add: bool,
        _sums: &mut PanelMut<'_, A>,
        _counts: &mut PanelMut<'_, A>,
        _by: [Halving; 2],
        _out: &mut PanelMut<'_, Self>,
        _above: Option<&mut PanelMut<'_, Self>>,
    ) {
        unreachable!("only where there are vectors");
    }

    /// As [`Mean::finish`], of cells of two rows and `FX` columns of sums, set or added, which may not be whole yet: rows of `out` from `first` on.
    #[inline(always)]
    fn finish_up<I: Isa, const FX: usize>(
        _isa: I,
        _rise: Rise<'_, A>,
        _add: bool,
        _by: Halving,
        _out: Option<&mut PanelMut<'_, Self>>,
        _first: usize,
    ) {
        unreachable!("only where there are vectors");
    }

    /// The part of [`Mean::shift`] that vectors do: how many.
    #[inline(always)]
    fn narrow<I: Isa>(_isa: I, _sums: &[A], _by: Halving, _out: Row<'_, Self>) -> usize {
        0
    }
}

/// Up to which number quotients that have so many bits are right if they are made with a reciprocal in float32. Half a unit
/// added to the sum keeps a quotient at least 1 / (2 by) from the next integers; two roundings move one below 2^8 by less than
/// 1 / 2^15, one below 2^16 by less than 1 / 2^7.
const fn most_divisor(bits: u32) -> u128 {
    (1 << (22 - bits)) - 1
}

/// Whole cells of two rows and `FX` columns of sums, set or added.
#[inline(always)]
pub fn add_up<I: Isa, A: Sum, const FX: usize>(isa: I, rise: &mut Rise<'_, A>, add: bool) {
    let Rise { from, below, to, cols, full, .. } = rise;
    for (to, from) in to.chunks_exact_mut(*cols).zip(from.chunks_exact(2 * *below)) {
        let lines = [&from[..FX * *full], &from[*below..*below + FX * *full]].map(Line::here);
        if add {
            A::sums::<I, FX, true>(isa, &lines, &mut to[..*full]);
        } else {
            A::sums::<I, FX, false>(isa, &lines, &mut to[..*full]);
        }
    }
}

/// As [`Mean::finish_up`], of rows that are too short for vectors.
#[inline(never)]
fn finish_few<T: Mean<A>, A: Quotient, const FX: usize>(
    mut rise: Rise<'_, A>,
    add: bool,
    by: Halving,
    out: Option<&mut PanelMut<'_, T>>,
    first: usize,
) {
    add_up::<_, A, FX>(Backend::plain(), &mut rise, add);
    if let Some(out) = out {
        for (j, sums) in (first..).zip(rise.to.chunks_exact(rise.cols)) {
            halve_few(&sums[..rise.full], by, out.row_mut(j).part(0..rise.full).voxels);
        }
    }
}

/// As [`Mean::shift`], of what vectors leave.
#[inline(never)]
fn halve_few<T: Mean<A>, A: Quotient>(sums: &[A], by: Halving, out: &mut [T]) {
    for (voxel, &sum) in out.iter_mut().zip(sums) {
        *voxel = T::lower(sum.halved(by));
    }
}

macro_rules! means {
    ($($t:ty => $($sum:ty $(, $wide:ident $(, $divide:ident, $divide_all:ident)?)?);+)*) => {$($(
        impl Mean<$sum> for $t {
            $(
                const VECTORS: bool = true;
                #[inline(always)]
                fn narrow<I: Isa>(isa: I, sums: &[$sum], by: Halving, out: Row<'_, Self>) -> usize {
                    isa.$wide::<$t>(sums, by, out)
                }
                #[inline(always)]
                fn finish_up<I: Isa, const FX: usize>(
                    isa: I,
                    mut rise: Rise<'_, $sum>,
                    add: bool,
                    by: Halving,
                    mut out: Option<&mut PanelMut<'_, Self>>,
                    first: usize,
                ) {
                    if isa.finish_up::<$t, FX>(&mut rise, add, by, out.as_deref_mut(), first) < rise.full {
                        finish_few::<Self, $sum, FX>(rise, add, by, out, first);
                    }
                }
                #[inline(always)]
                fn finish<I: Isa, const FX: usize, const N: usize, const SPARSE: bool>(
                    isa: I,
                    cells: CellLines<'_, Self, N>,
                    cut: Cut,
                    sums: &mut PanelMut<'_, $sum>,
                    counts: &mut PanelMut<'_, $sum>,
                    by: Halving,
                    out: &mut PanelMut<'_, Self>,
                ) {
                    assert!(isa.finish_cells::<$t, FX, N, SPARSE>(cells, cut, sums, counts, by, out) == cut.cols);
                }
                #[inline(always)]
                fn finish_two<I: Isa, const FX: usize, const PANELS: usize, const SPARSE: bool>(
                    isa: I,
                    cells: Fours<'_, Self, PANELS>,
                    cut: Cut,
                    add: bool,
                    sums: &mut PanelMut<'_, $sum>,
                    counts: &mut PanelMut<'_, $sum>,
                    by: [Halving; 2],
                    out: &mut PanelMut<'_, Self>,
                    above: Option<&mut PanelMut<'_, Self>>,
                ) {
                    let done = isa.finish_two::<$t, FX, PANELS, SPARSE>(cells, cut, add, sums, counts, by, out, above);
                    assert!(done == cut.cols);
                }
                $(
                    const DIVIDES: bool = true;
                    #[inline(always)]
                    fn divide<I: Isa>(isa: I, sums: &[$sum], counts: &[$sum], out: Row<'_, Self>) {
                        isa.$divide(sums, counts, out.voxels);
                    }
                    const DIVISORS: u128 = most_divisor(<$t>::BITS);
                    #[inline(always)]
                    fn divide_all<I: Isa>(isa: I, sums: &[$sum], by: $sum, out: Row<'_, Self>) {
                        isa.$divide_all(sums, by, out.voxels);
                    }
                )?
            )?
        }
    )+)*};
}
means! {
    u8 => u16, narrow, divide_u16, divide_all_u16; u32; u64
    u16 => u32, narrow, divide_u32, divide_all_u32; u64
    u32 => u64, narrow; u128
    u64 => Halves<u64>, narrow; u128
    i8 => i16, narrow; i32; i64
    i16 => i32, narrow; i64
    i32 => i64, narrow; i128
    i64 => Halves<i64>, narrow; i128
    f32 => f64, narrow
    f64 => TwoFloats, narrow
}
