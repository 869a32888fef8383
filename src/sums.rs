//! The arithmetic of averaging: which sums a dtype can have, and how they are divided.
//!
//! Tables of types, and the few rules that differ between them: integers divide toward zero, floats by a plain division, and
//! sums of float64 keep what rounding takes.

use crate::fold::{Sum, Summand, few_columns, few_first, prime, rest_of_cells};
use crate::simd::lines::Line;
use crate::simd::views::{Bool, Panel};
use crate::simd::{FOLDED, Halving, Isa};

mod means;
mod two_words;

pub use means::{Mean, add_up};

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
    f32 => f64, wide
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
    const FAST: bool = true;
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
