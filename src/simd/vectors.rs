//! Loops over rows of voxels, vector by vector, whatever the vectors are: what an instruction set has to say is in the traits, and
//! its folder implements them.
//!
//! Each loop says how many of its results are done; what is left of a row behind the last full vector goes to the scalar
//! definition.

mod columns;
mod finish;
mod folds;
mod modes;
mod rows;

pub use columns::{byte_cells, cells_of_sums, wide_cells};
pub use finish::{finish_sparse, finish_sums, finish_two_rows};
pub use folds::{sums, wider_sums};
pub use modes::{compare, count_rows, find, modes, tell_apart};
pub use rows::next;
use rows::{Out, Padded};

use super::lines::Line;
use super::views::{Row, Voxel};
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
    /// Past the caches; `at` is aligned to 16 bytes, because that is as far as numpy aligns its arrays.
    unsafe fn stream<T>(self, at: *mut T);
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
        let mut words = [0; 8];
        mixed[0].xor(mixed[1]).xor(mixed[2].xor(mixed[3])).store(words.as_mut_ptr());
        (words.into_iter().fold(0, |mixed, word| mixed ^ word), full)
    }
}

/// The length of the lines, which is the same.
#[inline(always)]
fn length<T>(lines: &[Line<'_, T>]) -> usize {
    lines.iter().map(|line| line.voxels.len()).min().unwrap_or(0)
}

/// Calls `$walk` for the number of lines, [`super::FOLDED`] at most.
macro_rules! side_by_side {
    ($lines:ident, $walk:ident::<$($p:tt),*>($($arg:expr),*)) => {
        match *$lines {
            [a] => $walk::<$($p,)* 1>(&[a], $($arg),*),
            [a, b] => $walk::<$($p,)* 2>(&[a, b], $($arg),*),
            _ => 0,
        }
    };
}

/// The sums of the vector of cells at `i`, twice as wide as voxels.
///
/// # Safety
/// Needs the instructions; `FX` vectors from `FX i` on are within the lines.
#[inline(always)]
unsafe fn cells<P: Pairs, const FX: usize, const COUNT: bool, const ROWS: usize>(
    lines: &[Line<'_, P::Voxel>; ROWS],
    i: usize,
) -> (VectorOf<P>, VectorOf<P>) {
    const { assert!((FX == 1 || FX == 2) && (ROWS == 1 || ROWS == 2 || ROWS == 4)) };
    const { assert!(size_of::<P::Wide>() == 2 * size_of::<P::Voxel>()) };
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    lines.iter().for_each(|line| line.announce(FX * i, FX * VectorOf::<P>::BYTES));
    // SAFETY: the caller's promise.
    unsafe {
        // Pairs of lines first: sums of floats depend on the order, which is the same everywhere.
        let (mut low, mut high) = pair_of::<P, FX, COUNT>(&lines[..ROWS.min(2)], FX * i, lanes);
        if ROWS == 4 {
            let (a, b) = pair_of::<P, FX, COUNT>(&lines[2..], FX * i, lanes);
            (low, high) = (P::Sums::plus(low, a), P::Sums::plus(high, b));
        }
        (low, high)
    }
}

/// # Safety
/// Needs the instructions; `FX` vectors from voxel `at` on are within the lines, of which there are one or two.
#[inline(always)]
unsafe fn pair_of<P: Pairs, const FX: usize, const COUNT: bool>(
    lines: &[Line<'_, P::Voxel>],
    at: usize,
    lanes: usize,
) -> (VectorOf<P>, VectorOf<P>) {
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = cells_of::<P, FX, COUNT>(lines[0].voxels.as_ptr().add(at), lanes);
        let Some(second) = lines.get(1) else { return (low, high) };
        let (a, b) = cells_of::<P, FX, COUNT>(second.voxels.as_ptr().add(at), lanes);
        (P::Sums::plus(low, a), P::Sums::plus(high, b))
    }
}

/// # Safety
/// Needs the instructions; `FX` vectors at `from` may be read.
#[inline(always)]
unsafe fn cells_of<P: Pairs, const FX: usize, const COUNT: bool>(
    from: *const P::Voxel,
    lanes: usize,
) -> (VectorOf<P>, VectorOf<P>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut a = VectorOf::<P>::load(from);
        if COUNT {
            a = P::occupied(a);
        }
        if FX == 1 {
            return P::widen(a);
        }
        let mut b = VectorOf::<P>::load(from.add(lanes));
        if COUNT {
            b = P::occupied(b);
        }
        (P::pairs(a), P::pairs(b))
    }
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

/// Sums of neighbouring sums, set or added.
///
/// # Safety
/// Needs the instructions; `A` is the type of the sums.
#[inline(always)]
pub unsafe fn adjacent_sums<S: Sums, A, const ADD: bool>(lines: &[Line<'_, A>], sums: &mut [A]) -> usize {
    // SAFETY: the caller has the instructions.
    unsafe { side_by_side!(lines, adjacent_of::<S, A, ADD>(sums)) }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn adjacent_of<S: Sums, A, const ADD: bool, const ROWS: usize>(
    lines: &[Line<'_, A>; ROWS],
    sums: &mut [A],
) -> usize {
    const { assert!(S::V::BYTES.is_multiple_of(size_of::<A>())) };
    let lanes = S::V::BYTES / size_of::<A>();
    let full = sums.len().min(length(lines) / 2) / lanes * lanes;
    for i in (0..full).step_by(lanes) {
        lines.iter().for_each(|line| line.announce(2 * i, 2 * S::V::BYTES));
        // SAFETY: 2 i + 2 lanes <= line.len() and i + lanes <= sums.len(), by `full`.
        unsafe {
            let from = lines[0].voxels.as_ptr().add(2 * i);
            let (mut a, mut b) = (S::V::load(from), S::V::load(from.add(lanes)));
            for line in &lines[1..] {
                let from = line.voxels.as_ptr().add(2 * i);
                (a, b) = (S::plus(a, S::V::load(from)), S::plus(b, S::V::load(from.add(lanes))));
            }
            set_or_add::<S, _, ADD>(sums.as_mut_ptr().add(i), S::adjacent(a, b));
        }
    }
    full
}

/// Sums to voxels half as wide.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn narrow<P: Pairs>(sums: &[P::Wide], by: Halving, out: Row<'_, P::Voxel>) -> usize {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let full = sums.len().min(out.voxels.len()) / lanes * lanes;
    let out = Out::<_, false>::new(out, full);
    for i in (0..full).step_by(lanes) {
        // SAFETY: i + lanes <= sums.len() and out.len(), by `full`.
        unsafe {
            let at = sums.as_ptr().add(i);
            out.put(i, P::narrow(VectorOf::<P>::load(at), VectorOf::<P>::load(at.add(lanes / 2)), by));
        }
    }
    full
}

/// Asks for the same once more: requests that find the processor's list of them full are dropped, and a moment later there is room.
#[inline(always)]
fn again<T>(lines: &[Line<'_, T>], i: usize, bytes: usize) {
    lines.iter().for_each(|line| line.announce(i, bytes));
}

/// # Safety
/// Needs the instructions; a vector at `a` and one at `b` may be read.
#[inline(always)]
unsafe fn column<P: Pairs>(a: *const P::Wide, b: *const P::Wide) -> VectorOf<P> {
    // SAFETY: the caller's promise.
    unsafe { P::Sums::plus(VectorOf::<P>::load(a), VectorOf::<P>::load(b)) }
}

/// Pairs of sums of two lines: folded, kept and narrowed.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn finish_adjacent<P: Pairs>(
    lines: &[Line<'_, P::Wide>; 2],
    sums: &mut [P::Wide],
    by: Halving,
    out: Row<'_, P::Voxel>,
) -> usize {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(length(lines) / 2).min(out.voxels.len());
    let out = Out::<_, false>::new(out, len / lanes * lanes);
    let (mut i, mut done) = (0, 0);
    while let Some(at) = next(i, lanes, len) {
        // SAFETY: at + lanes <= len, and 2 len sums are in each line, len in the sums and in the row.
        unsafe {
            let half = lanes / 2;
            let [a, b] = [lines[0].voxels.as_ptr().add(2 * at), lines[1].voxels.as_ptr().add(2 * at)];
            let low = P::Sums::adjacent(column::<P>(a, b), column::<P>(a.add(half), b.add(half)));
            let high = P::Sums::adjacent(
                column::<P>(a.add(lanes), b.add(lanes)),
                column::<P>(a.add(lanes + half), b.add(lanes + half)),
            );
            let to = sums.as_mut_ptr().add(at);
            low.store(to);
            high.store(to.add(half));
            out.put(at, P::narrow(low, high, by));
        }
        (i, done) = (i + lanes, len);
    }
    done
}

/// Minima or maxima of cells of `FX` (1 or 2) columns, set or folded onto what is there, and written to `out` if it is given.
///
/// # Safety
/// Needs the instructions; `T` and `A` hold what `O` compares.
#[inline(always)]
pub unsafe fn extrema<
    O: Order,
    T: Voxel,
    A: Voxel,
    const FX: usize,
    const ADD: bool,
    const MAX: bool,
    const ROWS: usize,
>(
    lines: &[Line<'_, T>; ROWS],
    ends: &mut [A],
    out: Option<Row<'_, T>>,
    keep: bool,
) -> usize {
    let lanes = OrderedOf::<O>::BYTES / size_of::<T>();
    let len = ends.len().min(length(lines) / FX);
    let (ends, out) = (&mut ends[..len], out.map(|row| Row { voxels: &mut row.voxels[..len], ..row }));
    // SAFETY: the caller has the instructions; lines hold `FX` numbers for each end, or are padded to `FX` vectors.
    unsafe {
        if len < lanes {
            let mut room = Padded::new();
            let lines = &room.fill::<OrderedOf<O>, T, FX>(lines);
            extrema_of::<O, T, A, FX, ADD, MAX, ROWS, true>(lines, ends, out, keep);
        } else {
            extrema_of::<O, T, A, FX, ADD, MAX, ROWS, false>(lines, ends, out, keep);
        }
    }
    len
}

/// As [`extrema`], of rows that are `SHORT`, less than a vector, or not.
///
/// # Safety
/// Needs the instructions. Lines hold `FX` numbers for each of the ends, or if these are short, for a vector of them; and `out` is as long.
#[inline(always)]
unsafe fn extrema_of<
    O: Order,
    T: Voxel,
    A: Voxel,
    const FX: usize,
    const ADD: bool,
    const MAX: bool,
    const ROWS: usize,
    const SHORT: bool,
>(
    lines: &[Line<'_, T>; ROWS],
    ends: &mut [A],
    out: Option<Row<'_, T>>,
    keep: bool,
) {
    const { assert!((FX == 1 || FX == 2) && ROWS >= 1) };
    const { assert!(size_of::<T>() == size_of::<<O::Lanes as Lanes>::Label>() && size_of::<T>() == size_of::<A>()) };
    let lanes = OrderedOf::<O>::BYTES / size_of::<T>();
    let len = ends.len();
    let full = len / lanes * lanes;
    let out = out.map(|row| Out::<_, SHORT>::new(row, full));
    let ends = Out::<_, SHORT>::new(Row::new(ends), full);
    let mut next_i = 0;
    while let Some(i) = next(next_i, lanes, if SHORT { lanes } else { len }) {
        next_i += lanes;
        lines.iter().for_each(|line| line.announce(FX * i, FX * OrderedOf::<O>::BYTES));
        // SAFETY: the caller's promise.
        unsafe {
            let mut end = ends_of::<O, T, FX, MAX>(lines[0].voxels.as_ptr().add(FX * i), lanes);
            for line in &lines[1..] {
                end = pick::<O, MAX>(end, ends_of::<O, T, FX, MAX>(line.voxels.as_ptr().add(FX * i), lanes));
            }
            if ADD {
                end = pick::<O, MAX>(ends.get(i), end);
            }
            again(lines, FX * i, FX * OrderedOf::<O>::BYTES);
            if keep {
                ends.put(i, end);
            }
            if let Some(out) = &out {
                out.put(i, end);
            }
        }
    }
}

type OrderedOf<O> = <<O as Order>::Lanes as Lanes>::V;

/// # Safety
/// Needs the instructions; `FX` vectors at `from` may be read.
#[inline(always)]
unsafe fn ends_of<O: Order, T, const FX: usize, const MAX: bool>(from: *const T, lanes: usize) -> OrderedOf<O> {
    // SAFETY: the caller's promise.
    unsafe {
        let a = OrderedOf::<O>::load(from);
        if FX == 1 {
            return a;
        }
        let (even, odd) = O::Lanes::part(a, OrderedOf::<O>::load(from.add(lanes)));
        pick::<O, MAX>(even, odd)
    }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn pick<O: Order, const MAX: bool>(a: OrderedOf<O>, b: OrderedOf<O>) -> OrderedOf<O> {
    // SAFETY: the caller has the instructions.
    unsafe { if MAX { O::greatest(a, b) } else { O::least(a, b) } }
}
