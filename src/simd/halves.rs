//! Sums of 64-bit integers that vectors can add up.

use super::views::Voxel;
use std::ops::Add;

/// A sum of up to 2^32 integers of 64 bits: the sum of their low 32 bits, and that of what is above them. Both fit 64 bits, so nothing is
/// carried from one to the other before the sum is divided.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Halves<H> {
    low: u64,
    high: H,
}

macro_rules! halves {
    ($($t:ty, $total:ty;)*) => {$(
        // SAFETY: two plain numbers of one size.
        unsafe impl Voxel for Halves<$t> {}

        impl Add for Halves<$t> {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Halves { low: self.low + other.low, high: self.high + other.high }
            }
        }

        impl From<$t> for Halves<$t> {
            #[inline(always)]
            fn from(voxel: $t) -> Self {
                Halves { low: u64::from(voxel as u32), high: voxel >> 32 }
            }
        }

        impl From<u8> for Halves<$t> {
            #[inline(always)]
            fn from(voxel: u8) -> Self {
                Halves { low: voxel.into(), high: 0 }
            }
        }

        impl From<$total> for Halves<$t> {
            #[inline(always)]
            fn from(total: $total) -> Self {
                Halves { low: u64::from(total as u32), high: (total >> 32) as $t }
            }
        }

        impl From<Halves<$t>> for $total {
            #[inline(always)]
            fn from(sum: Halves<$t>) -> Self {
                (<$total>::from(sum.high) << 32) + <$total>::from(sum.low)
            }
        }
    )*};
}
halves! {
    u64, u128;
    i64, i128;
}
