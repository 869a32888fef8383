//! Lines of a cell added up, as many as there are, and cells of three columns and more.
//!
//! The last vector of a row overlaps the one before. It is made first and written last: until then nothing is added to what it
//! is added to.

use super::{Octets, Pairs, Sums, Vector, VectorOf, cells, length, pair_of, set_or_add};
use crate::simd::lines::Line;

/// Where the last vector of a row of `len` is, if it is not one of those that lie one behind the other.
#[inline(always)]
fn ragged(len: usize, lanes: usize) -> Option<usize> {
    (len > lanes && !len.is_multiple_of(lanes)).then(|| len - lanes)
}

/// How many of a row of `len` are done by vectors.
#[inline(always)]
fn done(len: usize, lanes: usize) -> usize {
    if len < lanes { 0 } else { len }
}

/// Calls `$walk` for the number of lines, `0` for more than two.
macro_rules! by_lines {
    ($lines:ident, $walk:ident::<$($p:tt),*>($($arg:expr),*)) => {
        match $lines.len() {
            1 => $walk::<$($p,)* 1>($lines, $($arg),*),
            2 => $walk::<$($p,)* 2>($lines, $($arg),*),
            _ => $walk::<$($p,)* 0>($lines, $($arg),*),
        }
    };
}

/// Sums (`COUNT`: counts) of cells of `FX` (1 or 2) columns of any number of lines, set or added.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn sums<P: Pairs, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [P::Wide],
) -> usize {
    // SAFETY: the caller has the instructions.
    unsafe { by_lines!(lines, sums_of::<P, FX, ADD, COUNT>(sums)) }
}

/// # Safety
/// Needs the instructions; there are `N` lines, or any number if that is 0.
#[inline(always)]
unsafe fn sums_of<P: Pairs, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [P::Wide],
) -> usize {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(length(lines) / FX);
    let origin = sums.as_mut_ptr();
    // SAFETY: FX (i + lanes) <= line.len() and i + lanes <= sums.len(), by `len`.
    unsafe {
        let last = match ragged(len, lanes) {
            Some(i) => Some((i, onto::<P, FX, ADD, COUNT, N>(lines, i, origin.add(i)))),
            None => None,
        };
        for i in (0..len / lanes * lanes).step_by(lanes) {
            let (low, high) = onto::<P, FX, ADD, COUNT, N>(lines, i, origin.add(i));
            low.store(origin.add(i));
            high.store(origin.add(i + lanes / 2));
        }
        if let Some((i, (low, high))) = last {
            low.store(origin.add(i));
            high.store(origin.add(i + lanes / 2));
        }
    }
    done(len, lanes)
}

/// The sums of the vector of cells at `i`, twice as wide as voxels, `ADD`ed to those at `to`: a pair of lines after the other.
///
/// # Safety
/// Needs the instructions; `FX` vectors from `FX i` on are within the lines, and two at `to` may be read.
#[inline(always)]
unsafe fn onto<P: Pairs, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    i: usize,
    to: *const P::Wide,
) -> (VectorOf<P>, VectorOf<P>) {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    // SAFETY: the caller's promise.
    unsafe {
        let (mut low, mut high) = match (N, lines) {
            (1, &[a]) => cells::<P, FX, COUNT, 1>(&[a], i),
            (2.., &[a, b]) => cells::<P, FX, COUNT, 2>(&[a, b], i),
            (_, &[a, b, ..]) => cells::<P, FX, COUNT, 2>(&[a, b], i),
            _ => unreachable!("there are lines"),
        };
        if ADD {
            low = P::Sums::plus(VectorOf::<P>::load(to), low);
            high = P::Sums::plus(VectorOf::<P>::load(to.add(lanes / 2)), high);
        }
        super::again(&lines[..2.min(lines.len())], FX * i, FX * VectorOf::<P>::BYTES);
        if N == 0 {
            for pair in lines[2..].chunks(2) {
                pair.iter().for_each(|line| line.announce(FX * i, FX * VectorOf::<P>::BYTES));
                let (a, b) = pair_of::<P, FX, COUNT>(pair, FX * i, lanes);
                (low, high) = (P::Sums::plus(low, a), P::Sums::plus(high, b));
                super::again(pair, FX * i, FX * VectorOf::<P>::BYTES);
            }
        }
        (low, high)
    }
}

/// As [`sums`], in a type twice as wide again: the lines are added up in `P`'s, which hold as many as there are, and the sums in `Q`'s.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn wider_sums<P, Q, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [Q::Wide],
) -> usize
where
    P: Pairs,
    Q: Pairs<Voxel = P::Wide, Sums: Sums<V = VectorOf<P>>>,
{
    // SAFETY: the caller has the instructions.
    unsafe { by_lines!(lines, wider_of::<P, Q, FX, ADD, COUNT>(sums)) }
}

/// # Safety
/// As of [`sums_of`].
#[inline(always)]
unsafe fn wider_of<P, Q, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [Q::Wide],
) -> usize
where
    P: Pairs,
    Q: Pairs<Voxel = P::Wide, Sums: Sums<V = VectorOf<P>>>,
{
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(length(lines) / FX);
    let origin = sums.as_mut_ptr();
    // SAFETY: FX (i + lanes) <= line.len() and i + lanes <= sums.len(), by `len`.
    unsafe {
        let last = match ragged(len, lanes) {
            Some(i) => Some((i, wider_onto::<P, Q, FX, ADD, COUNT, N>(lines, i, origin.add(i)))),
            None => None,
        };
        for i in (0..len / lanes * lanes).step_by(lanes) {
            let all = wider_onto::<P, Q, FX, ADD, COUNT, N>(lines, i, origin.add(i));
            store_parts(all, origin.add(i), lanes / 4);
        }
        if let Some((i, all)) = last {
            store_parts(all, origin.add(i), lanes / 4);
        }
    }
    done(len, lanes)
}

/// # Safety
/// As of [`onto`], but that four vectors at `to` may be read.
#[inline(always)]
unsafe fn wider_onto<P, Q, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    i: usize,
    to: *const Q::Wide,
) -> [VectorOf<P>; 4]
where
    P: Pairs,
    Q: Pairs<Voxel = P::Wide, Sums: Sums<V = VectorOf<P>>>,
{
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = onto::<P, FX, false, COUNT, N>(lines, i, std::ptr::null());
        let ((a, b), (c, d)) = (Q::widen(low), Q::widen(high));
        let mut all = [a, b, c, d];
        if ADD {
            for (k, sums) in all.iter_mut().enumerate() {
                *sums = Q::Sums::plus(VectorOf::<P>::load(to.add(k * (lanes / 4))), *sums);
            }
        }
        all
    }
}

/// # Safety
/// Needs the instructions; `N` vectors at `to` are the caller's to write.
#[inline(always)]
unsafe fn store_parts<V: Vector, A, const N: usize>(all: [V; N], to: *mut A, part: usize) {
    for (k, sums) in all.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { sums.store(to.add(k * part)) };
    }
}

/// Cells of `fx` columns, if that is 3, 5 or 7, set or added.
///
/// # Safety
/// Needs the instructions; `A` is the type of the sums.
#[inline(always)]
pub unsafe fn cells_of_sums<S: Sums, A, const ADD: bool>(line: Line<'_, A>, fx: usize, sums: &mut [A]) -> usize {
    // SAFETY: the caller has the instructions.
    unsafe {
        match fx {
            3 => odd_cells::<S, A, 3, ADD>(line, sums),
            5 => odd_cells::<S, A, 5, ADD>(line, sums),
            7 => odd_cells::<S, A, 7, ADD>(line, sums),
            _ => 0,
        }
    }
}

/// Places of the columns of `P` vectors of `size` bytes, which hold a vector's cells of `P` columns. `P` is odd, and has no factor in common with
/// the lanes of a vector: the k-th columns of all cells are in different lanes. They are brought together by selections, and then in order.
struct Places {
    /// Bytes of the lanes `r`, `P + r`, `2 P + r` ...
    own: [[u8; 64]; 7],
    /// Where the bytes of the cells' columns `k` are.
    order: [[u8; 64]; 7],
}

impl Places {
    const fn new(p: usize, bytes: usize, size: usize) -> Self {
        let lanes = bytes / size;
        let mut places = Places { own: [[0; 64]; 7], order: [[0; 64]; 7] };
        let mut k = 0;
        while k < p {
            let mut byte = 0;
            while byte < bytes {
                let lane = byte / size;
                places.own[k][byte] = if lane % p == k { 0xff } else { 0 };
                places.order[k][byte] = ((k + p * lane) % lanes * size + byte % size) as u8;
                byte += 1;
            }
            k += 1;
        }
        places
    }
}

/// # Safety
/// As of [`cells_of_sums`].
#[inline(always)]
unsafe fn odd_cells<S: Sums, A, const P: usize, const ADD: bool>(line: Line<'_, A>, sums: &mut [A]) -> usize {
    const { assert!(P % 2 == 1 && P <= 7 && S::V::BYTES.is_multiple_of(size_of::<A>())) };
    let lanes = S::V::BYTES / size_of::<A>();
    let len = sums.len().min(line.voxels.len() / P);
    let (from, origin) = (line.voxels.as_ptr(), sums.as_mut_ptr());
    // SAFETY: P (i + lanes) <= line.len() and i + lanes <= sums.len(), by `len`.
    unsafe {
        let places = const { &Places::new(P, S::V::BYTES, size_of::<A>()) };
        let own: [S::V; P] = load_all(&places.own);
        let order: [<S::V as Vector>::Order; P] = order_all::<S::V, P>(&places.order);
        let last = match ragged(len, lanes) {
            Some(i) => {
                let all = odd_vector::<S, A, P>(load_row(from.add(P * i), lanes), &own, &order);
                Some((i, if ADD { S::plus(S::V::load(origin.add(i)), all) } else { all }))
            }
            None => None,
        };
        for i in (0..len / lanes * lanes).step_by(lanes) {
            line.announce(P * i, P * S::V::BYTES);
            set_or_add::<S, A, ADD>(
                origin.add(i),
                odd_vector::<S, A, P>(load_row(from.add(P * i), lanes), &own, &order),
            );
        }
        if let Some((i, all)) = last {
            all.store(origin.add(i));
        }
    }
    done(len, lanes)
}

/// # Safety
/// Needs the instructions; `P` vectors at `from` may be read.
#[inline(always)]
unsafe fn load_row<V: Vector, A, const P: usize>(from: *const A, lanes: usize) -> [V; P] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut all = [V::zero(); P];
        for (j, v) in all.iter_mut().enumerate() {
            *v = V::load(from.add(j * lanes));
        }
        all
    }
}

/// As [`cells_of_sums`], of voxels half as wide.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn wide_cells<P: Pairs, const ADD: bool>(
    line: Line<'_, P::Voxel>,
    fx: usize,
    sums: &mut [P::Wide],
) -> usize {
    // SAFETY: the caller has the instructions.
    unsafe {
        match fx {
            3 => wide_odd_cells::<P, 3, ADD>(line, sums),
            5 => wide_odd_cells::<P, 5, ADD>(line, sums),
            7 => wide_odd_cells::<P, 7, ADD>(line, sums),
            _ => 0,
        }
    }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn wide_odd_cells<P: Pairs, const FX: usize, const ADD: bool>(
    line: Line<'_, P::Voxel>,
    sums: &mut [P::Wide],
) -> usize {
    const { assert!(FX % 2 == 1 && FX <= 7) };
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(line.voxels.len() / FX);
    let (from, origin) = (line.voxels.as_ptr(), sums.as_mut_ptr());
    // SAFETY: FX (i + lanes) <= line.len() and i + lanes <= sums.len(), by `len`.
    unsafe {
        let places = const { &Places::new(FX, VectorOf::<P>::BYTES, size_of::<P::Wide>()) };
        let own: [VectorOf<P>; FX] = load_all(&places.own);
        let order: [<VectorOf<P> as Vector>::Order; FX] = order_all::<VectorOf<P>, FX>(&places.order);
        let last = match ragged(len, lanes) {
            Some(i) => Some((i, wide_odd_onto::<P, FX, ADD>(from.add(FX * i), &own, &order, origin.add(i)))),
            None => None,
        };
        for i in (0..len / lanes * lanes).step_by(lanes) {
            line.announce(FX * i, FX * VectorOf::<P>::BYTES);
            let all = wide_odd_onto::<P, FX, ADD>(from.add(FX * i), &own, &order, origin.add(i));
            line.announce(FX * i, FX * VectorOf::<P>::BYTES);
            store_parts(all, origin.add(i), lanes / 2);
        }
        if let Some((i, all)) = last {
            store_parts(all, origin.add(i), lanes / 2);
        }
    }
    done(len, lanes)
}

/// # Safety
/// Needs the instructions; `FX` vectors at `from` and with `ADD` two at `to` may be read.
#[inline(always)]
unsafe fn wide_odd_onto<P: Pairs, const FX: usize, const ADD: bool>(
    from: *const P::Voxel,
    own: &[VectorOf<P>; FX],
    order: &[<VectorOf<P> as Vector>::Order; FX],
    to: *const P::Wide,
) -> [VectorOf<P>; 2] {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    // SAFETY: the caller's promise.
    unsafe {
        let mut wide = [[VectorOf::<P>::zero(); FX]; 2];
        for j in 0..FX {
            let (low, high) = P::widen(VectorOf::<P>::load(from.add(j * lanes)));
            wide[2 * j / FX][2 * j % FX] = low;
            wide[(2 * j + 1) / FX][(2 * j + 1) % FX] = high;
        }
        let mut all = [VectorOf::<P>::zero(); 2];
        for (h, sums) in all.iter_mut().enumerate() {
            *sums = odd_vector::<P::Sums, P::Wide, FX>(wide[h], own, order);
            if ADD {
                *sums = P::Sums::plus(VectorOf::<P>::load(to.add(h * (lanes / 2))), *sums);
            }
        }
        all
    }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn load_all<V: Vector, const P: usize>(from: &[[u8; 64]; 7]) -> [V; P] {
    // SAFETY: the caller has the instructions; no vector is longer than 64 bytes.
    unsafe {
        let mut all = [V::zero(); P];
        for (v, bytes) in all.iter_mut().zip(from) {
            *v = V::load(bytes.as_ptr());
        }
        all
    }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn order_all<V: Vector, const P: usize>(from: &[[u8; 64]; 7]) -> [V::Order; P] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let mut all = [V::order(&from[0]); P];
        for (order, bytes) in all.iter_mut().zip(from) {
            *order = V::order(bytes);
        }
        all
    }
}

/// The sums of a vector of cells, a column after the other.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn odd_vector<S: Sums, A, const P: usize>(
    v: [S::V; P],
    own: &[S::V; P],
    order: &[<S::V as Vector>::Order; P],
) -> S::V {
    let lanes = S::V::BYTES / size_of::<A>();
    // SAFETY: the caller has the instructions.
    unsafe {
        let mut sum = S::V::zero();
        for k in 0..P {
            let mut column = v[0];
            for j in 1..P {
                // Lane l of vector j is column j lanes + l.
                column = v[j].select(own[(k + j * (P - lanes % P)) % P], column);
            }
            let column = column.reorder(order[k]);
            sum = if k == 0 { column } else { S::plus(sum, column) };
        }
        sum
    }
}

/// Cells of `fx` (at most 8) bytes of one line, set or added. All requests go out at once: the loop is too short for more.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn byte_cells<V: Octets, const ADD: bool>(line: Line<'_, u8>, fx: usize, sums: &mut [u16]) -> usize {
    assert!((1..=8).contains(&fx));
    let (lanes, some) = (V::BYTES / 2, V::BYTES / 8);
    // As many as are followed by all the bytes that are read with the last of them.
    let behind = V::reads(fx) - some * fx;
    let len = sums.len().min(line.voxels.len().saturating_sub(behind) / fx);
    let (from, origin) = (line.voxels.as_ptr(), sums.as_mut_ptr());
    // SAFETY: fx (i + lanes) bytes and those read behind them are in the line and i + lanes <= sums.len(), by `len`.
    unsafe {
        line.announced();
        let octets = V::octets(fx);
        let order = V::order(const { &in_fours(V::BYTES) });
        let last = match ragged(len, lanes) {
            Some(i) => {
                let all = byte_vector(from.add(fx * i), fx, octets, order);
                Some((i, if ADD { V::add_words(V::load(origin.add(i)), all) } else { all }))
            }
            None => None,
        };
        for i in (0..len / lanes * lanes).step_by(lanes) {
            let all = byte_vector(from.add(fx * i), fx, octets, order);
            let at = origin.add(i);
            if ADD { V::add_words(V::load(at), all) } else { all }.store(at);
        }
        if let Some((i, all)) = last {
            all.store(origin.add(i));
        }
    }
    done(len, lanes)
}

/// Where the bytes of words `4 c + q` of a vector have to be for word `q n + c`, `n` being a quarter of the words.
const fn in_fours(bytes: usize) -> [u8; 64] {
    let quarter = bytes / 8;
    let mut places = [0; 64];
    let mut byte = 0;
    while byte < bytes {
        let word = byte / 2;
        places[byte] = (2 * (4 * (word % quarter) + word / quarter) + byte % 2) as u8;
        byte += 1;
    }
    places
}

/// The sums of a vector of cells of bytes: those of a quarter of them are eight bytes each, of which the next quarters take the
/// empty ones.
///
/// # Safety
/// Needs the instructions; the bytes of the cells at `from` may be read, and those read behind them.
#[inline(always)]
unsafe fn byte_vector<V: Octets>(from: *const u8, fx: usize, octets: V::Octets, order: V::Order) -> V {
    let some = fx * (V::BYTES / 8);
    // SAFETY: the caller's promise.
    unsafe {
        let low = V::octet_sums(from, octets).or(V::octet_sums(from.add(some), octets).up::<16>());
        let high = V::octet_sums(from.add(2 * some), octets)
            .up::<32>()
            .or(V::octet_sums(from.add(3 * some), octets).up::<48>());
        low.or(high).reorder(order)
    }
}
