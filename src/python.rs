//! The binding: this file and what is below it are the only ones that name Python and numpy.
//!
//! Each function borrows arrays that `tinybrain.downsample` has checked and allocated, finds the dtype, makes the
//! plan, releases the GIL once and runs. Shapes and dtypes are checked again, cheaply: a wrong one is an error, never foreign memory.

#![allow(unsafe_code)]

use crate::averaging::{Average, Plan as AveragePlan};
use crate::exact_mode::Plan as ExactModePlan;
use crate::extrema::{Extremum, Ordered, Plan as ExtremaPlan};
use crate::grid::{Array, Grid, Interrupted};
use crate::mode::Plan as ModePlan;
use crate::simd::tiles::Tiles;
use crate::simd::views::{Bool, Extent, Source, Voxel, memory_lines};
use crate::simd::{Backend, Label, Rule};
use numpy::npyffi::NPY_ARRAY_WRITEABLE;
use numpy::{PyArray1, PyArrayDescrMethods, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

mod usual;

/// How long a call may run before a signal is looked for.
const PATIENCE: Duration = Duration::from_millis(50);

/// The arrays of a call.
struct Call<'py> {
    img: Bound<'py, PyUntypedArray>,
    factor: Vec<usize>,
    out: Vec<Bound<'py, PyUntypedArray>>,
    parallel: usize,
    backend: Backend,
}

/// A dtype the kernels know, as its kind and size.
fn dtype_of(array: &Bound<'_, PyUntypedArray>) -> (u8, usize) {
    let dtype = array.dtype();
    (dtype.kind(), dtype.itemsize())
}

fn array_of(array: &Bound<'_, PyUntypedArray>) -> Array {
    let axes = array.shape().iter().zip(array.strides()).map(|(&len, &stride)| Extent { len, stride }).collect();
    // SAFETY: a bound array is a live PyArrayObject.
    let origin = unsafe { (*array.as_array_ptr()).fields.data };
    Array { origin: origin.cast(), axes }
}

fn backend_named(name: Option<&str>) -> PyResult<Backend> {
    let unknown = |name: &str| {
        let known: Vec<_> = Backend::all().into_iter().map(Backend::name).collect();
        PyValueError::new_err(format!("TINYBRAIN_SIMD is {name:?}; this processor has {known:?}"))
    };
    match name {
        None => Backend::current().map_err(unknown),
        Some(name) => Backend::all().into_iter().find(|b| b.name() == name).ok_or_else(|| unknown(name)),
    }
}

impl<'py> Call<'py> {
    fn new(
        img: Bound<'py, PyUntypedArray>,
        factor: Vec<usize>,
        out: Vec<Bound<'py, PyUntypedArray>>,
        parallel: usize,
        backend: Option<&str>,
    ) -> PyResult<Self> {
        let mut shape = img.shape().to_vec();
        if factor.len() != shape.len() || factor.contains(&0) {
            return Err(PyValueError::new_err(format!("factor is {factor:?} for an image of shape {shape:?}")));
        }
        for mip in &out {
            shape.iter_mut().zip(&factor).for_each(|(extent, &f)| *extent = extent.div_ceil(f));
            // SAFETY: a bound array is a live PyArrayObject.
            let flags = unsafe { (*mip.as_array_ptr()).fields.flags };
            if mip.shape() != shape || dtype_of(mip) != dtype_of(&img) || flags & NPY_ARRAY_WRITEABLE == 0 {
                return Err(PyValueError::new_err(format!(
                    "out has shape {:?}; accepted are writable arrays of shape {shape:?}",
                    mip.shape()
                )));
            }
        }
        Ok(Call { img, factor, out, parallel, backend: backend_named(backend)? })
    }

    /// Whether there is nothing to compute.
    fn is_empty(&self) -> bool {
        self.out.is_empty() || self.img.shape().contains(&0)
    }

    /// Input and outputs.
    fn arrays(&self) -> (Array, Vec<Array>) {
        (array_of(&self.img), self.out.iter().map(array_of).collect())
    }

    /// How many threads the call would use.
    fn threads(&self, grid: &Grid) -> usize {
        let tiles = grid.cut_targets(&[]).1.iter().product();
        Grid::threads(self.parallel, self.img.shape().iter().product(), dtype_of(&self.img).1, tiles)
    }

    /// Runs `work` on the arrays as `grid` sees them, with the GIL released.
    fn run<T: Voxel>(
        &self,
        py: Python<'_>,
        grid: &Grid,
        targets: &[Array],
        work: impl FnOnce(Source<'_, T>, &Tiles<'_, T>, usize, &dyn Fn() -> bool) -> Result<(), Interrupted> + Send,
    ) -> PyResult<()> {
        let (cut, counts) = grid.cut_targets(targets);
        let origin = array_of(&self.img).origin;
        // SAFETY: the axes of the grid are those of the array, permuted and merged. The caller holds a reference to
        // it for the time of the call, and does not write to it (numpy's rule for releasing the GIL).
        let source = unsafe { Source::<T>::new(origin, grid.source_axes()) };
        // SAFETY: as above; `tinybrain.downsample` made sure that the outputs are writable and overlap
        // neither the input, nor each other, nor themselves.
        let tiles = unsafe { Tiles::<T>::new(cut, counts) };
        let voxels: usize = self.img.shape().iter().product();
        let threads = Grid::threads(self.parallel, voxels, size_of::<T>(), tiles.len());
        let outcome = py.detach(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let signals = Signals::default();
                let result = work(source, &tiles, threads, &|| signals.pending());
                result.map_err(|Interrupted| signals.raised.into_inner())
            }))
        });
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(raised)) => Err(raised.unwrap_or_else(|| PyRuntimeError::new_err("the call was interrupted"))),
            Err(_) => Err(PyRuntimeError::new_err("internal error in tinybrain: a kernel panicked, please report it")),
        }
    }
}

/// Looks for signals (Ctrl-C) during a long call. Python runs their handlers on its main thread only, so that on other
/// threads there is nothing to see.
struct Signals {
    looked: Cell<Instant>,
    raised: RefCell<Option<PyErr>>,
}

impl Default for Signals {
    fn default() -> Self {
        Signals { looked: Cell::new(Instant::now()), raised: RefCell::new(None) }
    }
}

impl Signals {
    fn pending(&self) -> bool {
        if self.looked.get().elapsed() < PATIENCE {
            return false;
        }
        let outcome = Python::attach(|py| py.check_signals());
        self.looked.set(Instant::now());
        outcome.map_err(|raised| *self.raised.borrow_mut() = Some(raised)).is_err()
    }
}

fn unknown_dtype(img: &Bound<'_, PyUntypedArray>) -> PyErr {
    PyTypeError::new_err(format!("no kernel for dtype {}", img.dtype()))
}

/// Calls `$generic::<T>($args)` for the dtype.
macro_rules! for_dtype {
    ($img:expr, $generic:ident($($arg:expr),*)) => {
        match dtype_of($img) {
            (b'u', 1) => $generic::<u8>($($arg),*),
            (b'u', 2) => $generic::<u16>($($arg),*),
            (b'u', 4) => $generic::<u32>($($arg),*),
            (b'u', 8) => $generic::<u64>($($arg),*),
            (b'i', 1) => $generic::<i8>($($arg),*),
            (b'i', 2) => $generic::<i16>($($arg),*),
            (b'i', 4) => $generic::<i32>($($arg),*),
            (b'i', 8) => $generic::<i64>($($arg),*),
            (b'f', 4) => $generic::<f32>($($arg),*),
            (b'f', 8) => $generic::<f64>($($arg),*),
            _ => Err(unknown_dtype($img)),
        }
    };
}

/// Calls `$generic::<T>($args)` for labels of the dtype's size.
macro_rules! for_label {
    ($img:expr, $generic:ident($($arg:expr),*)) => {
        match dtype_of($img).1 {
            1 => $generic::<u8>($($arg),*),
            2 => $generic::<u16>($($arg),*),
            4 => $generic::<u32>($($arg),*),
            8 => $generic::<u64>($($arg),*),
            _ => Err(unknown_dtype($img)),
        }
    };
}

fn average<T: Average>(py: Python<'_>, call: &Call<'_>, sparse: bool, exact: bool) -> PyResult<()> {
    let (img, out) = call.arrays();
    let plan = AveragePlan::new::<T>(&img, &out, &call.factor, out.len(), sparse, exact);
    let backend = call.backend;
    call.run::<T>(py, &plan.grid, &out, |source, tiles, threads, interrupted| {
        plan.run(backend, source, tiles, threads, interrupted)
    })
}

fn extremum<T: Ordered>(py: Python<'_>, call: &Call<'_>, extremum: Extremum) -> PyResult<()> {
    let (img, out) = call.arrays();
    let plan = ExtremaPlan::new::<T>(&img, &out, &call.factor, out.len(), extremum);
    let backend = call.backend;
    call.run::<T>(py, &plan.grid, &out, |source, tiles, threads, interrupted| {
        plan.run(backend, source, tiles, threads, interrupted)
    })
}

fn modes<T: Label>(py: Python<'_>, call: &Call<'_>, sparse: bool) -> PyResult<()> {
    let (img, out) = call.arrays();
    let plan = ModePlan::new(&img, &out, &call.factor, out.len(), sparse, size_of::<T>());
    let backend = call.backend;
    call.run::<T>(py, &plan.grid, &out, |source, tiles, threads, interrupted| {
        plan.run(backend, source, tiles, threads, interrupted)
    })
}

fn exact_modes<T: Label>(py: Python<'_>, call: &Call<'_>, sparse: bool) -> PyResult<()> {
    let (img, out) = call.arrays();
    let signed = dtype_of(&call.img).0 == b'i';
    let plan = ExactModePlan::new(&img, &out, &call.factor, out.len(), sparse, signed, size_of::<T>());
    let backend = call.backend;
    call.run::<T>(py, &plan.grid, &out, |source, tiles, threads, interrupted| {
        plan.run(backend, source, tiles, threads, interrupted)
    })
}

fn extremum_of(largest: bool) -> Extremum {
    if largest { Extremum::Max } else { Extremum::Min }
}

/// Means of `img` by `factor`, one mip for each array of `out`.
#[pyfunction]
#[pyo3(signature = (img, factor, sparse, out, parallel, backend=None, exact=false))]
#[allow(clippy::too_many_arguments)]
fn averaging<'py>(
    py: Python<'py>,
    img: Bound<'py, PyUntypedArray>,
    factor: Vec<usize>,
    sparse: bool,
    out: Vec<Bound<'py, PyUntypedArray>>,
    parallel: usize,
    backend: Option<&str>,
    exact: bool,
) -> PyResult<()> {
    averaging_of(py, &Call::new(img, factor, out, parallel, backend)?, sparse, exact)
}

fn averaging_of(py: Python<'_>, call: &Call<'_>, sparse: bool, exact: bool) -> PyResult<()> {
    match dtype_of(&call.img) {
        _ if call.is_empty() => Ok(()),
        // True where any voxel is: the mean of bools is their maximum.
        (b'b', 1) if exact => average::<Bool>(py, call, sparse, exact),
        (b'b', 1) => extremum::<Bool>(py, call, Extremum::Max),
        _ => for_dtype!(&call.img, average(py, call, sparse, exact)),
    }
}

/// Minima or maxima of `img` by `factor`, one mip for each array of `out`.
#[pyfunction]
#[pyo3(signature = (img, factor, largest, out, parallel, backend=None))]
fn extrema<'py>(
    py: Python<'py>,
    img: Bound<'py, PyUntypedArray>,
    factor: Vec<usize>,
    largest: bool,
    out: Vec<Bound<'py, PyUntypedArray>>,
    parallel: usize,
    backend: Option<&str>,
) -> PyResult<()> {
    extrema_of(py, &Call::new(img, factor, out, parallel, backend)?, largest)
}

fn extrema_of(py: Python<'_>, call: &Call<'_>, largest: bool) -> PyResult<()> {
    match dtype_of(&call.img) {
        _ if call.is_empty() => Ok(()),
        (b'b', 1) => extremum::<Bool>(py, call, extremum_of(largest)),
        _ => for_dtype!(&call.img, extremum(py, call, extremum_of(largest))),
    }
}

/// Modes of the labels `img`, compared by their bits, by `factor` (powers of two, if not exact), one mip for each array of `out`.
#[pyfunction]
#[pyo3(signature = (img, factor, sparse, out, parallel, backend=None, exact=false))]
#[allow(clippy::too_many_arguments)]
fn segmentation<'py>(
    py: Python<'py>,
    img: Bound<'py, PyUntypedArray>,
    factor: Vec<usize>,
    sparse: bool,
    out: Vec<Bound<'py, PyUntypedArray>>,
    parallel: usize,
    backend: Option<&str>,
    exact: bool,
) -> PyResult<()> {
    if !exact && !factor.iter().all(|f| f.is_power_of_two()) {
        return Err(PyValueError::new_err(format!("factor is {factor:?}; mode pooling takes powers of two")));
    }
    segmentation_of(py, &Call::new(img, factor, out, parallel, backend)?, sparse, exact)
}

fn segmentation_of(py: Python<'_>, call: &Call<'_>, sparse: bool, exact: bool) -> PyResult<()> {
    if call.is_empty() {
        Ok(())
    } else if exact {
        for_label!(&call.img, exact_modes(py, call, sparse))
    } else {
        for_label!(&call.img, modes(py, call, sparse))
    }
}

/// What a call would do, in words, with which backend, and with how many threads; computes nothing.
#[pyfunction]
#[pyo3(signature = (operation, img, factor, num_mips, sparse, parallel, exact=false))]
fn explain<'py>(
    operation: &str,
    img: Bound<'py, PyUntypedArray>,
    factor: Vec<usize>,
    num_mips: usize,
    sparse: bool,
    parallel: usize,
    exact: bool,
) -> PyResult<(String, &'static str, usize)> {
    let call = Call::new(img, factor, Vec::new(), parallel, None)?;
    let dtype = dtype_of(&call.img);
    let (name, call) = (call.backend.name(), &call);
    if num_mips == 0 || call.img.shape().contains(&0) {
        return Ok(("nothing to compute".into(), name, 1));
    }
    let (words, threads) = match (operation, dtype) {
        ("averaging", (b'b', 1)) if exact => explain_average::<Bool>(call, num_mips, sparse, exact),
        ("averaging", (b'b', 1)) => explain_extremum::<Bool>(call, num_mips, Extremum::Max),
        ("averaging", _) => for_dtype!(&call.img, explain_average(call, num_mips, sparse, exact)),
        ("min" | "max", (b'b', 1)) => explain_extremum::<Bool>(call, num_mips, extremum_of(operation == "max")),
        ("min" | "max", _) => {
            for_dtype!(&call.img, explain_extremum(call, num_mips, extremum_of(operation == "max")))
        }
        ("segmentation", _) if exact => for_label!(&call.img, explain_exact_modes(call, num_mips, sparse)),
        ("segmentation", _) => for_label!(&call.img, explain_modes(call, num_mips, sparse)),
        _ => Err(PyValueError::new_err(format!("operation is {operation:?}"))),
    }?;
    Ok((words, name, threads))
}

fn explain_average<T: Average>(call: &Call<'_>, mips: usize, sparse: bool, exact: bool) -> PyResult<(String, usize)> {
    let plan = AveragePlan::new::<T>(&call.arrays().0, &[], &call.factor, mips, sparse, exact);
    let what = if sparse { "sparse mean" } else { "mean" };
    let mut words = format!("{}{what}, sums in {} bits", if exact { "exact " } else { "" }, plan.widths.1);
    if plan.period > 0 && mips > plan.period {
        words += &format!(", truncated every {} mips", plan.period);
    }
    Ok((words, call.threads(&plan.grid)))
}

fn explain_extremum<T: Ordered>(call: &Call<'_>, mips: usize, extremum: Extremum) -> PyResult<(String, usize)> {
    let plan = ExtremaPlan::new::<T>(&call.arrays().0, &[], &call.factor, mips, extremum);
    let what = if extremum == Extremum::Min { "minimum" } else { "maximum" };
    Ok((what.into(), call.threads(&plan.grid)))
}

fn explain_modes<T: Label>(call: &Call<'_>, mips: usize, sparse: bool) -> PyResult<(String, usize)> {
    let plan = ModePlan::new(&call.arrays().0, &[], &call.factor, mips, sparse, size_of::<T>());
    let what = if sparse { "sparse mode" } else { "mode" };
    let rule = match plan.steps[0].rule {
        Rule::Pairs => "by the rule of pairs",
        _ => "by count",
    };
    let steps = plan.steps.len();
    Ok((format!("{what} {rule}, {steps} step{}", if steps == 1 { "" } else { "s" }), call.threads(&plan.grid)))
}

fn explain_exact_modes<T: Label>(call: &Call<'_>, mips: usize, sparse: bool) -> PyResult<(String, usize)> {
    let plan = ExactModePlan::new(&call.arrays().0, &[], &call.factor, mips, sparse, false, size_of::<T>());
    Ok((format!("exact {}mode by lists of labels", if sparse { "sparse " } else { "" }), call.threads(&plan.grid)))
}

/// Reads a contiguous array once, in address order, and writes the whole lines of memory of another one meanwhile if there is one: what
/// benches compare with.
#[pyfunction]
#[pyo3(signature = (img, parallel, out=None))]
fn stream<'py>(
    py: Python<'py>,
    img: Bound<'py, PyUntypedArray>,
    parallel: usize,
    out: Option<Bound<'py, PyArray1<u8>>>,
) -> PyResult<u64> {
    if !img.is_contiguous() {
        return Err(PyValueError::new_err("img: accepted are contiguous arrays"));
    }
    let bytes = img.len() * img.dtype().itemsize();
    if bytes == 0 {
        return Ok(0);
    }
    // SAFETY: a contiguous array is so many bytes from its first voxel on; the caller holds a reference.
    let voxels = unsafe { std::slice::from_raw_parts(array_of(&img).origin.cast_const(), bytes) };
    let mut out = out.map(|out| out.try_readwrite()).transpose()?;
    let lines = match &mut out {
        Some(out) => {
            let bytes = out.as_slice_mut()?;
            let (read, written) = (voxels.as_ptr_range(), bytes.as_ptr_range());
            if read.start < written.end && written.start < read.end {
                return Err(PyValueError::new_err("out: accepted are arrays that share no memory with img"));
            }
            memory_lines(bytes)
        }
        None => &mut [],
    };
    let backend = backend_named(None)?;
    Ok(py.detach(|| crate::stream::read(backend, voxels, lines, parallel.max(1))))
}

/// The backends of this processor, the best last.
#[pyfunction]
fn backends() -> Vec<&'static str> {
    Backend::all().into_iter().map(Backend::name).collect()
}

/// The backend in use.
#[pyfunction]
fn backend() -> PyResult<&'static str> {
    backend_named(None).map(Backend::name)
}

/// The kernels of tinybrain.
#[pymodule]
pub fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Looks numpy's functions up, which runs Python code: now, and not in the first call, where a signal might end it.
    numpy::dtype::<u8>(module.py());
    // With the GIL held, so that no thread of Python can fork in the midst of it.
    crate::pool::prepare();
    crate::simd::lines::prepare();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(averaging, module)?)?;
    module.add_function(wrap_pyfunction!(extrema, module)?)?;
    module.add_function(wrap_pyfunction!(segmentation, module)?)?;
    module.add_function(wrap_pyfunction!(usual::usual, module)?)?;
    module.add_function(wrap_pyfunction!(explain, module)?)?;
    module.add_function(wrap_pyfunction!(stream, module)?)?;
    module.add_function(wrap_pyfunction!(backends, module)?)?;
    module.add_function(wrap_pyfunction!(backend, module)?)
}
