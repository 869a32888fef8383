//! Instruction sets, and the only unsafe code below the binding.
//!
//! A [`Backend`] is a value: tests and benches loop over [`Backend::all`]. Most loops are written once, as a
//! [`Kernel`], and compiled for every backend; those where hand-written code wins are methods of [`Isa`] with a scalar
//! definition ([`scalar`]) and a twin: a loop over vectors ([`vectors`]) on what an instruction set ([`avx2`], [`avx512`]) says a
//! vector is. The scalar one is the meaning, the twins must give the same bits.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod halves;
pub mod labels;
pub mod lines;
pub mod scalar;
mod seam;
mod stage;
pub mod tiles;
pub mod two_floats;
#[cfg(target_arch = "x86_64")]
mod vectors;
pub mod views;

use halves::Halves;
pub use labels::{Cells, Found, LED, Label, Leaders, MergeLeaders, PACKED, PIECE, Rule, Told, rows_of};
use lines::{CellLines, Fours, Line};
use std::ops::Add;
use std::sync::OnceLock;
use two_floats::TwoFloats;
use views::{Cut, MemoryLine, PanelMut, Rise, Row, Voxel};

/// A loop over voxels, written once and compiled for every instruction set.
///
/// Implementations mark `run` as `#[inline(always)]`: it has to become part of the function that enables the
/// instructions.
pub trait Kernel {
    /// Runs the loop with the instructions of `isa`.
    fn run<I: Isa>(self, isa: I);
}

/// A sum whose neighbours along a row are added up.
pub trait Adjacent: Voxel + Add<Output = Self> {
    /// Vectors of these sums.
    #[cfg(target_arch = "x86_64")]
    type Avx2: vectors::Sums;
    /// Vectors of these sums.
    #[cfg(target_arch = "x86_64")]
    type Avx512: vectors::Sums;
}

/// A voxel whose pairs are summed in a type twice as wide.
pub trait Widen: Voxel + PartialEq {
    /// Vectors of these voxels.
    #[cfg(target_arch = "x86_64")]
    type Avx2: vectors::Pairs<Voxel = Self, Wide = Self::Wide, Sums: vectors::Sums<V = std::arch::x86_64::__m256i>>;
    /// Vectors of these voxels.
    #[cfg(target_arch = "x86_64")]
    type Avx512: vectors::Pairs<Voxel = Self, Wide = Self::Wide, Sums: vectors::Sums<V = std::arch::x86_64::__m512i>>;
    /// What a pair is summed in.
    type Wide: Adjacent + From<Self> + From<u8>;
}

/// A number that minima and maxima are taken of.
pub trait Comparable: Voxel {
    /// Vectors of these numbers.
    #[cfg(target_arch = "x86_64")]
    type Avx2: vectors::Order;
    /// Vectors of these numbers.
    #[cfg(target_arch = "x86_64")]
    type Avx512: vectors::Order;
}

macro_rules! numbers {
    ($($sum:ty: $lanes:ident),*; $($t:ty => $wide:ty: $pairs:ident),*; $($n:ty: $order:ident),*) => {
        $(
            impl Adjacent for $sum {
                #[cfg(target_arch = "x86_64")]
                type Avx2 = avx2::$lanes;
                #[cfg(target_arch = "x86_64")]
                type Avx512 = avx512::$lanes;
            }
        )*
        $(
            impl Widen for $t {
                #[cfg(target_arch = "x86_64")]
                type Avx2 = avx2::$pairs;
                #[cfg(target_arch = "x86_64")]
                type Avx512 = avx512::$pairs;
                type Wide = $wide;
            }
        )*
        $(
            impl Comparable for $n {
                #[cfg(target_arch = "x86_64")]
                type Avx2 = avx2::$order;
                #[cfg(target_arch = "x86_64")]
                type Avx512 = avx512::$order;
            }
        )*
    };
}
numbers! {
    u16: WordSums, i16: WordSums, u32: DoubleSums, i32: DoubleSums, u64: QuadSums, i64: QuadSums, f64: FloatSums,
    Halves<u64>: HalvesSums, Halves<i64>: HalvesSums, TwoFloats: TwoFloatsSums;
    u8 => u16: U8Pairs, i8 => i16: I8Pairs, u16 => u32: U16Pairs, i16 => i32: I16Pairs, u32 => u64: U32Pairs,
    i32 => i64: I32Pairs, u64 => Halves<u64>: U64Pairs, i64 => Halves<i64>: I64Pairs, f32 => f64: F32Pairs,
    f64 => TwoFloats: F64Pairs;
    u8: U8Order, i8: I8Order, u16: U16Order, i16: I16Order, u32: U32Order, i32: I32Order, u64: U64Order, i64: I64Order,
    f32: F32Order, f64: F64Order
}

/// A division by a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halving {
    /// Its logarithm.
    pub shift: u32,
    /// Integers are rounded to the nearest, and from the middle to the even one; otherwise toward zero.
    pub nearest: bool,
}

// As `(sum + bias + (sum >> part & mask)) >> shift`, where shifts go down: the mask takes one unit if the quotient below is odd, so that the
// middle goes up to the even one; or for going up toward zero, nearly a unit if the sum is negative.
impl Halving {
    /// One less than half a unit, for rounding to the nearest.
    #[inline(always)]
    pub fn bias(self) -> u128 {
        if self.nearest && self.shift > 0 { (1 << (self.shift - 1)) - 1 } else { 0 }
    }

    /// Part and mask for signed sums of so many bits.
    #[inline(always)]
    pub fn signed(self, bits: u32) -> (u32, u128) {
        if self.nearest { self.unsigned() } else { (bits - 1, (1 << self.shift) - 1) }
    }

    /// Part and mask for unsigned sums.
    #[inline(always)]
    pub fn unsigned(self) -> (u32, u128) {
        (self.shift, u128::from(self.nearest && self.shift > 0))
    }
}

/// Lines of whole cells that are read side by side: one, two or so many.
pub const SIDE: usize = 4;
/// Voxels of a row that fill a vector, whatever the backend.
pub const FULL: usize = 64;
/// Lines that are folded side by side into sums, at most.
pub const FOLDED: usize = 12;

/// The kernels that are worth writing by hand. Each defaults to the scalar definition; those that say how far vectors went, to
/// nothing at all: their callers do the rest by the others.
pub trait Isa: Copy {
    /// Whether it has vectors of its own, so that there are loops that finish whole cells.
    const VECTORS: bool = false;

    /// `sums[i]` becomes (with `ADD`: grows by) the sum of the `FX` (1 or 2) voxels from `FX i` on of each line, or with `COUNT`
    /// how many of them are not 0. Lines are `FX` times as long as `sums`; there are up to [`FOLDED`].
    #[inline(always)]
    fn sums<T: Widen, const FX: usize, const ADD: bool, const COUNT: bool>(
        self,
        lines: &[Line<'_, T>],
        sums: &mut [T::Wide],
    ) {
        scalar::sums::<T, FX, ADD, COUNT>(lines, sums, 0);
    }

    /// As [`Isa::sums`], twice as wide.
    #[inline(always)]
    fn wider_sums<T: Widen<Wide: Widen>, const FX: usize, const ADD: bool, const COUNT: bool>(
        self,
        lines: &[Line<'_, T>],
        sums: &mut [<T::Wide as Widen>::Wide],
    ) {
        scalar::wider_sums::<T, FX, ADD, COUNT>(lines, sums, 0);
    }

    /// As [`Isa::sums`], of cells of `fx` sums of one line, as far as vectors go: how many.
    #[inline(always)]
    fn cells_of_sums<A: Adjacent, const ADD: bool>(self, _line: Line<'_, A>, _fx: usize, _sums: &mut [A]) -> usize {
        0
    }

    /// As [`Isa::cells_of_sums`], of voxels half as wide.
    #[inline(always)]
    fn wide_cells<T: Widen, const ADD: bool>(self, _line: Line<'_, T>, _fx: usize, _sums: &mut [T::Wide]) -> usize {
        0
    }

    /// As [`Isa::cells_of_sums`], of up to eight bytes.
    #[inline(always)]
    fn byte_cells<const ADD: bool>(self, _line: Line<'_, u8>, _fx: usize, _sums: &mut [u16]) -> usize {
        0
    }

    /// As [`Isa::sums`] of pairs, of sums.
    #[inline(always)]
    fn adjacent_sums<A: Adjacent, const ADD: bool>(self, lines: &[Line<'_, A>], sums: &mut [A]) {
        scalar::adjacent_sums::<A, ADD>(lines, sums, 0);
    }

    /// `out[i] = sums[i]` divided by a power of two, which fits, as far as vectors go: how many.
    #[inline(always)]
    fn narrow<T: Widen>(self, _sums: &[T::Wide], _by: Halving, _out: Row<'_, T>) -> usize {
        0
    }

    /// Sums of cells of `N` lines (at most [`SIDE`]) as [`Isa::sums`] sets them, `narrow`ed at once, or with `SPARSE` divided by counts of voxels that are not 0
    /// (0 where there are none): those of a [`Cut`] of the panels; how many columns are done, which is all where there are vectors. Sums and counts without columns
    /// are not kept.
    #[inline(always)]
    fn finish_cells<T: Widen, const FX: usize, const N: usize, const SPARSE: bool>(
        self,
        _cells: CellLines<'_, T, N>,
        _cut: Cut,
        _sums: &mut PanelMut<'_, T::Wide>,
        _counts: &mut PanelMut<'_, T::Wide>,
        _by: Halving,
        _out: &mut PanelMut<'_, T>,
    ) -> usize {
        0
    }

    /// As [`Isa::finish_cells`], of cells of `FX` (1 or 2) columns of sums of two rows; the sums are kept, set or added, and `out` is written from row `first` on: how
    /// many columns are done, which is all, or none if rows are shorter than a vector.
    #[inline(always)]
    fn finish_up<T: Widen, const FX: usize>(
        self,
        _rise: &mut Rise<'_, T::Wide>,
        _add: bool,
        _by: Halving,
        _out: Option<&mut PanelMut<'_, T>>,
        _first: usize,
    ) -> usize {
        0
    }

    /// Sums of pairs of rows of cells of `FX` columns, `narrow`ed or with `SPARSE` divided by counts and written to `out`, and the sums and counts of cells
    /// of two such rows and `FX` columns, set or added, and if not `SPARSE`, `narrow`ed to `above` if that is given: a [`Cut`] of the panel above, all of it where rows have
    /// [`FULL`] cells and there are vectors; how many columns.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn finish_two<T: Widen, const FX: usize, const PANELS: usize, const SPARSE: bool>(
        self,
        _cells: Fours<'_, T, PANELS>,
        _cut: Cut,
        _add: bool,
        _sums: &mut PanelMut<'_, T::Wide>,
        _counts: &mut PanelMut<'_, T::Wide>,
        _by: [Halving; 2],
        _out: &mut PanelMut<'_, T>,
        _above: Option<&mut PanelMut<'_, T>>,
    ) -> usize {
        0
    }

    /// `ends[i]` becomes (with `ADD`: or stays) the minimum (`MAX`: maximum) of `FX` (1 or 2) numbers from `FX i` on of each line, as
    /// far as vectors go: how many. That is also written to `out`, if it is given, and there may be no ends then. `T`
    /// and `A` hold a `K` each.
    #[inline(always)]
    fn extrema<K: Comparable, T: Voxel, A: Voxel, const FX: usize, const ADD: bool, const MAX: bool, const N: usize>(
        self,
        _lines: &[Line<'_, T>; N],
        _ends: &mut [A],
        _out: Option<Row<'_, T>>,
    ) -> usize {
        0
    }

    /// `out[i] = sums[i] / max(counts[i], 1)`, which fits a byte.
    #[inline(always)]
    fn divide_u16(self, sums: &[u16], counts: &[u16], out: &mut [u8]) {
        scalar::divide(sums, counts, out);
    }

    /// As [`Isa::divide_u16`], of wider ones.
    #[inline(always)]
    fn divide_u32(self, sums: &[u32], counts: &[u32], out: &mut [u16]) {
        scalar::divide(sums, counts, out);
    }

    /// `out[i] = sums[i] / by`, which fits a byte, where `by` is below 2^14.
    #[inline(always)]
    fn divide_all_u16(self, sums: &[u16], by: u16, out: &mut [u8]) {
        scalar::divide_all(sums, by, out);
    }

    /// As [`Isa::divide_all_u16`], of wider ones, where `by` is below 2^6.
    #[inline(always)]
    fn divide_all_u32(self, sums: &[u32], by: u32, out: &mut [u16]) {
        scalar::divide_all(sums, by, out);
    }

    /// `row[i]` becomes the voxel at byte `STEP i` voxels of the line (`STEP` is 2, 3 or 4), as far as vectors go: how many.
    #[inline(always)]
    fn every<T: Voxel, const STEP: usize>(self, _line: Line<'_, u8>, _row: &mut [T]) -> usize {
        0
    }

    /// The exclusive or of all words; something is written to every line of `out`, with vectors meanwhile and past the caches.
    #[inline(always)]
    fn mix(self, words: Line<'_, u64>, out: &mut [MemoryLine]) -> u64 {
        scalar::mix(words.voxels, out)
    }

    /// The labels of the first `n` voxels, unless they are too many: whether they are not.
    #[inline(always)]
    fn tell_apart<T: Label>(self, cell: &[T; PIECE], n: usize, found: &mut Found<T>) -> bool {
        scalar::tell_apart(&cell[..n], found)
    }

    /// For each label a bit for every one of the first `n` (at most [`PIECE`]) voxels: set where it is that one. What is behind them is read, but not told.
    #[inline(always)]
    fn find<T: Label, const N: usize>(self, voxels: &[T], n: usize, labels: &[T; N]) -> [u64; N] {
        scalar::find(&voxels[..n], labels)
    }

    /// How often each label is there in the `width` columns of rows from `first` on, if that is a matter of whole vectors.
    #[inline(always)]
    fn count_rows<T: Label, const N: usize>(
        self,
        _rows: &[&[T]],
        _first: usize,
        _width: usize,
        _labels: &[T; N],
    ) -> Option<[u64; N]> {
        None
    }

    /// A bit for every column, 64 to a word: set in `differs` where the lines do, and in `changes` where the first line's label
    /// does before the next column.
    #[inline(always)]
    fn compare<T: Label>(self, lines: &[Line<'_, T>], differs: &mut [u64], changes: &mut [u64]) {
        scalar::compare(lines, differs, changes);
    }

    /// The mode of every cell.
    #[inline(always)]
    fn modes<T: Label>(self, cells: Cells<'_, T>, out: Row<'_, T>, told: Told<'_, T>) {
        scalar::modes(cells, out.voxels, told, 0);
    }

    /// Merges leaders, of children with `OF` each into `K`; only with vectors.
    #[inline(always)]
    fn merge_leaders<T: Label, const OF: usize, const K: usize>(self, _merge: MergeLeaders<'_, T>) {}
}

/// The instruction set of the compiler's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scalar;

impl Isa for Scalar {}

/// The instructions a call computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Backend {
    /// Those this processor has, the best last.
    pub fn all() -> Vec<Backend> {
        #[allow(unused_mut)]
        let mut all = vec![Backend(Set::Scalar(Scalar))];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(avx2::Avx2::detect().map(|token| Backend(Set::Avx2(token))));
            all.extend(avx512::Avx512::detect().map(|token| Backend(Set::Avx512(token))));
        }
        all
    }

    /// [`Isa::VECTORS`].
    pub fn has_vectors(self) -> bool {
        !matches!(self.0, Set::Scalar(_))
    }

    /// The instructions that every processor has, for a few voxels inside of a kernel.
    #[inline(always)]
    pub fn plain() -> impl Isa {
        Scalar
    }

    /// The name, as in `TINYBRAIN_SIMD`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
        }
    }

    /// The backend in use: the best, unless the environment variable `TINYBRAIN_SIMD` names another. Read once.
    ///
    /// # Errors
    /// What the variable holds, if no backend of this processor has that name.
    pub fn current() -> Result<Backend, &'static str> {
        static CURRENT: OnceLock<Result<Backend, String>> = OnceLock::new();
        let choose = || match std::env::var("TINYBRAIN_SIMD") {
            Ok(name) if !name.is_empty() => Backend::all().into_iter().find(|b| b.name() == name).ok_or(name),
            _ => Ok(*Backend::all().last().expect("scalar is always there")),
        };
        CURRENT.get_or_init(choose).as_ref().copied().map_err(String::as_str)
    }

    /// Runs `kernel` with these instructions.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) {
        match self.0 {
            Set::Scalar(isa) => with_scalar(kernel, isa),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(isa) => isa.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(isa) => isa.run(kernel),
        }
    }
}

/// As far away from the caller as kernels of other instruction sets: what the loops of a kernel keep in registers would
/// be made ready for it in the caller's loop, whichever backend is in use.
#[inline(never)]
fn with_scalar<K: Kernel>(kernel: K, isa: Scalar) {
    kernel.run(isa);
}
