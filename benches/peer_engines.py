"""How each library makes a call: `bind` returns a function to time and one that shows its result.

Only what a caller has to do for every volume is inside the timed function; wrapping the input and making
the arrays to write into (where a library takes them) are done before.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bars import NEW, OLD, Call
from volumes import Array, Shape

NATIVE = Path(__file__).resolve().parents[1] / "python" / "tinybrain"
Bound = tuple[Callable[[], Any], Callable[[Any], list[Array]]]

FUNCTIONS = {
    "avg": "downsample_with_averaging",
    "seg": "downsample_segmentation",
    "min": "downsample_with_min_pooling",
    "max": "downsample_with_max_pooling",
}
PACKAGES = {
    NEW: ("tinybrain", "numpy"),
    OLD: ("tinybrain", "numpy"),
    "TensorStore": ("tensorstore",),
    "OpenCV": ("opencv-python-headless",),
    "Pillow": ("pillow",),
    "scikit-image": ("scikit-image",),
    "ITK-Wasm": ("itkwasm-downsample",),
}

MODULES = {
    NEW: "tinybrain",
    OLD: "tinybrain",
    "TensorStore": "tensorstore",
    "OpenCV": "cv2",
    "Pillow": "PIL.Image",
    "scikit-image": "skimage.transform",
    "ITK-Wasm": "itkwasm_downsample",
}


def versions(library: str) -> dict[str, str]:
    """Import a library; return the versions of its packages."""
    importlib.import_module(MODULES[library])
    return {name: importlib.metadata.version(name) for name in PACKAGES[library]}


# --- The limit ------------------------------------------------------------------------------------


STREAM = "tinybrain._native.stream"


def stream_function() -> Callable[..., object]:
    """Return the plain sequential read, of an array by a number of threads, and into bytes if there are some."""
    # By its path: the package of this name may be 1.7.0.
    path = next((path for path in sorted(NATIVE.glob("_native.*")) if path.suffix in (".so", ".pyd")), None)
    if path is None:
        raise FileNotFoundError("tinybrain is not built here: make build")
    spec = importlib.util.spec_from_file_location("_native", path)
    assert spec is not None
    assert spec.loader is not None
    native: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    return native.stream  # type: ignore[no-any-return]


# --- tinybrain ------------------------------------------------------------------------------------


def empty_mips(call: Call, array: Array) -> list[Array]:
    """Make arrays for the mips, in the order of the input, every page touched."""
    order: Any = "C" if call.volume.layout != "F" else "F"
    return [np.full(shape, 1, array.dtype, order=order) for shape in mip_shapes(call)]


def mip_shapes(call: Call) -> list[Shape]:
    """Shapes of the mips of a call."""
    levels = range(1, call.mips + 1)
    return [tuple(-(-n // f**k) for n, f in zip(call.volume.shape, call.factor, strict=True)) for k in levels]


def bind_tinybrain(call: Call, array: Array) -> Bound:
    """Either release; the old one has no `out` and one thread."""
    import tinybrain
    import tinybrain.downsample

    function: Any = getattr(tinybrain.downsample, FUNCTIONS[call.op])
    keywords: dict[str, Any] = {"num_mips": call.mips}
    if call.op in ("avg", "seg"):
        keywords["sparse"] = call.sparse
    if call.exact:
        keywords["exact"] = True
    if call.library != OLD:
        keywords["parallel"] = call.parallel
        if call.out:
            keywords["out"] = empty_mips(call, array)
    return lambda: function(array, call.factor, **keywords), list


def route_threads(call: Call, array: Array) -> int:
    """Return how many threads tinybrain 2.0 says it would use."""
    import tinybrain

    method = {"avg": "averaging", "seg": "segmentation"}.get(call.op, call.op)
    route = tinybrain.explain(array, call.factor, call.mips, call.sparse, method=method, parallel=call.parallel)
    return int(route.threads)


# --- The others -----------------------------------------------------------------------------------


def bind_tensorstore(call: Call, array: Array) -> Bound:
    """Views of views, written into given arrays one after the other; exact: views of the input, read afresh."""
    import tensorstore as ts

    context = ts.Context({"data_copy_concurrency": {"limit": call.parallel}})
    method = {"avg": "mean", "seg": "mode"}[call.op]
    if call.exact:
        source = ts.array(array, context=context)
        factors = [[f**k for f in call.factor] for k in range(1, call.mips + 1)]
        direct = [ts.downsample(source, factor, method) for factor in factors]
        order: Any = "C" if call.volume.layout != "F" else "F"
        return lambda: [view.read(order=order).result() for view in direct], list
    mips = empty_mips(call, array)
    levels = [ts.array(mip, context=context) for mip in (array, *mips)]
    views = [ts.downsample(level, list(call.factor), method) for level in levels[:-1]]

    def run() -> None:
        for view, target in zip(views, levels[1:], strict=True):
            target.write(view).result()

    return run, lambda _: mips


def bind_opencv(call: Call, array: Array) -> Bound:
    """Slice by slice, every mip from the one before, into given arrays."""
    import cv2

    cv2.setNumThreads(call.parallel)
    mips = empty_mips(call, array)
    pairs = []
    for above, mip in zip((array, *mips), mips, strict=False):
        stacks = [a.reshape((*a.shape, 1)[:3], order="F").T for a in (above, mip)]  # (z, y, x), C order
        pairs += [(source, target, target.shape[::-1]) for source, target in zip(*stacks, strict=True)]

    def run() -> None:
        for source, target, size in pairs:
            cv2.resize(source, size, dst=target, interpolation=cv2.INTER_AREA)

    return run, lambda _: mips


def bind_pillow(call: Call, array: Array) -> Bound:
    """Slice by slice; Pillow makes its own images."""
    from PIL import Image

    stack = array.reshape((*array.shape, 1)[:3], order="F").T
    images = [Image.fromarray(flat) for flat in stack]

    def run() -> list[Any]:
        return [image.reduce(2) for image in images]

    def result(made: list[Any]) -> list[Array]:
        return [
            np.stack([np.asarray(image) for image in made]).T[(slice(None),) * array.ndim + (0,) * (3 - array.ndim)]
        ]

    return run, result


def bind_scikit_image(call: Call, array: Array) -> Bound:
    """The local mean, which comes as float64."""
    from skimage.transform import downscale_local_mean

    return lambda: downscale_local_mean(array, call.factor), lambda made: [made]


def bind_itkwasm(call: Call, array: Array) -> Bound:
    """The shrinking filter, compiled to WebAssembly."""
    import itkwasm
    import itkwasm_downsample

    image = itkwasm.image_from_array(array.T)

    def run() -> Any:
        return itkwasm_downsample.downsample_bin_shrink(image, shrink_factors=list(call.factor))

    return run, lambda made: [np.asarray(made.data).T]


ENGINES: dict[str, Callable[[Call, Array], Bound]] = {
    NEW: bind_tinybrain,
    OLD: bind_tinybrain,
    "TensorStore": bind_tensorstore,
    "OpenCV": bind_opencv,
    "Pillow": bind_pillow,
    "scikit-image": bind_scikit_image,
    "ITK-Wasm": bind_itkwasm,
}


def bind(call: Call, array: Array, whole: Array) -> Bound:
    """Return the function to time, and what makes a list of mips of what it returns."""
    if call.op == "stream":
        read = stream_function()
        return lambda: read(whole, call.parallel), lambda made: []
    if call.op == "pass":
        read = stream_function()
        written = np.ones(sum(math.prod(shape) for shape in mip_shapes(call)) * array.itemsize, np.uint8)
        return lambda: read(whole, call.parallel, written), lambda made: []
    if call.op == "add":
        other, into = array.copy(order="K"), np.zeros_like(array)
        return lambda: np.add(array, other, out=into), lambda made: [made]
    return ENGINES[call.library](call, array)
