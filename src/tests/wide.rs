//! Cells of many columns and of many lines, and the kernels that are theirs.

use super::{Index, Noise, Volume, cell, fill, indices, mips, noise};
use crate::averaging::{self, Average};
use crate::fold::Summand;
use crate::grid::Array;
use crate::simd::lines::Line;
use crate::simd::views::Row;
use crate::simd::{Backend, Isa, Kernel};
use crate::sums::{Mean, Quotient};

#[test]
fn means_of_cells_of_any_prime_and_of_many_lines_are_those_of_their_voxels() {
    fn check<T: Average + Into<i128>>(voxel: impl Fn(&mut Noise) -> T + Copy) {
        let rows: [(Index, Index); 4] =
            [([1, 1, 1], [1500, 2, 2]), ([1, 2, 1], [900, 3, 2]), ([1, 5, 3], [331, 7, 4]), ([1, 13, 2], [500, 27, 2])];
        for (fx, (rest, shape)) in (3..=14).flat_map(|fx| rows.map(|row| (fx, row))) {
            let (input, factor) = (noise(shape, [0, 1, 2], 1, voxel), [fx, rest[1], rest[2]]);
            for (sparse, exact) in [(false, false), (true, false), (false, true)] {
                let wanted: Vec<i128> = indices(shape_of(shape, factor))
                    .map(|index| {
                        let cell: Vec<i128> = cell(&input, index, factor).into_iter().map(Into::into).collect();
                        let count = cell.iter().filter(|&&voxel| !sparse || voxel != 0).count().max(1) as i128;
                        let sum: i128 = cell.iter().sum();
                        let (below, rest) = (sum.div_euclid(count), 2 * sum.rem_euclid(count));
                        let up = rest > count || (rest == count && below % 2 != 0);
                        if exact { below + i128::from(up) } else { sum / count }
                    })
                    .collect();
                for backend in Backend::all() {
                    let mut out = mips(shape, [0, 1, 2], factor, 1);
                    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                    let plan = averaging::Plan::new::<T>(&input.array(), &arrays, &factor, 1, sparse, exact);
                    fill(&input, &mut out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, 1, &|| false).unwrap();
                    });
                    let means: Vec<i128> = out[0].voxels.iter().map(|&mean| mean.into()).collect();
                    assert!(means == wanted, "{backend:?} {factor:?} {sparse} {exact}");
                }
            }
        }
    }
    check::<u8>(|noise| [0, 255, 255, noise.below(256) as u8][noise.below(4) as usize]);
    check::<u16>(|noise| [0, 65535, 65535, noise.below(65536) as u16][noise.below(4) as usize]);
    check::<u32>(|noise| [0, u32::MAX, noise.below(1 << 32) as u32][noise.below(3) as usize]);
    check::<u64>(|noise| [0, u64::MAX, noise.below(u64::MAX)][noise.below(3) as usize]);
    check::<i8>(|noise| [0, -128, -128, noise.below(256) as i8][noise.below(4) as usize]);
    check::<i16>(|noise| [0, i16::MIN, i16::MIN, noise.below(65536) as i16][noise.below(4) as usize]);
    check::<i32>(|noise| [0, i32::MIN, i32::MAX, noise.below(1 << 32) as i32][noise.below(4) as usize]);
    check::<i64>(|noise| [0, i64::MIN, i64::MAX, noise.below(u64::MAX) as i64][noise.below(4) as usize]);
}

fn shape_of(shape: Index, factor: Index) -> Index {
    [0, 1, 2].map(|a| shape[a].div_ceil(factor[a]))
}

struct Divide<'a, T, A> {
    sums: &'a [A],
    by: A,
    out: &'a mut [T],
}

impl<A: Quotient, T: Mean<A>> Kernel for Divide<'_, T, A> {
    fn run<I: Isa>(self, isa: I) {
        T::divide_all(isa, self.sums, self.by, Row::new(self.out));
    }
}

#[test]
fn reciprocals_are_right_on_both_sides_of_every_integer() {
    fn check<T: Mean<A> + Default + PartialEq + TryFrom<u32>, A: Quotient + TryFrom<u32>>(means: u32) {
        for by in 1..=<T as Mean<A>>::DIVISORS as u32 {
            let ends = (0..means).flat_map(|mean| [mean * by, mean * by + (by - 1)].map(|sum| (sum, mean)));
            let fits = ends.map_while(|(sum, mean)| Some((A::try_from(sum).ok()?, T::try_from(mean).ok()?)));
            let (sums, wanted): (Vec<A>, Vec<T>) = fits.unzip();
            for backend in Backend::all() {
                let mut out = vec![T::default(); sums.len()];
                backend.run(Divide { sums: &sums, by: A::from_weight(by.into()), out: &mut out });
                assert!(out == wanted, "{backend:?} {by}");
            }
        }
    }
    check::<u8, u16>(1 << 8);
    check::<u16, u32>(1 << 16);
}

#[test]
fn rows_that_are_folded_alone_are_taken_up_to_the_next_mip() {
    for (factor, shape) in [([5, 1, 1], [331, 7, 3]), ([7, 1, 1], [100, 5, 2]), ([8, 1, 1], [1000, 3, 3])] {
        let input = noise(shape, [0, 1, 2], 1, |noise| [255, noise.below(256) as u8][noise.below(2) as usize]);
        for backend in Backend::all() {
            let means = |factor: Index, count: usize| {
                let mut out = mips(shape, [0, 1, 2], factor, count);
                let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                let plan = averaging::Plan::new::<u8>(&input.array(), &arrays, &factor, count, false, true);
                fill(&input, &mut out, &plan.grid, |source, tiles| {
                    plan.run(backend, source, tiles, 1, &|| false).unwrap();
                });
                out.pop().unwrap().voxels
            };
            assert_eq!(means(factor, 2), means(factor.map(|f| f * f), 1), "{backend:?} {factor:?}");
        }
    }
}

/// Cells of floats, one line.
struct FloatCells<'a> {
    line: &'a [f32],
    fx: usize,
    sums: &'a mut [f64],
}

impl Kernel for FloatCells<'_> {
    fn run<I: Isa>(self, isa: I) {
        f32::cell_sums::<I, false>(isa, Line::here(self.line), self.fx, self.sums);
    }
}

#[test]
fn cells_of_floats_are_summed_up_in_one_order() {
    let mut random = Noise(1);
    for (fx, cells) in [3, 5, 7].into_iter().flat_map(|fx| (1..=70).map(move |cells| (fx, cells))) {
        // Of so different sizes that every order has its own sum.
        let line: Vec<f32> = (0..fx * cells)
            .map(|_| (random.below(1 << 24) as f32 - 8e6) * 2f32.powi(random.below(200) as i32 - 100))
            .collect();
        let wanted: Vec<f64> =
            line.chunks(fx).map(|cell| cell[1..].iter().fold(cell[0].into(), |sum, &v| sum + f64::from(v))).collect();
        for backend in Backend::all() {
            let mut sums = vec![1.0; cells];
            backend.run(FloatCells { line: &line, fx, sums: &mut sums });
            assert_eq!(sums, wanted, "{backend:?} {fx} {cells}");
        }
    }
}

struct ByteCells<'a> {
    line: &'a [u8],
    fx: usize,
    add: bool,
    sums: &'a mut [u16],
}

impl Kernel for ByteCells<'_> {
    fn run<I: Isa>(self, isa: I) {
        let line = Line::here(self.line);
        if self.add {
            u8::cell_sums::<I, true>(isa, line, self.fx, self.sums);
        } else {
            u8::cell_sums::<I, false>(isa, line, self.fx, self.sums);
        }
    }
}

#[test]
fn cells_of_bytes_of_rows_of_every_length_are_summed_up() {
    let mut random = Noise(1);
    for (fx, cells, add) in (3..=8).flat_map(|fx| (1..=130).flat_map(move |n| [false, true].map(|add| (fx, n, add)))) {
        let line: Vec<u8> = (0..fx * cells).map(|_| [255, random.below(256) as u8][random.below(2) as usize]).collect();
        let there = if add { 1000 } else { 0 };
        let sum = |cell: &[u8]| there + cell.iter().map(|&voxel| u16::from(voxel)).sum::<u16>();
        let wanted: Vec<u16> = line.chunks(fx).map(sum).collect();
        for backend in Backend::all() {
            let mut sums = vec![1000; cells];
            backend.run(ByteCells { line: &line, fx, add, sums: &mut sums });
            assert_eq!(sums, wanted, "{backend:?} {fx} {cells}");
        }
    }
}
