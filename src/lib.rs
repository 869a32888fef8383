//! Image pyramids for volumes: the same volume at 1/2, 1/4, 1/8 ... of its size.
//!
//! The house, from the ground up; each floor knows only those below it:
//!
//! - [`simd`]: instruction sets, strided memory, hand-written kernels; the only unsafe code but the binding's
//! - [`pool`]: threads, and what a fork does to them
//! - [`grid`]: shapes; the sweep that makes all mips from one read
//! - [`fold`]: cells of a row added up; [`sums`]: in which types, and divided how; [`cascade`]: row after row, level after level
//! - [`tally`]: labels counted; [`mixed`], [`look`]: cells that are not uniform, found and decided; [`leaders`]: cells decided by their children's most
//!   frequent labels
//! - [`averaging`], [`extrema`], [`mode`], [`exact_mode`]: what a cell becomes
//! - [`stream`]: the limit they are measured against
//! - `python`: the binding (feature `python`)

pub mod averaging;
pub mod cascade;
pub mod exact_mode;
pub mod extrema;
pub mod fold;
pub mod grid;
pub mod leaders;
pub mod look;
pub mod mixed;
pub mod mode;
pub mod pool;
#[cfg(feature = "python")]
mod python;
pub mod simd;
pub mod stream;
pub mod sums;
pub mod tally;
#[cfg(test)]
mod tests;

#[cfg(feature = "python")]
pub use python::_native;
