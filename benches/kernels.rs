//! Times of whole calls without Python, for every backend, beside a plain sequential read of the same voxels.
//!
//! `cargo bench --no-default-features [-- WORDS]` runs the cases whose names hold all the words. Each round times the read and the
//! case by turns; a line gives the medians, the rate in GB/s of input, and the ratio to the read. Results are
//! checked against brute force by the tests, not here.

#![allow(missing_docs)]

use _native::averaging::{self, Average};
use _native::extrema::{self, Extremum};
use _native::grid::{Array, Grid};
use _native::mode;
use _native::simd::tiles::Tiles;
use _native::simd::views::{Extent, Source, Voxel};
use _native::simd::{Backend, Label};
use _native::stream;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 11;

/// Voxels in Fortran order.
struct Volume<T> {
    voxels: Vec<T>,
    shape: Vec<usize>,
}

impl<T: Voxel> Volume<T> {
    fn array(&self) -> Array {
        let mut stride = size_of::<T>() as isize;
        let axes = self.shape.iter().map(|&len| {
            let axis = Extent { len, stride };
            stride *= len as isize;
            axis
        });
        Array { axes: axes.collect(), origin: self.voxels.as_ptr().cast_mut().cast() }
    }
}

/// Reproducible voxels below `n`; labels come in runs of `run`.
fn volume<T: Voxel>(shape: &[usize], n: u64, run: usize, voxel: impl Fn(u64) -> T) -> Volume<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let len: usize = shape.iter().product();
    let mut voxels = Vec::with_capacity(len);
    while voxels.len() < len {
        let voxel = voxel(draw());
        (0..run.min(len - voxels.len())).for_each(|_| voxels.push(voxel));
    }
    Volume { voxels, shape: shape.to_vec() }
}

fn mips<T: Voxel>(input: &Volume<T>, factor: &[usize], count: usize) -> Vec<Volume<T>> {
    let divide = |shape: &Vec<usize>| Some(shape.iter().zip(factor).map(|(n, f)| n.div_ceil(*f)).collect());
    let shapes = std::iter::successors(divide(&input.shape), divide).take(count);
    // Written once, so that no page is fresh.
    shapes.map(|shape: Vec<usize>| Volume { voxels: vec![T::default(); shape.iter().product()], shape }).collect()
}

fn time<R>(work: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Times `run`, which fills the mips, and the read by turns.
fn case<T: Voxel>(
    name: &str,
    input: &Volume<T>,
    factor: &[usize],
    count: usize,
    plan: impl Fn(&Array, &[Array]) -> (Grid, Run<T>),
) {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    for backend in Backend::all() {
        let name = format!("{name} {}", backend.name());
        if !words.iter().all(|word| name.contains(word.as_str())) {
            continue;
        }
        let out = mips(input, factor, count);
        let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
        let (grid, run) = plan(&input.array(), &arrays);
        let mut slices: Vec<Vec<T>> = out.into_iter().map(|mip| mip.voxels).collect();
        let (mut reads, mut runs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let read = time(|| stream::read(backend, &input.voxels, &mut [], 1));
            let ran = time(|| {
                let (targets, counts) = grid.cut_targets(&arrays);
                let source = Source::of_slice(&input.voxels, grid.source_axes());
                run(backend, source, &Tiles::of_slices(&mut slices, targets, counts));
            });
            if round > 0 {
                reads.push(read);
                runs.push(ran);
            }
        }
        let bytes = std::mem::size_of_val(&input.voxels[..]) as f64;
        let (read, ran) = (median(&mut reads), median(&mut runs));
        println!(
            "{name:44} {:9.1} us {:6.2} GB/s, read {:6.2} GB/s, ratio {:.2}",
            ran * 1e6,
            bytes / ran / 1e9,
            bytes / read / 1e9,
            read / ran
        );
    }
}

type Run<T> = Box<dyn Fn(Backend, Source<'_, T>, &Tiles<'_, T>)>;

fn means<T: Average>(name: &str, input: &Volume<T>, factor: [usize; 3], count: usize, sparse: bool) {
    let name = format!("{}mean {name} {factor:?} x{count}", if sparse { "sparse " } else { "" });
    case(&name, input, &factor, count, |source, targets| {
        let make = || averaging::Plan::new::<T>(source, targets, &factor, count, sparse, false);
        let plan = make();
        let run = move |backend, source: Source<'_, T>, tiles: &Tiles<'_, T>| {
            plan.run(backend, source, tiles, 1, &|| false).expect("nobody interrupts");
        };
        (make().grid, Box::new(run))
    });
}

fn modes<T: Label>(name: &str, input: &Volume<T>, factor: [usize; 3], count: usize, sparse: bool) {
    let name = format!("{}mode {name} {factor:?} x{count}", if sparse { "sparse " } else { "" });
    case(&name, input, &factor, count, |source, targets| {
        let make = || mode::Plan::new(source, targets, &factor, count, sparse, size_of::<T>());
        let plan = make();
        let run = move |backend, source: Source<'_, T>, tiles: &Tiles<'_, T>| {
            plan.run(backend, source, tiles, 1, &|| false).expect("nobody interrupts");
        };
        (make().grid, Box::new(run))
    });
}

fn minima(name: &str, input: &Volume<u8>, factor: [usize; 3], count: usize) {
    case(&format!("min {name} {factor:?} x{count}"), input, &factor, count, |source, targets| {
        let make = || extrema::Plan::new::<u8>(source, targets, &factor, count, Extremum::Min);
        let plan = make();
        let run = move |backend, source: Source<'_, u8>, tiles: &Tiles<'_, u8>| {
            plan.run(backend, source, tiles, 1, &|| false).expect("nobody interrupts");
        };
        (make().grid, Box::new(run))
    });
}

fn all_means<T: Average>(name: &str, depth: usize, voxel: impl Fn(u64) -> T) {
    let input = volume(&[1024, 1024, depth], 1 << 16, 1, voxel);
    for factor in [[2, 2, 1], [2, 2, 2]] {
        means(name, &input, factor, 1, false);
        means(name, &input, factor, 5, false);
        means(name, &input, factor, 1, true);
        means(name, &input, factor, 5, true);
    }
    for factor in [[4, 4, 1], [3, 3, 3], [1, 2, 2], [5, 1, 1]] {
        means(name, &input, factor, 1, false);
    }
}

fn all_modes<T: Label>(name: &str, depth: usize, voxel: impl Fn(u64) -> T) {
    for (kind, run) in [("random", 1), ("runs", 61)] {
        let input = volume(&[1024, 1024, depth], 256, run, &voxel);
        for factor in [[2, 2, 1], [2, 2, 2]] {
            for sparse in [false, true] {
                modes(&format!("{name} {kind}"), &input, factor, 1, sparse);
            }
        }
        modes(&format!("{name} {kind}"), &input, [2, 2, 2], 5, false);
    }
}

fn main() {
    all_means("u8", 96, |v| v as u8);
    all_means("u16", 64, |v| v as u16);
    all_means("f32", 32, |v| v as f32);
    all_means("i32", 32, |v| v as i32);
    all_means("u64", 32, |v| v << 40);
    all_means("f64", 32, |v| v as f64);
    all_modes("u8", 96, |v| v as u8);
    all_modes("u16", 64, |v| v as u16);
    all_modes("u32", 32, |v| v as u32);
    all_modes("u64", 32, |v| v);
    let bytes = volume(&[1024, 1024, 96], 256, 1, |v| v as u8);
    minima("u8", &bytes, [2, 2, 1], 1);
    minima("u8", &bytes, [2, 2, 2], 5);
    let small = volume(&[64, 64, 64], 256, 1, |v| v as u8);
    means("u8 64^3", &small, [2, 2, 1], 1, false);
}
