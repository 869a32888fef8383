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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::views::Row;
    use crate::simd::{Backend, Halving, Isa, Kernel, Widen};

    struct Narrow<'a, T: Widen> {
        sums: &'a [T::Wide],
        by: Halving,
        out: &'a mut [T],
    }

    impl<T: Widen> Kernel for Narrow<'_, T> {
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            let done = isa.narrow(self.sums, self.by, Row::new(self.out));
            assert_eq!(done, if I::VECTORS { self.out.len() } else { 0 });
        }
    }

    /// The quotient on the number line.
    fn quotient(total: i128, by: Halving) -> i128 {
        let count = 1 << by.shift;
        let (below, rest) = (total.div_euclid(count), 2 * total.rem_euclid(count));
        if !by.nearest {
            return total / count;
        }
        below + i128::from(rest > count || (rest == count && below % 2 != 0))
    }

    fn check<T>(voxels: [T; 8])
    where
        T: Widen<Wide = Halves<T>> + Into<i128>,
        Halves<T>: From<T> + Add<Output = Halves<T>> + Copy,
    {
        let mut sums = voxels.map(|voxel| (Halves::from(voxel), voxel.into()));
        for shift in 0..=32 {
            // Half of them doubled, half of them mixed.
            let last = sums;
            for (i, sum) in sums.iter_mut().enumerate().filter(|_| shift > 0) {
                let other = last[if i < 4 { i } else { (i + shift as usize) % 8 }];
                *sum = (last[i].0 + other.0, last[i].1 + other.1);
            }
            for nearest in [false, true] {
                let by = Halving { shift, nearest };
                for backend in Backend::all().into_iter().filter(|backend| backend.has_vectors()) {
                    let mut out = [T::default(); 8];
                    backend.run(Narrow::<T> { sums: &sums.map(|sum| sum.0), by, out: &mut out });
                    let wanted = sums.map(|sum| quotient(sum.1, by));
                    assert_eq!(out.map(Into::into), wanted, "{backend:?} {by:?}");
                }
            }
        }
    }

    #[test]
    fn sums_of_up_to_two_to_the_32_are_divided_exactly() {
        check([u64::MAX, 0, 1, u64::MAX - 1, u64::MAX / 3, 1 << 32, 0xffff_ffff, 0x8000_0000_8000_0001]);
        check([0, u64::MAX, 0x7fff_ffff_ffff_ffff, 2, u64::MAX, 3, u64::MAX / 7, 5]);
        check([i64::MIN, i64::MAX, -1, 1, i64::MIN + 1, i64::MAX / 3, -0x1_0000_0000, -0xffff_ffff]);
        // Sums above zero whose high halves are below it.
        check([-1i64, 2, 1, -2, -1, 2, -3, 7]);
        check([0, i64::MIN, -2, i64::MIN / 7, i64::MIN, -3, i64::MAX, 1 - (1 << 32)]);
    }
}
