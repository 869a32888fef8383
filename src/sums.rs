//! The arithmetic of averaging: which sums a dtype can have, and how they are divided.
//!
//! Tables of types, and the few rules that differ between them: integers divide toward zero, floats by a plain division, and
//! sums of float64 keep what rounding takes.

use crate::fold::{Sum, Summand, few_columns, few_first, prime, rest_of_cells};
use crate::simd::halves::Halves;
use crate::simd::lines::{CellLines, Line, behind};
use crate::simd::two_floats::TwoFloats;
use crate::simd::views::{Bool, Cut, Panel, PanelMut, Row};
use crate::simd::{FOLDED, Halving, Isa};

mod two_words;

/// What can be divided: the arithmetic of the sums.
pub trait Quotient: Sum {
    /// How many bits wide the largest sum may be.
    const WIDTH: u32 = 8 * size_of::<Self>() as u32;
    /// Divided by a power of two.
    fn halved(self, by: Halving) -> Self;
    /// `self / count`, toward zero for integers, and plain zero for a count of zero, whose sum is zero.
    fn over(self, count: Self) -> Self;
    /// `self / count`, to the nearest integer for integers, and from the middle to the even one.
    fn nearest(self, count: Self) -> Self;
    /// The weight as a sum.
    fn from_weight(weight: u128) -> Self;
}

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

    /// Sums whole cells of `FX` (1 or 2) columns up, row after row, and divides them by a power of two at once.
    #[inline(always)]
    fn finish<I: Isa, const FX: usize, const N: usize>(
        _isa: I,
        _cells: CellLines<'_, Self, N>,
        _cut: Cut,
        _sums: &mut PanelMut<'_, A>,
        _by: Halving,
        _out: &mut PanelMut<'_, Self>,
    ) {
        unreachable!("only where there are vectors");
    }

    /// As [`Mean::finish`], of the voxels that are not background.
    #[inline(always)]
    fn finish_sparse<I: Isa, const FX: usize, const N: usize>(
        _isa: I,
        _cells: CellLines<'_, Self, N>,
        _cut: Cut,
        _sums: &mut PanelMut<'_, A>,
        _counts: &mut PanelMut<'_, A>,
        _out: &mut PanelMut<'_, Self>,
    ) {
        unreachable!("only where there are vectors");
    }

    /// Sums two rows of cells of `FX` columns up, which become voxels at once, and the cells of `FX` columns of these two: all of [`crate::simd::FULL`] or more. With
    /// `SPARSE`, of the voxels that are not background.
    #[inline(always)]
    fn finish_two<I: Isa, const FX: usize, const N: usize, const SPARSE: bool>(
        _isa: I,
        _lines: &[[Line<'_, Self>; N]; 2],
        _add: bool,
        _sums: &mut [A],
        _counts: &mut [A],
        _by: Halving,
        _outs: [Row<'_, Self>; 2],
    ) {
        unreachable!("only where there are vectors");
    }

    /// As [`Mean::finish`], of cells of two rows and `FX` columns of sums, set or added, which may not be whole yet.
    #[inline(always)]
    fn finish_up<I: Isa, const FX: usize>(
        isa: I,
        lines: &[Line<'_, A>; 2],
        add: bool,
        sums: &mut [A],
        by: Halving,
        mut out: Option<Row<'_, Self>>,
    ) {
        let row = out.as_mut().map(|out| out.part(0..sums.len()));
        let done = Self::finish_up_vectors::<I, FX>(isa, lines, add, sums, by, row);
        if done < sums.len() {
            add_up::<I, A, FX>(isa, &behind(lines, FX * done), add, &mut sums[done..]);
            if let Some(out) = out {
                halve_few(&sums[done..], by, &mut out.voxels[done..sums.len()]);
            }
        }
    }

    /// The part of [`Mean::finish_up`] that vectors do: how many.
    #[inline(always)]
    fn finish_up_vectors<I: Isa, const FX: usize>(
        _isa: I,
        _lines: &[Line<'_, A>; 2],
        _add: bool,
        _sums: &mut [A],
        _by: Halving,
        _out: Option<Row<'_, Self>>,
    ) -> usize {
        0
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

/// Cells of two lines and `FX` columns of sums, set or added.
#[inline(always)]
pub fn add_up<I: Isa, A: Sum, const FX: usize>(isa: I, lines: &[Line<'_, A>; 2], add: bool, sums: &mut [A]) {
    if add {
        A::sums::<I, FX, true>(isa, lines, sums);
    } else {
        A::sums::<I, FX, false>(isa, lines, sums);
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
                fn finish_up_vectors<I: Isa, const FX: usize>(
                    isa: I,
                    lines: &[Line<'_, $sum>; 2],
                    add: bool,
                    sums: &mut [$sum],
                    by: Halving,
                    out: Option<Row<'_, Self>>,
                ) -> usize {
                    isa.finish_up::<$t, FX>(lines, add, sums, by, out)
                }
                #[inline(always)]
                fn finish<I: Isa, const FX: usize, const N: usize>(
                    isa: I,
                    cells: CellLines<'_, Self, N>,
                    cut: Cut,
                    sums: &mut PanelMut<'_, $sum>,
                    by: Halving,
                    out: &mut PanelMut<'_, Self>,
                ) {
                    assert!(isa.finish_sums::<$t, FX, N>(cells, cut, sums, by, out) == cut.cols);
                }
                #[inline(always)]
                fn finish_two<I: Isa, const FX: usize, const N: usize, const SPARSE: bool>(
                    isa: I,
                    lines: &[[Line<'_, Self>; N]; 2],
                    add: bool,
                    sums: &mut [$sum],
                    counts: &mut [$sum],
                    by: Halving,
                    outs: [Row<'_, Self>; 2],
                ) {
                    let cells = outs[0].voxels.len();
                    assert!(isa.finish_two::<$t, FX, N, SPARSE>(lines, add, sums, counts, by, outs) == cells);
                }
                #[inline(always)]
                fn finish_sparse<I: Isa, const FX: usize, const N: usize>(
                    isa: I,
                    cells: CellLines<'_, Self, N>,
                    cut: Cut,
                    sums: &mut PanelMut<'_, $sum>,
                    counts: &mut PanelMut<'_, $sum>,
                    out: &mut PanelMut<'_, Self>,
                ) {
                    assert!(isa.finish_sparse::<$t, FX, N>(cells, cut, sums, counts, out) == cut.cols);
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

macro_rules! summands {
    ($($t:ty => $($sum:ty $(, $way:ident)?);+)*) => {$($(
        impl Summand<$sum> for $t {
            #[inline(always)]
            fn lift(self) -> $sum {
                self as $sum
            }
            #[inline(always)]
            fn occupied(self) -> $sum {
                // NaN is a value, -0.0 is background.
                (self != (0 as $t)) as u8 as $sum
            }
            #[inline(always)]
            fn lower(sum: $sum) -> Self {
                sum as $t
            }
            $(summands!($way $t => $sum);)?
        }
    )+)*};
    // Sums of pairs by the kernels of `Isa`: in a type twice as wide, or of sums.
    (wide $t:ty => $sum:ty) => {
        summands!(pairs $t => $sum, 3 | 5 | 7);
        #[inline(always)]
        fn cell_sums<I: Isa, const ADD: bool>(isa: I, line: Line<'_, Self>, fx: usize, sums: &mut [$sum]) {
            let done = isa.wide_cells::<$t, ADD>(line, fx, sums);
            if done < sums.len() {
                rest_of_cells::<Self, $sum, ADD>(line, fx, sums, done);
            }
        }
    };
    // Cells of three and five floats are added up no faster in vectors.
    (floats $t:ty => $sum:ty) => {
        summands!(pairs $t => $sum, 3 | 5);
    };
    (pairs $t:ty => $sum:ty, $alone:pat) => {
        #[inline(always)]
        fn sums<I: Isa, const FX: usize, const ADD: bool>(isa: I, lines: &[Line<'_, Self>], sums: &mut [$sum]) {
            isa.sums::<$t, FX, ADD, false>(lines, sums);
        }
        #[inline(always)]
        fn presences<I: Isa, const FX: usize, const ADD: bool>(isa: I, lines: &[Line<'_, Self>], counts: &mut [$sum]) {
            isa.sums::<$t, FX, ADD, true>(lines, counts);
        }
        const LINES: usize = FOLDED;
        fn first_step(fx: usize, alone: bool) -> usize {
            if alone && matches!(fx, $alone) { fx } else { few_first(fx) }
        }
    };
    // The same in one four times as wide.
    (wider $t:ty => $sum:ty) => {
        #[inline(always)]
        fn sums<I: Isa, const FX: usize, const ADD: bool>(isa: I, lines: &[Line<'_, Self>], sums: &mut [$sum]) {
            isa.wider_sums::<$t, FX, ADD, false>(lines, sums);
        }
        #[inline(always)]
        fn presences<I: Isa, const FX: usize, const ADD: bool>(isa: I, lines: &[Line<'_, Self>], counts: &mut [$sum]) {
            isa.wider_sums::<$t, FX, ADD, true>(lines, counts);
        }
        const LINES: usize = FOLDED;
        fn first_step(fx: usize, _alone: bool) -> usize {
            few_first(fx)
        }
    };
    (sums $t:ty => $sum:ty) => {
        #[inline(always)]
        fn same(panel: Panel<'_, Self>) -> Option<Panel<'_, $sum>> {
            Some(panel)
        }
        #[inline(always)]
        fn sums<I: Isa, const FX: usize, const ADD: bool>(isa: I, lines: &[Line<'_, Self>], sums: &mut [$sum]) {
            match FX {
                1 => few_columns::<Self, $sum, FX, ADD>(lines, sums, |sum| sum),
                _ => isa.adjacent_sums::<$t, ADD>(lines, sums),
            }
        }
        #[inline(always)]
        fn cell_sums<I: Isa, const ADD: bool>(isa: I, line: Line<'_, Self>, fx: usize, sums: &mut [$sum]) {
            let done = isa.cells_of_sums::<$t, ADD>(line, fx, sums);
            if done < sums.len() {
                rest_of_cells::<Self, $sum, ADD>(line, fx, sums, done);
            }
        }
        fn first_step(fx: usize, alone: bool) -> usize {
            if alone { prime(fx) } else { few_first(fx) }
        }
    };
}
use summands;
summands! {
    u8 => u32, wider; u64
    u16 => u16, sums; u32, wide; u64, wider
    u32 => u32, sums; u64, wide; u128
    u64 => u64, sums; u128
    u128 => u128
    i8 => i16, wide; i32, wider; i64
    i16 => i16, sums; i32, wide; i64, wider
    i32 => i32, sums; i64, wide; i128
    i64 => i64, sums; i128
    i128 => i128
    f32 => f64, floats
    f64 => f64, sums
}

impl Summand<u16> for u8 {
    #[inline(always)]
    fn lift(self) -> u16 {
        u16::from(self)
    }
    #[inline(always)]
    fn occupied(self) -> u16 {
        u16::from(self != 0)
    }
    #[inline(always)]
    fn lower(sum: u16) -> Self {
        sum as u8
    }
    summands!(pairs u8 => u16, 3..=8);
    #[inline(always)]
    fn cell_sums<I: Isa, const ADD: bool>(isa: I, line: Line<'_, Self>, fx: usize, sums: &mut [u16]) {
        let done = isa.byte_cells::<ADD>(line, fx, sums);
        if done < sums.len() {
            rest_of_cells::<Self, u16, ADD>(line, fx, sums, done);
        }
    }
}

macro_rules! counts_of_true {
    ($($sum:ty),*) => {$(
        impl Summand<$sum> for Bool {
            #[inline(always)]
            fn lift(self) -> $sum {
                (self.0 != 0).into()
            }
            #[inline(always)]
            fn occupied(self) -> $sum {
                (self.0 != 0).into()
            }
            #[inline(always)]
            fn lower(sum: $sum) -> Self {
                Bool((sum != 0).into())
            }
        }

        impl Mean<$sum> for Bool {}
    )*};
}
counts_of_true!(u32, u64);

macro_rules! integer_sums {
    ($($t:ty, |$sum:ident, $by:ident| $over:expr;)*) => {$(
        impl Sum for $t {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
        }

        impl Quotient for $t {
            #[inline(always)]
            fn over(self, count: Self) -> Self {
                let ($sum, $by) = (self, count.max(1));
                $over
            }
            #[inline(always)]
            fn nearest(self, count: Self) -> Self {
                let (by, quotient) = (count.max(1), self.over(count));
                let rest = self - quotient * by;
                // All ones if the rest is negative: from here on the quotient is the one below.
                let below = rest >> (<$t>::BITS - 1) & (<$t>::MIN >> (<$t>::BITS - 1));
                let (quotient, rest) = (quotient + below, rest + (by & below));
                let up = 2 * rest > by || (2 * rest == by && quotient & 1 == 1);
                quotient + up as $t
            }
            #[inline(always)]
            fn halved(self, by: Halving) -> Self {
                let (part, mask) = if <$t>::MIN < 0 as $t { by.signed(<$t>::BITS) } else { by.unsigned() };
                (self + by.bias() as $t + (self >> part & mask as $t)) >> by.shift
            }
            #[inline(always)]
            fn from_weight(weight: u128) -> Self {
                weight as $t
            }
        }
    )*};
}
// Division by floats is vectors wide, and exact: a quotient that is no integer is at least 1 / by below the next one, more
// than rounding moves it while sum + by stays below 2^24 in f32 and 2^53 in f64.
integer_sums! {
    u16, |sum, by| (sum as f32 / by as f32) as u16;
    i16, |sum, by| (sum as f32 / by as f32) as i16;
    u32, |sum, by| (sum as f64 / by as f64) as u32;
    i32, |sum, by| (sum as f64 / by as f64) as i32;
    u64, |sum, by| if sum < 1 << 53 { (sum as i64 as f64 / by as i64 as f64) as i64 as u64 } else { sum / by };
    i64, |sum, by| if sum.unsigned_abs() < 1 << 53 { (sum as f64 / by as f64) as i64 } else { sum / by };
    u128, |sum, by| sum / by;
    i128, |sum, by| sum / by;
}

impl Sum for f64 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Quotient for f64 {
    #[inline(always)]
    fn nearest(self, count: Self) -> Self {
        self.over(count)
    }
    #[inline(always)]
    fn halved(self, by: Halving) -> Self {
        // A power of two: exact but for subnormal quotients, which are rounded once, as by a division.
        self * f64::from_bits((1023 - u64::from(by.shift)) << 52)
    }
    #[inline(always)]
    fn over(self, count: Self) -> Self {
        // + 0.0 turns the -0.0 of a cell of background into 0.0.
        (self + 0.0) / count.max(1.0)
    }
    #[inline(always)]
    fn from_weight(weight: u128) -> Self {
        weight as f64
    }
}
