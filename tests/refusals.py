"""The public functions by name, and what a refusal has to look like."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinybrain as tb

Function = Callable[..., list[np.ndarray]]

FUNCTIONS: dict[str, Function] = {
    "averaging": tb.downsample_with_averaging,
    "segmentation": tb.downsample_segmentation,
    "min": tb.downsample_with_min_pooling,
    "max": tb.downsample_with_max_pooling,
    "striding": tb.downsample_with_striding,
}
POOLING = {name: function for name, function in FUNCTIONS.items() if name != "striding"}
EXTREMA = {name: FUNCTIONS[name] for name in ("min", "max")}

every = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
pooling = pytest.mark.parametrize("function", POOLING.values(), ids=POOLING.keys())
extrema = pytest.mark.parametrize("function", EXTREMA.values(), ids=EXTREMA.keys())


class Vec(np.ndarray):
    """An ndarray subclass, such as the ones that callers keep their factors and cutouts in."""

    def __new__(cls, values: Any) -> Vec:
        return np.asarray(values).view(cls)


def image(shape: tuple[int, ...] = (8, 8), dtype: Any = np.uint8) -> np.ndarray:
    """Return small values of the dtype, none of them zero."""
    return (np.arange(int(np.prod(shape))) % 23 + 1).astype(dtype).reshape(shape)


def names(function: Function) -> list[str]:
    """Return the names of the arguments, the image first."""
    return list(inspect.signature(function).parameters)


def first_named(error: BaseException, candidates: list[str]) -> str:
    """Return the one of the candidates that the message names first."""
    found = {name: re.search(rf"\b{name}\b", str(error)) for name in candidates}
    places = {name: match.start() for name, match in found.items() if match}
    assert places, f"the message names none of {candidates}: {error}"
    return min(places, key=places.__getitem__)


def refused(error: type[Exception], argument: str, came: str, function: Function, *args: Any, **kw: Any) -> None:
    """Check that the call raises just this error, naming the argument and what came."""
    with pytest.raises(error) as caught:
        function(*args, **kw)
    assert type(caught.value) is error or isinstance(caught.value, tb.DimensionError)
    message = str(caught.value)
    assert re.search(rf"\b{argument}\b", message), f"{argument} is not named: {message}"
    assert came in message, f"{came} is not in: {message}"


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Tell whether two lists hold equal arrays of equal dtypes."""
    return len(a) == len(b) and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


def dtype_named(error: BaseException, dtype: np.dtype[Any]) -> bool:
    """Tell whether the message names the dtype in one of the ways numpy does."""
    return any(word in str(error) for word in (str(dtype), dtype.name, dtype.str, repr(dtype)))
