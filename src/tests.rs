//! Whole calls without Python: every operation on every backend against brute force on small volumes.
//!
//! The volumes are three axes, in any memory order, with gaps or without; the brute force looks every voxel of a cell up
//! by its index and knows nothing of rows, panels and tiles.

use crate::grid::{Array, Grid};
use crate::simd::Backend;
use crate::simd::tiles::Tiles;
use crate::simd::views::{Extent, Source, Voxel};
use crate::{averaging, exact_mode, extrema, mode};

mod leaders;
mod levels;
mod quotients;
mod rows;
mod wide;

type Index = [usize; 3];

/// Reproducible noise (an xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A volume in memory: axis `order[0]` is the fastest, `gap` voxels apart.
#[derive(Clone)]
struct Volume<T> {
    voxels: Vec<T>,
    shape: Index,
    strides: Index,
    /// Where the first voxel is.
    first: usize,
}

impl<T: Voxel> Volume<T> {
    fn new(shape: Index, order: Index, gap: usize) -> Self {
        let mut strides = [0; 3];
        let mut stride = gap;
        for a in order {
            strides[a] = stride;
            stride *= shape[a];
        }
        Volume { voxels: vec![T::default(); stride], shape, strides, first: 0 }
    }

    fn at(&self, index: Index) -> T {
        self.voxels[self.place(index)]
    }

    fn place(&self, index: Index) -> usize {
        self.first + index.iter().zip(&self.strides).map(|(i, s)| i * s).sum::<usize>()
    }

    fn array(&self) -> Array {
        let size = size_of::<T>();
        let axes = self.shape.iter().zip(&self.strides).map(|(&len, &s)| Extent { len, stride: (s * size) as isize });
        Array { origin: self.voxels[self.first..].as_ptr().cast_mut().cast(), axes: axes.collect() }
    }
}

fn indices(shape: Index) -> impl Iterator<Item = Index> {
    (0..shape[2]).flat_map(move |z| (0..shape[1]).flat_map(move |y| (0..shape[0]).map(move |x| [x, y, z])))
}

fn noise<T: Voxel>(shape: Index, order: Index, gap: usize, voxel: impl Fn(&mut Noise) -> T) -> Volume<T> {
    let mut random = Noise(0x9e37_79b9_7f4a_7c15 ^ (shape[0] * 31 + shape[1] * 17 + shape[2]) as u64);
    let mut volume = Volume::new(shape, order, gap);
    for index in indices(shape) {
        let place = volume.place(index);
        volume.voxels[place] = voxel(&mut random);
    }
    volume
}

/// The shapes of the mips, and room for them in the memory order of the input.
fn mips<T: Voxel>(shape: Index, order: Index, factor: Index, count: usize) -> Vec<Volume<T>> {
    let divide = |shape: &Index| Some([0, 1, 2].map(|a| shape[a].div_ceil(factor[a])));
    std::iter::successors(divide(&shape), divide).take(count).map(|shape| Volume::new(shape, order, 1)).collect()
}

/// Runs a plan's grid on the volumes: `run` gets the source and the tiles. Mips are written past the caches, as only large ones are otherwise.
fn fill<T: Voxel>(
    input: &Volume<T>,
    mips: &mut [Volume<T>],
    grid: &Grid,
    run: impl FnOnce(Source<'_, T>, &Tiles<'_, T>),
) {
    let arrays: Vec<Array> = mips.iter().map(Volume::array).collect();
    let (mut targets, counts) = grid.cut_targets(&arrays);
    targets.iter_mut().for_each(|target| target.streams = true);
    let mut slices: Vec<Vec<T>> = mips.iter_mut().map(|mip| std::mem::take(&mut mip.voxels)).collect();
    let source = Source::of_slice(&input.voxels, grid.source_axes());
    run(source, &Tiles::of_slices(&mut slices, targets, counts));
    mips.iter_mut().zip(slices).for_each(|(mip, voxels)| mip.voxels = voxels);
}

/// The voxels of `volume` in the cell at `index`, in raster order.
fn cell<T: Voxel>(volume: &Volume<T>, index: Index, factor: Index) -> Vec<T> {
    indices(factor)
        .map(|inside| [0, 1, 2].map(|a| index[a] * factor[a] + inside[a]))
        .filter(|at| (0..3).all(|a| at[a] < volume.shape[a]))
        .map(|at| volume.at(at))
        .collect()
}

const ORDERS: [Index; 3] = [[0, 1, 2], [2, 1, 0], [1, 2, 0]];
// The last one has rows that are staged.
const SHAPES: [Index; 5] = [[67, 9, 5], [8, 33, 16], [130, 4, 4], [5, 6, 71], [1039, 3, 3]];

/// Calls `check` for every backend, memory order, gap between voxels and shape.
fn everywhere(check: impl Fn(Backend, Index, usize, Index)) {
    for backend in Backend::all() {
        for order in ORDERS {
            for gap in [1, 3] {
                SHAPES.iter().for_each(|&shape| check(backend, order, gap, shape));
            }
        }
    }
}

#[test]
fn one_mip_of_means_is_the_truncated_mean_of_the_voxels_that_exist() {
    fn check<T: averaging::Average + Into<i128> + PartialEq + std::fmt::Debug>(voxel: impl Fn(&mut Noise) -> T + Copy) {
        everywhere(|backend, order, gap, shape| {
            for factor in [[2, 2, 1], [2, 2, 2], [1, 2, 2], [3, 3, 3], [4, 4, 1], [5, 1, 1], [1, 1, 7]] {
                for sparse in [false, true] {
                    let input = noise(shape, order, gap, voxel);
                    let mut out = mips(shape, order, factor, 1);
                    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                    let plan = averaging::Plan::new::<T>(&input.array(), &arrays, &factor, 1, sparse, false);
                    fill(&input, &mut out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, 1, &|| false).unwrap();
                    });
                    for index in indices(out[0].shape) {
                        let cell: Vec<i128> = cell(&input, index, factor).into_iter().map(Into::into).collect();
                        let count = if sparse { cell.iter().filter(|&&v| v != 0).count().max(1) } else { cell.len() };
                        let mean = cell.iter().sum::<i128>() / count as i128;
                        assert_eq!(
                            out[0].at(index).into(),
                            mean,
                            "{backend:?} {order:?} {shape:?} {factor:?} {index:?}"
                        );
                    }
                }
            }
        });
    }
    check::<u8>(|noise| (noise.below(3) * noise.below(128)) as u8);
    check::<u16>(|noise| (noise.below(2) * noise.below(65536)) as u16);
    check::<i8>(|noise| noise.below(256) as u8 as i8);
    check::<i32>(|noise| noise.below(1 << 32) as u32 as i32 * noise.below(2) as i32);
    check::<u64>(|noise| [0, u64::MAX, noise.below(u64::MAX)][noise.below(3) as usize]);
    check::<i64>(|noise| [0, i64::MIN, i64::MAX, noise.below(u64::MAX) as i64][noise.below(4) as usize]);
}

#[test]
fn mip_k_of_means_is_a_direct_mean_where_sizes_divide() {
    fn check<T: averaging::Average + Into<i128>>(voxel: impl Fn(&mut Noise) -> T + Copy) {
        for backend in Backend::all() {
            for (factor, count) in [([2, 2, 1], 4), ([2, 2, 2], 3), ([3, 1, 3], 2)] {
                for threads in [1, 3] {
                    let input = noise([144, 80, 72], [0, 1, 2], 1, voxel);
                    let mut out = mips(input.shape, [0, 1, 2], factor, count);
                    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                    let plan = averaging::Plan::new::<T>(&input.array(), &arrays, &factor, count, false, false);
                    fill(&input, &mut out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, threads, &|| false).unwrap();
                    });
                    for (k, mip) in out.iter().enumerate() {
                        let whole = factor.map(|f| f.pow(k as u32 + 1));
                        for index in indices(mip.shape) {
                            let cell: Vec<i128> = cell(&input, index, whole).into_iter().map(Into::into).collect();
                            assert_eq!(
                                mip.at(index).into(),
                                cell.iter().sum::<i128>() / cell.len() as i128,
                                "{backend:?} {factor:?} {index:?}"
                            );
                        }
                    }
                }
            }
        }
    }
    check::<u8>(|noise| noise.below(256) as u8);
    check::<u64>(|noise| [0, u64::MAX, noise.below(u64::MAX)][noise.below(3) as usize]);
    check::<i64>(|noise| [i64::MIN, i64::MAX, noise.below(u64::MAX) as i64][noise.below(3) as usize]);
}

#[test]
fn float_means_give_the_same_bits_on_every_backend() {
    // Exponents from end to end, so that every other order of summation shows.
    let input = noise([131, 37, 9], [0, 1, 2], 1, |noise| f32::from_bits(noise.below(1 << 32) as u32 & !(1 << 30)));
    for factor in [[2, 2, 1], [2, 2, 2], [1, 2, 2], [1, 4, 1], [2, 4, 1], [1, 1, 4], [2, 1, 4], [3, 3, 3], [1, 3, 2]] {
        for (sparse, exact) in [(false, false), (true, false), (false, true), (true, true)] {
            let all = Backend::all().into_iter().map(|backend| {
                let mut out = mips(input.shape, [0, 1, 2], factor, 3);
                let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                let plan = averaging::Plan::new::<f32>(&input.array(), &arrays, &factor, 3, sparse, exact);
                fill(&input, &mut out, &plan.grid, |source, tiles| {
                    plan.run(backend, source, tiles, 2, &|| false).unwrap();
                });
                out.iter().flat_map(|mip| mip.voxels.iter().map(|v| v.to_bits())).collect::<Vec<_>>()
            });
            let all: Vec<Vec<u32>> = all.collect();
            assert!(all.iter().all(|bits| *bits == all[0]), "{factor:?} {sparse} {exact}");
        }
    }
}

#[test]
fn extrema_are_those_of_the_voxels_that_exist_at_every_mip() {
    everywhere(|backend, order, gap, shape| {
        for factor in [[2, 2, 1], [2, 2, 2], [3, 1, 5]] {
            for extremum in [extrema::Extremum::Min, extrema::Extremum::Max] {
                let input = noise(shape, order, gap, |noise| noise.below(1 << 32) as u32 as i32);
                let mut out = mips(shape, order, factor, 2);
                let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                let plan = extrema::Plan::new::<i32>(&input.array(), &arrays, &factor, 2, extremum);
                fill(&input, &mut out, &plan.grid, |source, tiles| {
                    plan.run(backend, source, tiles, 1, &|| false).unwrap();
                });
                for (k, mip) in out.iter().enumerate() {
                    for index in indices(mip.shape) {
                        let cell = cell(&input, index, factor.map(|f| f.pow(k as u32 + 1)));
                        let min = extremum == extrema::Extremum::Min;
                        let wanted = if min { cell.iter().min() } else { cell.iter().max() };
                        assert_eq!(
                            Some(&mip.at(index)),
                            wanted,
                            "{backend:?} {order:?} {shape:?} {factor:?} {index:?}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn nan_wins_in_both_extrema() {
    for backend in Backend::all() {
        for extremum in [extrema::Extremum::Min, extrema::Extremum::Max] {
            for place in 0..8 {
                let mut input = noise([16, 2, 2], [0, 1, 2], 1, |noise| noise.below(100) as f64);
                input.voxels[place % 2 + place / 2 % 2 * 16 + place / 4 * 32] = f64::NAN;
                let mut out = mips(input.shape, [0, 1, 2], [2, 2, 2], 1);
                let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                let plan = extrema::Plan::new::<f64>(&input.array(), &arrays, &[2, 2, 2], 1, extremum);
                fill(&input, &mut out, &plan.grid, |source, tiles| {
                    plan.run(backend, source, tiles, 1, &|| false).unwrap();
                });
                let nans: Vec<bool> = out[0].voxels.iter().map(|v| v.is_nan()).collect();
                assert_eq!(nans, [true, false, false, false, false, false, false, false]);
            }
        }
    }
}

/// One step of the mode, straight from its definition.
fn mode_of<T: crate::simd::Label>(mut cell: Vec<T>, step: Index, sparse: bool) -> T {
    let zero = T::ZERO;
    if step.iter().filter(|&&f| f == 2).count() == 2 && cell.len() == 4 {
        let (a, b, c, d) = (cell[0], cell[1], cell[2], cell[3]);
        let pair = |p: T, q: T| p == q && !(sparse && p == zero);
        return match () {
            () if pair(a, b) || pair(a, c) => a,
            () if pair(b, c) => b,
            () if sparse => [d, a, c, b].into_iter().find(|&v| v != zero).unwrap_or(zero),
            () => d,
        };
    }
    if sparse && cell.iter().any(|&v| v != zero) {
        cell.retain(|&v| v != zero);
    }
    let count = |v: T| cell.iter().filter(|&&w| w == v).count();
    let most = cell.iter().map(|&v| count(v)).max().unwrap();
    *cell.iter().find(|&&v| count(v) == most).unwrap()
}

#[test]
fn modes_follow_the_rules_step_by_step() {
    fn check<T: crate::simd::Label + std::fmt::Debug>(voxel: impl Fn(&mut Noise) -> T + Copy) {
        everywhere(|backend, order, gap, shape| {
            for factor in [[2, 2, 1], [1, 2, 2], [2, 1, 2], [2, 2, 2], [2, 1, 1], [1, 1, 2], [4, 2, 1], [4, 4, 2]] {
                for sparse in [false, true] {
                    let input = noise(shape, order, gap, voxel);
                    let mut out = mips(shape, order, factor, 2);
                    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                    let plan = mode::Plan::new(&input.array(), &arrays, &factor, 2, sparse, size_of::<T>());
                    fill(&input, &mut out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, 1, &|| false).unwrap();
                    });
                    let mut above = input;
                    for mip in &out {
                        let mut rest = factor;
                        while rest.iter().any(|&f| f > 1) {
                            let step = rest.map(|f| f.min(2));
                            let mut below = mips::<T>(above.shape, order, step, 1).remove(0);
                            for index in indices(below.shape) {
                                let place = below.place(index);
                                below.voxels[place] = mode_of(cell(&above, index, step), step, sparse);
                            }
                            (above, rest) = (below, rest.map(|f| (f / 2).max(1)));
                        }
                        assert_eq!(mip.voxels, above.voxels, "{backend:?} {order:?} {shape:?} {factor:?} {sparse}");
                    }
                }
            }
        });
    }
    check::<u8>(|noise| noise.below(4) as u8 * 85);
    check::<u16>(|noise| noise.below(4) as u16 * 21845);
    check::<u32>(|noise| noise.below(5) as u32 * 0x3fff_ffff);
    check::<u64>(|noise| (noise.below(3) << 62) | noise.below(2));
}

/// The most frequent voxel, and of equally frequent ones the least, by `key`.
fn exact_mode_of<T: crate::simd::Label>(mut cell: Vec<T>, sparse: bool, key: impl Fn(T) -> T) -> T {
    cell.retain(|&voxel| !sparse || voxel != T::ZERO);
    let count = |v: T| cell.iter().filter(|&&w| w == v).count();
    cell.iter().copied().max_by_key(|&v| (count(v), std::cmp::Reverse(key(v)))).unwrap_or(T::ZERO)
}

#[test]
fn exact_modes_are_those_of_the_input_at_every_mip() {
    fn check<T: crate::simd::Label + std::fmt::Debug>(signed: bool, voxel: impl Fn(&mut Noise) -> T + Copy) {
        everywhere(|backend, order, gap, shape| {
            for factor in [[2, 2, 1], [1, 2, 2], [2, 2, 2], [2, 1, 1], [3, 3, 3], [5, 1, 2], [1, 4, 4], [9, 1, 9]] {
                for sparse in [false, true] {
                    let input = noise(shape, order, gap, voxel);
                    let mut out = mips(shape, order, factor, 3);
                    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                    let size = size_of::<T>();
                    let plan = exact_mode::Plan::new(&input.array(), &arrays, &factor, 3, sparse, signed, size);
                    fill(&input, &mut out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, 1, &|| false).unwrap();
                    });
                    let mut power = factor;
                    for (mip, k) in out.iter().zip(1..) {
                        for index in indices(mip.shape) {
                            let flip = |v| if signed { v ^ T::TOP } else { v };
                            let want = exact_mode_of(cell(&input, index, power), sparse, flip);
                            let place =
                                format!("{backend:?} {order:?} {gap} {shape:?} {factor:?} {sparse} mip {k} {index:?}");
                            assert_eq!(mip.at(index), want, "{place}");
                        }
                        power = [0, 1, 2].map(|a| power[a] * factor[a]);
                    }
                }
            }
        });
    }
    // Few labels and many ties; more than are told apart one by one; all different.
    check::<u8>(true, |noise| [0, 0, 0, 1, 255, 128][noise.below(6) as usize]);
    check::<u16>(false, |noise| noise.below(9) as u16 * 7281);
    check::<u32>(true, |noise| (noise.below(40) as u32).wrapping_mul(0x9e37_79b9));
    check::<u64>(false, |noise| noise.below(u64::MAX));
}

#[test]
fn exact_means_are_rounded_to_the_nearest_and_from_the_middle_to_the_even_one() {
    fn check<T: averaging::Average + Into<i128> + std::fmt::Debug>(voxel: impl Fn(&mut Noise) -> T + Copy) {
        everywhere(|backend, order, gap, shape| {
            for factor in [[2, 2, 1], [2, 2, 2], [1, 2, 2], [2, 1, 1], [3, 1, 2], [4, 4, 1]] {
                for sparse in [false, true] {
                    let input = noise(shape, order, gap, voxel);
                    let mut out = mips(shape, order, factor, 3);
                    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                    let plan = averaging::Plan::new::<T>(&input.array(), &arrays, &factor, 3, sparse, true);
                    fill(&input, &mut out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, 1, &|| false).unwrap();
                    });
                    let mut power = factor;
                    for (mip, k) in out.iter().zip(1..) {
                        for index in indices(mip.shape) {
                            let cell: Vec<i128> = cell(&input, index, power).into_iter().map(Into::into).collect();
                            let count = cell.iter().filter(|&&voxel| !sparse || voxel != 0).count().max(1) as i128;
                            let sum: i128 = cell.iter().sum();
                            let (below, rest) = (sum.div_euclid(count), 2 * sum.rem_euclid(count));
                            let up = rest > count || (rest == count && below % 2 != 0);
                            let place =
                                format!("{backend:?} {order:?} {shape:?} {factor:?} {sparse} mip {k} {index:?}");
                            assert_eq!(Into::<i128>::into(mip.at(index)), below + i128::from(up), "{place}");
                        }
                        power = [0, 1, 2].map(|a| power[a] * factor[a]);
                    }
                }
            }
        });
    }
    check::<u8>(|noise| [0, 1, 2, 255, noise.below(256) as u8][noise.below(5) as usize]);
    check::<i8>(|noise| [0, -1, 127, -128, noise.below(256) as i8][noise.below(5) as usize]);
    check::<u16>(|noise| [0, 65535, noise.below(65536) as u16][noise.below(3) as usize]);
    check::<i16>(|noise| [0, -32768, 32767, noise.below(65536) as i16][noise.below(4) as usize]);
    check::<u32>(|noise| [0, u32::MAX, noise.below(1 << 32) as u32][noise.below(3) as usize]);
    check::<i32>(|noise| [0, i32::MIN, i32::MAX, noise.below(1 << 32) as i32][noise.below(4) as usize]);
    check::<u64>(|noise| [0, u64::MAX, noise.below(u64::MAX)][noise.below(3) as usize]);
    check::<i64>(|noise| [0, i64::MIN, i64::MAX, noise.below(u64::MAX) as i64][noise.below(4) as usize]);
}

#[test]
fn an_interrupted_call_says_so() {
    let input = noise([256, 256, 64], [0, 1, 2], 1, |noise| noise.below(256) as u8);
    let mut out = mips(input.shape, [0, 1, 2], [2, 2, 2], 1);
    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
    let plan = averaging::Plan::new::<u8>(&input.array(), &arrays, &[2, 2, 2], 1, false, false);
    for threads in [1, 2] {
        fill(&input, &mut out, &plan.grid, |source, tiles| {
            assert!(plan.run(Backend::all()[0], source, tiles, threads, &|| true).is_err());
        });
    }
}
