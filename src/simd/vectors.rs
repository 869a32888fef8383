//! Loops over rows of voxels, vector by vector, whatever the vectors are: what an instruction set has to say is in the traits, and
//! its folder implements them.
//!
//! Each loop says how many of its results are done; what is left of a row behind the last full vector goes to the scalar
//! definition.

mod columns;
mod extrema;
mod finish;
mod folds;
mod leaders;
mod look;
mod means;
mod modes;
mod rows;
mod set;
mod steps;
pub mod tables;

pub use columns::{byte_cells, cells_of_sums, wide_cells};
pub use extrema::extrema;
pub use finish::{finish_cells, finish_two_rows};
pub use folds::{adjacent_sums, sums, wider_sums};
pub use leaders::merge as merge_leaders;
pub use look::{compare, count_rows, find, tell_apart};
pub use means::{finish_two, finish_up, narrow};
pub use modes::modes;
pub use rows::next;
use rows::{Out, Padded};
pub use set::VectorSet;
pub use steps::every;

use super::lines::{Line, announce};
use super::views::{MemoryLine, Voxel, WORDS};
use super::{Halving, Label};

/// A vector register.
///
/// # Safety
/// All methods need the instructions of the set, here and in all traits below.
pub trait Vector: Copy {
    const BYTES: usize;
    unsafe fn zero() -> Self;
    unsafe fn ones() -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    /// The bits of each four bytes, `N` places down.
    unsafe fn down<const N: u32>(self) -> Self;
    /// The bits of `self` where those of the mask are set, else those of `other`; the bits of a byte of the mask are equal.
    unsafe fn select(self, mask: Self, other: Self) -> Self;
    /// Where each byte of a vector is taken from.
    type Order: Copy;
    /// Byte `i` is taken from byte `places[i]`.
    unsafe fn order(places: &[u8; 64]) -> Self::Order;
    unsafe fn reorder(self, order: Self::Order) -> Self;
    unsafe fn load<T>(at: *const T) -> Self;
    unsafe fn store<T>(self, at: *mut T);
    /// The first bytes, at most a vector, and zeros behind them.
    unsafe fn load_few<T>(at: *const T, bytes: usize) -> Self;
    /// The first bytes, at most a vector.
    unsafe fn store_few<T>(self, at: *mut T, bytes: usize);
    /// Past the caches; `at` is aligned to a vector.
    unsafe fn stream<T>(self, at: *mut T);
    /// As [`Vector::stream`], or [`Vector::store`].
    #[inline(always)]
    unsafe fn put<T>(self, at: *mut T, past: bool) {
        // SAFETY: the caller's promise.
        unsafe { if past { self.stream(at) } else { self.store(at) } }
    }
    /// As [`Vector::store`], of the first half.
    unsafe fn store_half<T>(self, at: *mut T);
    /// By how many bytes vectors can be shifted: a multiple of these. Numpy aligns its arrays to 16.
    const STEP: usize;
    /// How far.
    type Shift: Copy;
    unsafe fn shift(bytes: usize) -> Self::Shift;
    /// The last bytes of `before`, as many as it is shifted by, and behind them the first of `self`.
    unsafe fn behind(self, before: Self, shift: Self::Shift) -> Self;
}

/// A vector of sums.
pub trait Sums {
    type V: Vector;
    unsafe fn plus(a: Self::V, b: Self::V) -> Self::V;
    /// Sums of neighbours.
    unsafe fn adjacent(a: Self::V, b: Self::V) -> Self::V;
}

/// A vector of cells of up to eight bytes.
pub trait Octets: Vector {
    /// Where they are, of a number of bytes each.
    type Octets: Copy;
    unsafe fn octets(fx: usize) -> Self::Octets;
    /// How many bytes are read for an eighth as many cells as the vector has bytes.
    fn reads(fx: usize) -> usize;
    /// The sums of so many cells, eight bytes each.
    unsafe fn octet_sums(from: *const u8, octets: Self::Octets) -> Self;
    /// `N` bits up within eight bytes.
    unsafe fn up<const N: u32>(self) -> Self;
    unsafe fn add_words(a: Self, b: Self) -> Self;
}

/// A vector of voxels to be summed in pairs.
pub trait Pairs {
    type Sums: Sums;
    type Voxel: Voxel;
    type Wide: Voxel;
    /// Sums of neighbours, twice as wide.
    unsafe fn pairs(v: VectorOf<Self>) -> VectorOf<Self>;
    /// 1 where a voxel is not background.
    unsafe fn occupied(v: VectorOf<Self>) -> VectorOf<Self>;
    /// The voxels, twice as wide.
    unsafe fn widen(v: VectorOf<Self>) -> (VectorOf<Self>, VectorOf<Self>);
    /// Wide sums by a power of two, as voxels.
    unsafe fn narrow(low: VectorOf<Self>, high: VectorOf<Self>, by: Halving) -> VectorOf<Self>;
    /// Whether there are [`Pairs::quotients`].
    const DIVIDES: bool;
    /// Sums of up to eight voxels, divided by their number, as voxels; 0 where that is 0, and so the sum.
    unsafe fn quotients(
        low: VectorOf<Self>,
        high: VectorOf<Self>,
        few: VectorOf<Self>,
        more: VectorOf<Self>,
    ) -> VectorOf<Self>;
}

type VectorOf<P> = <<P as Pairs>::Sums as Sums>::V;

/// A vector of labels of one width.
pub trait Lanes {
    type Label: Label;
    type V: Vector;
    /// Which of the labels.
    type Mask: Copy;
    /// Whether it pays to look whether all cells of a vector are uniform, as most of real volumes are.
    const LOOKS: bool;
    /// Labels in even and in odd places of the two vectors.
    unsafe fn part(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    unsafe fn equal(a: Self::V, b: Self::V) -> Self::Mask;
    /// a > b, as signed numbers.
    unsafe fn greater(a: Self::V, b: Self::V) -> Self::Mask;
    /// The lesser, as signed numbers.
    unsafe fn lesser(a: Self::V, b: Self::V) -> Self::V;
    /// The greater one.
    unsafe fn larger(a: Self::V, b: Self::V) -> Self::V;
    /// One more where the mask says so.
    unsafe fn count(counts: Self::V, mask: Self::Mask) -> Self::V;
    /// The sums of what are numbers here; where the mask says so, else `a`.
    unsafe fn add(a: Self::V, b: Self::V, mask: Self::Mask) -> Self::V;
    unsafe fn plus(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn minus(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn select(mask: Self::Mask, yes: Self::V, no: Self::V) -> Self::V;
    unsafe fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    unsafe fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// b, but not a.
    unsafe fn and_not(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    unsafe fn all(mask: Self::Mask) -> bool;
    /// A bit for every label, the first one lowest.
    unsafe fn bits(mask: Self::Mask) -> u64;
    /// One label everywhere.
    unsafe fn splat(label: Self::Label) -> Self::V;
}

/// A vector of numbers with an order.
pub trait Order {
    type Lanes: Lanes;
    /// The lesser, or NaN: `a` where a < b or a is NaN, else `b`.
    unsafe fn least(a: <Self::Lanes as Lanes>::V, b: <Self::Lanes as Lanes>::V) -> <Self::Lanes as Lanes>::V;
    /// The greater, or NaN.
    unsafe fn greatest(a: <Self::Lanes as Lanes>::V, b: <Self::Lanes as Lanes>::V) -> <Self::Lanes as Lanes>::V;
}

/// The exclusive or of all words as far as vectors go, and how many that is.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn mix<V: Vector>(words: &[u64]) -> (u64, usize) {
    let lanes = V::BYTES / 8;
    let full = words.len() / (4 * lanes) * (4 * lanes);
    // SAFETY: i + 4 lanes <= words.len(), by `full`.
    unsafe {
        let mut mixed = [V::zero(); 4];
        for i in (0..full).step_by(4 * lanes) {
            let at = words.as_ptr().add(i);
            mixed[0] = mixed[0].xor(V::load(at));
            mixed[1] = mixed[1].xor(V::load(at.add(lanes)));
            mixed[2] = mixed[2].xor(V::load(at.add(2 * lanes)));
            mixed[3] = mixed[3].xor(V::load(at.add(3 * lanes)));
        }
        (folded(mixed[0].xor(mixed[1]).xor(mixed[2].xor(mixed[3]))), full)
    }
}

/// As [`mix`], and writes every line of `out` past the caches, each after the same number of lines of words; what is left of these is for the
/// caller to read.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn mix_and_write<V: Vector>(line: Line<'_, u64>, out: &mut [MemoryLine]) -> (u64, usize) {
    const { assert!(WORDS * 8 / V::BYTES <= 2) };
    let words = line.voxels;
    let (lanes, each) = (V::BYTES / 8, words.len() / WORDS / out.len());
    let full = each * out.len() * WORDS;
    // SAFETY: `each` lines of words for every one of `out`, by `full`; lines are one vector or two.
    unsafe {
        let mut all = V::zero();
        for (k, to) in out.iter_mut().enumerate() {
            let (from, to) = (words.as_ptr().add(k * each * WORDS), to.0.as_mut_ptr());
            announce(&[line], k * each * WORDS, each * size_of::<MemoryLine>());
            let (mut first, mut last) = (V::zero(), V::zero());
            for at in (0..each * WORDS).step_by(WORDS) {
                first = first.xor(V::load(from.add(at)));
                last = last.xor(V::load(from.add(at + WORDS - lanes)));
            }
            first.stream(to);
            if lanes < WORDS {
                last.stream(to.add(lanes));
                all = all.xor(last);
            }
            all = all.xor(first);
        }
        (folded(all), full)
    }
}

/// The exclusive or of the words of a vector.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn folded<V: Vector>(mixed: V) -> u64 {
    let mut words = [0; 8];
    // SAFETY: the caller has the instructions; a vector has up to eight words.
    unsafe { mixed.store(words.as_mut_ptr()) };
    words.into_iter().fold(0, |mixed, word| mixed ^ word)
}

/// The length of the lines, which is the same.
#[inline(always)]
fn length<T>(lines: &[Line<'_, T>]) -> usize {
    lines.iter().map(|line| line.voxels.len()).min().unwrap_or(0)
}

/// # Safety
/// Needs the instructions; a vector at `to` is the caller's to read and write.
#[inline(always)]
unsafe fn set_or_add<S: Sums, A, const ADD: bool>(to: *mut A, sums: S::V) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = if ADD { S::plus(S::V::load(to), sums) } else { sums };
        sums.store(to);
    }
}
