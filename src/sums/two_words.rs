//! Sums of two words, where one is too narrow: 64-bit integers in halves, and float64 with what rounding takes.

use super::{Quotient, summands};
use crate::fold::{Sum, Summand, few_columns};
use crate::simd::halves::Halves;
use crate::simd::lines::Line;
use crate::simd::views::Panel;
use crate::simd::{Halving, Isa};

macro_rules! sums_of_halves {
    ($($t:ty, $total:ty;)*) => {$(
        impl Sum for Halves<$t> {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
        }

        impl Quotient for Halves<$t> {
            const WIDTH: u32 = 96;
            #[inline(always)]
            fn halved(self, by: Halving) -> Self {
                <$total>::from(self).halved(by).into()
            }
            #[inline(always)]
            fn over(self, count: Self) -> Self {
                <$total>::from(self).over(count.into()).into()
            }
            #[inline(always)]
            fn nearest(self, count: Self) -> Self {
                <$total>::from(self).nearest(count.into()).into()
            }
            #[inline(always)]
            fn from_weight(weight: u128) -> Self {
                (weight as $total).into()
            }
        }

        impl Summand<Halves<$t>> for $t {
            #[inline(always)]
            fn lift(self) -> Halves<$t> {
                self.into()
            }
            #[inline(always)]
            fn occupied(self) -> Halves<$t> {
                u8::from(self != 0).into()
            }
            #[inline(always)]
            fn lower(sum: Halves<$t>) -> Self {
                <$total>::from(sum) as $t
            }
            summands!(wide $t => Halves<$t>);
        }

        impl Summand<Halves<$t>> for Halves<$t> {
            #[inline(always)]
            fn lift(self) -> Halves<$t> {
                self
            }
            #[inline(always)]
            fn occupied(self) -> Halves<$t> {
                unreachable!("voxels are counted, sums are not")
            }
            #[inline(always)]
            fn lower(sum: Halves<$t>) -> Self {
                sum
            }
            summands!(sums Halves<$t> => Halves<$t>);
        }
    )*};
}
sums_of_halves! {
    u64, u128;
    i64, i128;
}

/// A float64 sum and what rounding took from it (D. E. Knuth's exact sum of two floats, TAOCP 2, 4.2.2): for long sums.
#[derive(Clone, Copy, Default)]
pub struct TwoFloats(f64, f64);

impl Sum for TwoFloats {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        let sum = self.0 + other.0;
        let taken = sum - self.0;
        let lost = (self.0 - (sum - taken)) + (other.0 - taken) + (self.1 + other.1);
        // Infinity and NaN have lost nothing.
        TwoFloats(sum, if lost.is_finite() { lost } else { 0.0 })
    }
}

impl Quotient for TwoFloats {
    #[inline(always)]
    fn over(self, count: Self) -> Self {
        TwoFloats((self.0 + self.1).over(count.0), 0.0)
    }
    #[inline(always)]
    fn nearest(self, count: Self) -> Self {
        self.over(count)
    }
    #[inline(always)]
    fn halved(self, by: Halving) -> Self {
        TwoFloats((self.0 + self.1).halved(by), 0.0)
    }
    #[inline(always)]
    fn from_weight(weight: u128) -> Self {
        TwoFloats(weight as f64, 0.0)
    }
}

impl Summand<TwoFloats> for TwoFloats {
    #[inline(always)]
    fn lift(self) -> TwoFloats {
        self
    }
    #[inline(always)]
    fn occupied(self) -> TwoFloats {
        unreachable!("voxels are counted, sums are not")
    }
    #[inline(always)]
    fn lower(sum: TwoFloats) -> Self {
        sum
    }
}

impl Summand<TwoFloats> for f64 {
    #[inline(always)]
    fn lift(self) -> TwoFloats {
        TwoFloats(self, 0.0)
    }
    #[inline(always)]
    fn occupied(self) -> TwoFloats {
        TwoFloats(f64::from(u8::from(self != 0.0)), 0.0)
    }
    #[inline(always)]
    fn lower(sum: TwoFloats) -> Self {
        sum.0
    }
}
