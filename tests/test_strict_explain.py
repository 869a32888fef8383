"""explain() says what a call would do, and TINYBRAIN_STRICT and TINYBRAIN_SIMD hold it to that."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import isolated
import tinybrain as tb
import tinybrain._native as native

FUNCTIONS: dict[str, Callable[..., list[np.ndarray]]] = {
    "averaging": tb.downsample_with_averaging,
    "segmentation": tb.downsample_segmentation,
    "min": tb.downsample_with_min_pooling,
    "max": tb.downsample_with_max_pooling,
    "striding": tb.downsample_with_striding,
}
POOLING = [method for method in FUNCTIONS if method != "striding"]
INTS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
NATIVE = ["?", *INTS, "f4", "f8"]
LABELS = [*NATIVE, "f2", "F", "M8[s]", "m8[ns]"]
SWAPPED = [np.dtype(kind).newbyteorder().str for kind in NATIVE if np.dtype(kind).itemsize > 1]

# (method, dtype, factor, engine); "swapped" goes to a kernel after a copy in native byte order.
ROUTES = [
    *[("averaging", dtype, (2, 2), "native") for dtype in NATIVE],
    *[("averaging", dtype, (3, 2), "native") for dtype in NATIVE],
    *[("averaging", dtype, (2, 2), "numpy") for dtype in ["f2", "g", "F", "D", "G"]],
    *[("segmentation", dtype, (2, 2), "native") for dtype in LABELS],
    *[("segmentation", dtype, (4, 2), "native") for dtype in LABELS],
    *[(method, dtype, (2, 2), "swapped") for method in POOLING for dtype in SWAPPED],
    *[("segmentation", dtype, (3, 2), "copy") for dtype in LABELS],
    *[(method, dtype, (2, 3), "native") for method in ("min", "max") for dtype in NATIVE],
    *[(method, dtype, (2, 2), "numpy") for method in ("min", "max") for dtype in ["f2", "g", "M8[s]"]],
    *[("striding", dtype, (2, 2), "view") for dtype in ["u1", "f2", ">u4", "O", "U3"]],
    *[(method, dtype, (1, 1), "view") for method in FUNCTIONS for dtype in ["u1", "f2", "f8", ">u4"]],
]


def image(dtype: str, shape: tuple[int, ...] = (8, 12)) -> np.ndarray:
    return (np.arange(int(np.prod(shape))) % 7).astype("i8").astype(dtype).reshape(shape)


@pytest.mark.parametrize(("method", "dtype", "factor", "engine"), ROUTES, ids=str)
def test_the_route_of_every_method_and_dtype(method: str, dtype: str, factor: Any, engine: str) -> None:
    route = tb.explain(image(dtype), factor, method=method)
    assert route.kernel
    assert route.threads >= 1
    if engine == "swapped":
        assert route.engine in ("native", "numpy")
        assert route.copies
        assert "byte" in route.reason
        return
    assert route.engine == engine
    assert route.copies <= (engine == "numpy")
    if engine == "native":
        assert route.backend == native.backend()
        assert route.reason == ""
    elif engine == "numpy":
        assert route.backend == "numpy"
        assert str(np.dtype(dtype)) in route.reason


def strict_calls(cases: str) -> None:
    """Print whether each case is refused, the environment being strict."""
    import json

    import numpy as np

    import tinybrain as tb

    functions = {
        "averaging": tb.downsample_with_averaging,
        "segmentation": tb.downsample_segmentation,
        "min": tb.downsample_with_min_pooling,
        "max": tb.downsample_with_max_pooling,
        "striding": tb.downsample_with_striding,
    }
    found = []
    for method, dtype, factor, *_ in json.loads(cases):
        img = (np.arange(96) % 7).astype("i8").astype(dtype).reshape(8, 12)
        try:
            functions[method](img, factor)
        except RuntimeError as error:
            found.append("refused" if "TINYBRAIN_STRICT" in str(error) else str(error))
        else:
            found.append("runs")
    print(json.dumps(found))


def test_strict_refuses_what_explain_calls_numpy_or_a_copy_of_the_image_and_nothing_else() -> None:
    out, _ = isolated.run(strict_calls, json.dumps(ROUTES), env={"TINYBRAIN_STRICT": "1"})
    routes = [tb.explain(image(dtype), factor, method=method) for method, dtype, factor, _ in ROUTES]
    slow = [route.engine == "numpy" or route.copies for route in routes]
    assert json.loads(out) == ["refused" if refused else "runs" for refused in slow]


def test_without_strict_everything_runs() -> None:
    out, _ = isolated.run(strict_calls, json.dumps(ROUTES), env={"TINYBRAIN_STRICT": ""})
    assert json.loads(out) == ["runs"] * len(ROUTES)


def strict_layouts_and_legacy() -> None:
    import numpy as np

    import tinybrain as tb
    import tinybrain.downsample as legacy

    base = np.arange(16 * 12 * 10, dtype=np.uint16).reshape(16, 12, 10)
    record = np.zeros((8, 8), [("a", "u1"), ("b", "u4")])
    read_only = base.copy()
    read_only.flags.writeable = False
    for img in (base, base.T, base[::-1, ::2], base[..., 3], read_only, record["b"], base[:0], base[0, 0, 0]):
        factor = (2, 2)[: img.ndim]
        for sparse in (False, True):
            tb.downsample_with_averaging(img, factor, 2, sparse)
            tb.downsample_segmentation(img, factor, sparse, 2)
        tb.downsample_with_min_pooling(img, factor, 2)
        tb.downsample_with_max_pooling(img, factor, 2)
    # numpy by definition, and so not concerned
    legacy.downsample_with_averaging_numpy(base, (2, 2, 1))
    legacy.countless2d(base[..., :1])
    legacy.countless(base, (2, 2, 2))
    legacy.odd_to_even2d(base)
    print("done")


def test_strict_lets_every_layout_and_the_legacy_functions_pass() -> None:
    assert isolated.run(strict_layouts_and_legacy, env={"TINYBRAIN_STRICT": "1"})[0] == "done\n"


@pytest.mark.parametrize(("method", "dtype", "factor", "engine"), ROUTES, ids=str)
def test_only_views_share_memory_with_the_image(method: str, dtype: str, factor: Any, engine: str) -> None:
    img = image(dtype)
    (mip,) = FUNCTIONS[method](img, factor)
    assert np.shares_memory(mip, img) == (engine == "view")


# --- the Route ------------------------------------------------------------------------------------


def test_a_route_is_a_frozen_dataclass() -> None:
    route = tb.explain(image("u1"), (2, 2))
    assert type(route) is tb.Route
    names = [field.name for field in dataclasses.fields(tb.Route)]
    assert names == ["engine", "kernel", "backend", "threads", "copies", "reason"]
    types = [type(getattr(route, name)) for name in names]
    assert types == [str, str, str, int, bool, str]
    with pytest.raises(dataclasses.FrozenInstanceError):
        route.engine = "numpy"  # type: ignore[misc]
    assert route == tb.explain(image("u1"), (2, 2))
    assert hash(route) == hash(tb.explain(image("u1"), (2, 2)))


@pytest.mark.parametrize(("method", "dtype", "factor", "engine"), ROUTES[::5], ids=str)
def test_a_route_is_one_line(method: str, dtype: str, factor: Any, engine: str) -> None:
    route = tb.explain(image(dtype), factor, method=method)
    line = str(route)
    assert line
    assert line.splitlines() == [line]
    assert re.search(rf"\b{route.engine}\b", line)
    assert route.kernel in line


def test_the_signature_of_explain() -> None:
    parameters = inspect.signature(tb.explain).parameters
    assert [(p.name, p.kind.name, p.default) for p in parameters.values()] == [
        ("img", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
        ("factor", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
        ("num_mips", "POSITIONAL_OR_KEYWORD", 1),
        ("sparse", "POSITIONAL_OR_KEYWORD", False),
        ("method", "KEYWORD_ONLY", "averaging"),
        ("exact", "KEYWORD_ONLY", False),
        ("parallel", "KEYWORD_ONLY", 0),
    ]


def test_the_kernel_is_told_in_words() -> None:
    kernels = {
        (method, sparse): tb.explain(image("u1"), (2, 2), 1, sparse, method=method).kernel
        for method in ("averaging", "segmentation")
        for sparse in (False, True)
    }
    kernels |= {(method, False): tb.explain(image("u1"), (2, 2), method=method).kernel for method in POOLING[2:]}
    assert len(set(kernels.values())) == len(kernels) == 6
    assert "mean" in kernels["averaging", False]
    assert "mode" in kernels["segmentation", False]
    assert all("sparse" in kernels[method, True] for method in ("averaging", "segmentation"))


def test_threads_are_those_that_would_work() -> None:
    large = np.broadcast_to(np.zeros(1, np.uint8), (4096, 4096, 16))
    for method in POOLING:
        for parallel in (1, 2, 3):
            assert 1 <= tb.explain(large, (2, 2), method=method, parallel=parallel).threads <= parallel
    assert tb.explain(image("f2"), (2, 2), parallel=8).threads == 1  # numpy
    assert tb.explain(image("u1"), (2, 2), method="striding", parallel=8).threads == 1
    assert tb.explain(image("u1"), (1, 1), parallel=8).threads == 1


def test_nothing_is_computed() -> None:
    endless = np.broadcast_to(np.zeros((), np.uint8), (2**20, 2**20, 2**10))
    for method in FUNCTIONS:
        for factor in ((2, 2), (3, 3, 3), (1, 1)):
            tb.explain(endless, factor, 3, method=method)
    tb.explain(np.broadcast_to(np.zeros((), np.float16), endless.shape), (2, 2))
    tb.explain(np.broadcast_to(np.zeros((), ">u2"), endless.shape), (2, 2))


# --- the same checks as the call --------------------------------------------------------------------

WRONG: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("factor", "u1", 2, {}),
    ("factor", "u1", "22", {}),
    ("factor", "u1", (0, 2), {}),
    ("factor", "u1", (2, 1.5), {}),
    ("factor", "u1", (2, 2, 2), {}),
    ("num_mips", "u1", (2, 2), {"num_mips": -1}),
    ("num_mips", "u1", (2, 2), {"num_mips": None}),
    ("num_mips", "u1", (1, 1), {"num_mips": 1.5}),
]


@pytest.mark.parametrize(("argument", "dtype", "factor", "options"), WRONG, ids=str)
def test_explain_refuses_what_the_call_refuses(argument: str, dtype: str, factor: Any, options: Any) -> None:
    for method, function in FUNCTIONS.items():
        with pytest.raises((TypeError, ValueError), match=rf"\b{argument}\b") as refused:
            function(image(dtype), factor, **options)
        with pytest.raises(type(refused.value), match=rf"\b{argument}\b"):
            tb.explain(image(dtype), factor, method=method, **options)


def test_explain_refuses_dtypes_sizes_and_threads() -> None:
    for method in POOLING:
        with pytest.raises(TypeError, match="object"):
            tb.explain(np.zeros((4, 4), object), (2, 2), method=method)
        with pytest.raises(ValueError, match=r"\bparallel\b"):
            tb.explain(image("u1"), (2, 2), method=method, parallel=-1)
        with pytest.raises(TypeError, match=r"\bparallel\b"):
            tb.explain(image("u1"), (2, 2), method=method, parallel=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        tb.explain(image("u1"), (2, 2), 4)
    tb.explain(image("u1"), (2, 2), 4, method="segmentation")
    for method in ("min", "max"):
        with pytest.raises(TypeError, match="complex64"):
            tb.explain(image("F"), (2, 2), method=method)
    with pytest.raises(TypeError, match="datetime64"):
        tb.explain(image("M8[s]"), (2, 2))


@pytest.mark.parametrize("method", ["", "mean", "AVERAGING", "mode", None, 1])
def test_methods_that_do_not_exist(method: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"\bmethod\b"):
        tb.explain(image("u1"), (2, 2), method=method)


# --- the backend ------------------------------------------------------------------------------------


def backend_in_use() -> None:
    import hashlib

    import numpy as np

    import tinybrain as tb
    import tinybrain._native as native

    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for dtype in ("u1", "i2", "u4", "i8", "f4", "f8"):
        img = np.asfortranarray(rng.integers(0, 5, (67, 45, 9)).astype(dtype))
        for factor in ((2, 2), (2, 2, 2), (3, 1, 2)):
            for sparse in (False, True):
                for mip in tb.downsample_with_averaging(img, factor, 2, sparse):
                    digest.update(mip.tobytes())
                for mip in tb.downsample_segmentation(img, factor, sparse, 2):
                    digest.update(mip.tobytes())
            for mip in tb.downsample_with_max_pooling(img, factor, 2):
                digest.update(mip.tobytes())
    print(native.backend(), tb.explain(img, (2, 2)).backend, digest.hexdigest())


def test_the_environment_chooses_the_backend_and_every_backend_gives_the_same_bits() -> None:
    names = native.backends()
    assert "scalar" in names
    assert native.backend() in names
    answers = {name: isolated.run(backend_in_use, env={"TINYBRAIN_SIMD": name})[0].split() for name in names}
    assert {name: answer[:2] for name, answer in answers.items()} == {name: [name, name] for name in names}
    assert len({answer[2] for answer in answers.values()}) == 1
