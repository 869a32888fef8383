//! Sums of two words, where one is too narrow: 64-bit integers in halves, and float64 with what rounding takes.

use super::{Quotient, summands};
use crate::fold::{Sum, Summand, few_columns, few_first, prime, rest_of_cells};
use crate::simd::halves::Halves;
use crate::simd::lines::Line;
use crate::simd::two_floats::TwoFloats;
use crate::simd::views::Panel;
use crate::simd::{FOLDED, Halving, Isa};

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

impl Sum for TwoFloats {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Quotient for TwoFloats {
    #[inline(always)]
    fn halved(self, by: Halving) -> Self {
        f64::from(self).halved(by).into()
    }
    #[inline(always)]
    fn over(self, count: Self) -> Self {
        f64::from(self).over(count.into()).into()
    }
    #[inline(always)]
    fn nearest(self, count: Self) -> Self {
        self.over(count)
    }
    #[inline(always)]
    fn from_weight(weight: u128) -> Self {
        (weight as f64).into()
    }
}

impl Summand<TwoFloats> for f64 {
    #[inline(always)]
    fn lift(self) -> TwoFloats {
        self.into()
    }
    #[inline(always)]
    fn occupied(self) -> TwoFloats {
        // NaN is a value, -0.0 is background.
        u8::from(self != 0.0).into()
    }
    #[inline(always)]
    fn lower(sum: TwoFloats) -> Self {
        sum.into()
    }
    summands!(wide f64 => TwoFloats);
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
    summands!(sums TwoFloats => TwoFloats);
}
