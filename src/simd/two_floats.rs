//! Sums of float64 in two numbers.

use super::views::Voxel;
use std::ops::Add;

/// A sum of float64 and what rounding took from it (D. E. Knuth's exact sum of two floats, TAOCP 2, 4.2.2). Rounded to float64 it
/// is the same in whatever order the terms came, but for the most contrived ones: a mean does not show how a volume was cut.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct TwoFloats {
    sum: f64,
    lost: f64,
}

// SAFETY: two plain numbers of one size.
unsafe impl Voxel for TwoFloats {}

impl Add for TwoFloats {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let sum = self.sum + other.sum;
        let taken = sum - self.sum;
        let lost = (self.sum - (sum - taken)) + (other.sum - taken) + (self.lost + other.lost);
        // Infinity and NaN have lost nothing.
        TwoFloats { sum, lost: if lost.is_finite() { lost } else { 0.0 } }
    }
}

impl From<f64> for TwoFloats {
    #[inline(always)]
    fn from(sum: f64) -> Self {
        TwoFloats { sum, lost: 0.0 }
    }
}

impl From<u8> for TwoFloats {
    #[inline(always)]
    fn from(sum: u8) -> Self {
        f64::from(sum).into()
    }
}

impl From<TwoFloats> for f64 {
    #[inline(always)]
    fn from(sum: TwoFloats) -> Self {
        sum.sum + sum.lost
    }
}
