//! Cells of three columns and more of one line, whose sums are made as those in `folds`: the last vector first.

use super::folds::{done, ragged, store_parts};
use super::{Octets, Pairs, Sums, Vector, VectorOf, set_or_add};
use crate::simd::lines::{Line, announce, announce_again};

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

/// Places of the columns of `P` vectors of lanes of `size` bytes, which hold a vector's cells of `P` columns. `P` is odd, and has no
/// factor in common with the lanes of a vector: the k-th columns of all cells are in different lanes. They are brought together by
/// selections, and then in order.
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
            announce(&[line], P * i, P * S::V::BYTES);
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
            announce(&[line], FX * i, FX * VectorOf::<P>::BYTES);
            let all = wide_odd_onto::<P, FX, ADD>(from.add(FX * i), &own, &order, origin.add(i));
            announce_again(&[line], FX * i, FX * VectorOf::<P>::BYTES);
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

/// Cells of bytes that are folded between two requests to the memory: the loop is too short for one each time.
const PIECE: usize = 512;

/// Cells of `fx` (at most 8) bytes of one line, set or added.
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
            if i.is_multiple_of(PIECE) {
                line.part(fx * i..fx * len.min(i + PIECE)).announced();
            }
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
