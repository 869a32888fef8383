//! Calls of the usual kind, from the first check to the last voxel in one step.
//!
//! Small chunks come by the million, and in Python the checks of a call cost more than the means of a chunk of 64 x 64 x 64. Most
//! calls are plain: an array as it is, a tuple of integers, outputs that lie apart. Here is looked whether a call is; if anything
//! about it is out of the ordinary, be it right or wrong, the answer is `None`, and `tinybrain._call` takes its time: it knows
//! all rules, and the words for what breaks them. So this may be as narrow as it likes, but must not let anything through
//! that would be refused there.

use super::{Call, averaging_of, dtype_of, extrema_of, segmentation_of};
use numpy::npyffi::{NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_F_CONTIGUOUS, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyList, PyTuple};
use std::ffi::c_int;
use std::ops::Range;

/// More mips than that are not usual.
const MOST_MIPS: usize = 32;

/// The mips of a call of the usual kind; `None` for any other.
#[pyfunction]
#[pyo3(signature = (method, img, factor, num_mips, sparse, exact, out, parallel, /))]
#[allow(clippy::too_many_arguments)]
pub fn usual<'py>(
    py: Python<'py>,
    method: &str,
    img: &Bound<'py, PyAny>,
    factor: &Bound<'py, PyAny>,
    num_mips: &Bound<'py, PyAny>,
    sparse: &Bound<'py, PyAny>,
    exact: &Bound<'py, PyAny>,
    out: &Bound<'py, PyAny>,
    parallel: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let checked = || {
        // Of a subclass, too, these are the voxels: what Python code says of them is not asked.
        let img = img.cast::<PyUntypedArray>().ok()?;
        let (sparse, exact) = (truth(sparse)?, truth(exact)?);
        let (mips, parallel) = (integer(num_mips)?, integer(parallel)?);
        let factor = factor_of(factor, img.shape().len())?;
        let takes = (1..=MOST_MIPS).contains(&mips)
            && knows_dtype(method, img, exact)
            && knows_shape(method, img.shape(), &factor, mips, exact);
        takes.then_some((img, factor, mips, sparse, exact, parallel))
    };
    let Some((img, factor, mips, sparse, exact, parallel)) = checked() else { return Ok(None) };
    let shapes = shapes(img.shape(), &factor, mips);
    let outputs = match (out.is_none(), is_contiguous(img)) {
        (true, false) => None,
        (true, true) => Some(shapes.iter().map(|shape| empty(img, shape)).collect::<PyResult<Vec<_>>>()?),
        (false, _) => given(out, img, &shapes),
    };
    let Some(outputs) = outputs else { return Ok(None) };
    let mips = PyList::new(py, &outputs)?;
    let call = Call::new(img.clone(), factor, outputs, parallel, None)?;
    match method {
        "averaging" => averaging_of(py, &call, sparse, exact),
        "segmentation" => segmentation_of(py, &call, sparse, exact),
        _ => extrema_of(py, &call, method == "max"),
    }?;
    Ok(Some(mips))
}

fn truth(value: &Bound<'_, PyAny>) -> Option<bool> {
    Some(value.cast_exact::<PyBool>().ok()?.is_true())
}

/// A number from 0 to 2^30, beyond which nothing changes but words.
fn integer(value: &Bound<'_, PyAny>) -> Option<usize> {
    let value = value.cast_exact::<PyInt>().ok()?.extract::<usize>().ok()?;
    (value <= 1 << 30).then_some(value)
}

/// The entries of a tuple or a list.
fn entries<'py>(row: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    match row.cast_exact::<PyTuple>() {
        Ok(row) => Some(row.iter().collect()),
        Err(_) => Some(row.cast_exact::<PyList>().ok()?.iter().collect()),
    }
}

/// An entry for every axis.
fn factor_of(factor: &Bound<'_, PyAny>, axes: usize) -> Option<Vec<usize>> {
    let mut factor = entries(factor)?.iter().map(integer).collect::<Option<Vec<_>>>()?;
    let fits = factor.len() <= axes && factor.iter().all(|&f| f >= 1) && factor.iter().any(|&f| f > 1);
    factor.resize(axes, 1);
    fits.then_some(factor)
}

/// Whether the method has a kernel for voxels of that kind, as they are.
fn knows_dtype(method: &str, img: &Bound<'_, PyUntypedArray>, exact: bool) -> bool {
    let whole = matches!(dtype_of(img), (b'b', 1) | (b'u' | b'i', 1 | 2 | 4 | 8));
    let float = matches!(dtype_of(img), (b'f', 4 | 8));
    let known = whole || (float && !(exact && method == "segmentation"));
    known && img.dtype().is_native_byteorder() != Some(false)
}

/// Whether the method takes all mips of that shape, each of which differs from the one before.
fn knows_shape(method: &str, shape: &[usize], factor: &[usize], mips: usize, exact: bool) -> bool {
    let pooled = || shape.iter().zip(factor).filter(|&(_, &f)| f > 1);
    let differ = mips == 1 || pooled().any(|(&extent, &f)| f.checked_pow(mips as u32 - 1).is_some_and(|f| f < extent));
    let halving = matches!(pooled().count(), 2 | 3) && pooled().all(|(_, &f)| f == 2);
    let allowed = match method {
        "averaging" => exact || !halving || pooled().all(|(&extent, _)| extent >> mips > 0),
        "segmentation" => exact || factor.iter().all(|f| f.is_power_of_two()),
        _ => true,
    };
    differ && allowed && !shape.contains(&0)
}

/// The shape of every mip.
fn shapes(shape: &[usize], factor: &[usize], mips: usize) -> Vec<Vec<usize>> {
    let below = |shape: &Vec<usize>| Some(shape.iter().zip(factor).map(|(n, &f)| n.div_ceil(f)).collect());
    std::iter::successors(below(&shape.to_vec()), below).take(mips).collect()
}

fn flags(array: &Bound<'_, PyUntypedArray>) -> c_int {
    // SAFETY: a bound array is a live PyArrayObject.
    unsafe { (*array.as_array_ptr()).fields.flags }
}

fn is_contiguous(array: &Bound<'_, PyUntypedArray>) -> bool {
    flags(array) & (NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS) != 0
}

/// A new array in the dtype and the order of `img`, which is contiguous.
fn empty<'py>(img: &Bound<'py, PyUntypedArray>, shape: &[usize]) -> PyResult<Bound<'py, PyUntypedArray>> {
    let (py, mut dims) = (img.py(), shape.iter().map(|&n| n as npy_intp).collect::<Vec<_>>());
    let is_f_order = flags(img) & NPY_ARRAY_C_CONTIGUOUS == 0;
    let dtype = img.dtype().into_dtype_ptr();
    // SAFETY: so many extents; the reference to the dtype is numpy's now, and that to the array is ours.
    unsafe {
        let array = PY_ARRAY_API.PyArray_Empty(py, dims.len() as c_int, dims.as_mut_ptr(), dtype, is_f_order.into());
        Ok(Bound::from_owned_ptr_or_err(py, array)?.cast_into_unchecked())
    }
}

/// The bytes from the first to the last voxel.
fn bounds(array: &Bound<'_, PyUntypedArray>) -> Range<isize> {
    // SAFETY: a bound array is a live PyArrayObject.
    let origin = unsafe { (*array.as_array_ptr()).fields.data } as isize;
    let (mut bounds, steps) = (origin..origin, array.shape().iter().zip(array.strides()));
    for (&extent, &stride) in steps {
        let reach = (extent as isize - 1) * stride;
        bounds = bounds.start + reach.min(0)..bounds.end + reach.max(0);
    }
    bounds.start..bounds.end + array.dtype().itemsize() as isize
}

/// The arrays that are to be filled, if there is nothing to say against it: they are contiguous and lie apart.
fn given<'py>(
    out: &Bound<'py, PyAny>,
    img: &Bound<'py, PyUntypedArray>,
    shapes: &[Vec<usize>],
) -> Option<Vec<Bound<'py, PyUntypedArray>>> {
    let out: Vec<_> = entries(out)?.into_iter().map(|array| array.cast_into().ok()).collect::<Option<_>>()?;
    let fits = |(array, shape): (&Bound<'py, PyUntypedArray>, &Vec<usize>)| {
        array.shape() == shape
            && dtype_of(array) == dtype_of(img)
            && array.dtype().is_native_byteorder() != Some(false)
            && flags(array) & NPY_ARRAY_WRITEABLE != 0
            && is_contiguous(array)
    };
    let mut taken: Vec<_> = out.iter().chain([img]).map(bounds).collect();
    taken.sort_by_key(|bounds| bounds.start);
    let apart = taken.windows(2).all(|pair| pair[0].end <= pair[1].start);
    (out.len() == shapes.len() && out.iter().zip(shapes).all(fits) && apart).then_some(out)
}
