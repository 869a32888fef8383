//! Traits of vectors implemented from tables: a line of an instruction set's table says what its types of voxels differ in.

/// [`Sums`](super::Sums): the sum of two vectors, and that of neighbours.
macro_rules! sums {
    ($v:ty; $($name:ident, |$a:ident, $b:ident| $plus:expr, $adjacent:expr;)*) => {$(
        pub struct $name;

        impl Sums for $name {
            type V = $v;
            #[inline(always)]
            unsafe fn plus($a: $v, $b: $v) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $plus }
            }
            #[inline(always)]
            unsafe fn adjacent($a: $v, $b: $v) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $adjacent }
            }
        }
    )*};
}

/// [`Pairs`](super::Pairs), with the two halves of a vector: the sums of neighbours, 1 where there is a voxel, the voxels of a half twice as wide, and sums as voxels.
macro_rules! pairs {
    ($v:ty, |$all:ident| $halves:expr; $($name:ident, $voxel:ty, $wide:ty, $sums:ident, |$one:ident| $pairs:expr, $occupied:expr, $widen:ident,
        |$low:ident, $high:ident, $by:ident| $narrow:expr $(, $quotients:ident)?;)*) => {$(
        pub struct $name;

        impl Pairs for $name {
            type Sums = $sums;
            type Voxel = $voxel;
            type Wide = $wide;
            #[inline(always)]
            unsafe fn pairs($one: $v) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $pairs }
            }
            #[inline(always)]
            unsafe fn occupied($one: $v) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $occupied }
            }
            #[inline(always)]
            unsafe fn widen($all: $v) -> ($v, $v) {
                // SAFETY: the caller has the instructions.
                unsafe {
                    let (low, high) = $halves;
                    ($widen(low), $widen(high))
                }
            }
            #[inline(always)]
            unsafe fn narrow($low: $v, $high: $v, $by: Halving) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $narrow }
            }
            const DIVIDES: bool = {
                let named: &[&str] = &[$(stringify!($quotients))?];
                !named.is_empty()
            };
            #[inline(always)]
            unsafe fn quotients(low: $v, high: $v, few: $v, more: $v) -> $v {
                // SAFETY: the caller has the instructions.
                $(return unsafe { $quotients(low, high, few, more) };)?
                #[allow(unreachable_code)]
                {
                    let _ = (low, high, few, more);
                    unreachable!("not divided in vectors")
                }
            }
        }
    )*};
}

/// Divisions of sums by a power of two, with the instructions to enable and the bits that two vectors share.
macro_rules! halvings {
    ($features:literal, $v:ty, $and:ident; $($name:ident, $sign:ident, $shift:ident, $add:ident, $set:ident as $t:ty;)*) => {$(
        /// Sums by a power of two.
        #[inline]
        #[target_feature(enable = $features)]
        fn $name(v: $v, by: Halving) -> $v {
            let shift = _mm_cvtsi32_si128(by.shift as i32);
            if halvings!(only $sign by) {
                return $shift(v, shift);
            }
            let (part, mask) = halvings!($sign by, $t);
            let more = $and($shift(v, _mm_cvtsi32_si128(part as i32)), $set(mask as $t));
            $shift($add($add(v, $set(by.bias() as $t)), more), shift)
        }
    )*};
    // Whether the shift is all there is to it.
    (only signed $by:ident) => {
        false
    };
    (only unsigned $by:ident) => {
        !$by.nearest
    };
    (signed $by:ident, $t:ty) => {
        $by.signed(<$t>::BITS)
    };
    (unsigned $by:ident, $t:ty) => {
        $by.unsigned()
    };
}

/// [`Order`](super::Order): the lesser and the greater.
macro_rules! orders {
    ($v:ty; $($name:ident, $lanes:ident, |$a:ident, $b:ident| $least:expr, $greatest:expr;)*) => {$(
        pub struct $name;

        impl Order for $name {
            type Lanes = $lanes;
            #[inline(always)]
            unsafe fn least($a: $v, $b: $v) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $least }
            }
            #[inline(always)]
            unsafe fn greatest($a: $v, $b: $v) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $greatest }
            }
        }
    )*};
}

pub(crate) use {halvings, orders, pairs, sums};
