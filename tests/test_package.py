"""What the package shows: names, signatures, version, docstrings, types, and what it imports."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import isolated
import tinybrain
import tinybrain.accelerated
import tinybrain.downsample

MAIN = [
    "downsample_with_averaging",
    "downsample_segmentation",
    "downsample_with_min_pooling",
    "downsample_with_max_pooling",
    "downsample_with_striding",
]
LEGACY = [
    "downsample_with_averaging_numpy",
    "downsample_segmentation_2d",
    "odd_to_even2d",
    "countless2d",
    "stippled_countless2d",
    "countless3d",
    "countless",
]
ACCELERATED = ["average_pooling_2x2", "average_pooling_2x2x2", "mode_pooling_2x2", "mode_pooling_2x2x2"]

# As in the documentation; * stands before what is keyword-only.
SIGNATURES = {
    "tinybrain.downsample_with_averaging": (
        "(img, factor, num_mips=1, sparse=False, *, exact=False, out=None, parallel=0)"
    ),
    "tinybrain.downsample_segmentation": (
        "(img, factor, sparse=False, num_mips=1, *, exact=False, out=None, parallel=0)"
    ),
    "tinybrain.downsample_with_min_pooling": "(array, factor, num_mips=1, *, out=None, parallel=0)",
    "tinybrain.downsample_with_max_pooling": "(array, factor, num_mips=1, *, out=None, parallel=0)",
    "tinybrain.downsample_with_striding": "(array, factor, num_mips=1)",
    "tinybrain.explain": ("(img, factor, num_mips=1, sparse=False, *, method='averaging', exact=False, parallel=0)"),
    "tinybrain.downsample.downsample_with_averaging_numpy": "(array, factor, sparse=False)",
    "tinybrain.downsample.downsample_segmentation_2d": "(data4d, factor, sparse)",
    "tinybrain.downsample.odd_to_even2d": "(image)",
    "tinybrain.downsample.countless2d": "(data)",
    "tinybrain.downsample.stippled_countless2d": "(data)",
    "tinybrain.downsample.countless3d": "(data)",
    "tinybrain.downsample.countless": "(data, factor)",
    "tinybrain.accelerated.average_pooling_2x2": "(channel, num_mips=1, sparse=False)",
    "tinybrain.accelerated.average_pooling_2x2x2": "(channel, num_mips=1, sparse=False)",
    "tinybrain.accelerated.mode_pooling_2x2": "(img, num_mips=1)",
    "tinybrain.accelerated.mode_pooling_2x2x2": "(img, num_mips=1, sparse=False)",
}


def named(path: str) -> Callable[..., Any]:
    """Return what a dotted path below tinybrain stands for."""
    thing: Any = tinybrain
    for name in path.split(".")[1:]:
        thing = getattr(thing, name)
    return thing


def bare(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature without its types."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures(path: str) -> None:
    assert str(bare(named(path))) == SIGNATURES[path]


@pytest.mark.parametrize("path", SIGNATURES)
def test_every_argument_and_result_has_a_type(path: str) -> None:
    signature = inspect.signature(named(path))
    assert signature.return_annotation is not inspect.Signature.empty
    assert [p.name for p in signature.parameters.values() if p.annotation is p.empty] == []


@pytest.mark.parametrize("name", MAIN)
def test_the_main_functions_are_importable_from_both_places(name: str) -> None:
    assert getattr(tinybrain, name) is getattr(tinybrain.downsample, name)


def test_public_names() -> None:
    assert {*MAIN, "explain", "Route", "DimensionError", "__version__"} <= set(tinybrain.__all__)
    assert all(hasattr(tinybrain, name) for name in tinybrain.__all__)
    assert all(hasattr(tinybrain.downsample, name) for name in [*MAIN, *LEGACY, "DimensionError"])
    assert all(hasattr(tinybrain.accelerated, name) for name in ACCELERATED)


def test_submodules_need_no_import_of_their_own() -> None:
    # As in earlier releases, `import tinybrain` is enough.
    program = "import tinybrain; tinybrain.downsample.countless2d; tinybrain.accelerated.mode_pooling_2x2"
    assert isolated.finish(program)[0] == 0


def test_star_import() -> None:
    program = "from tinybrain import *; downsample_segmentation, downsample_with_min_pooling"
    assert isolated.finish(program)[0] == 0


def test_dimension_error_is_a_value_error() -> None:
    assert issubclass(tinybrain.DimensionError, ValueError)
    assert tinybrain.DimensionError is tinybrain.downsample.DimensionError


def test_version() -> None:
    assert tinybrain.__version__ == "2.0.0"
    assert importlib.metadata.version("tinybrain") == tinybrain.__version__


def test_types_are_shipped() -> None:
    package = importlib.resources.files("tinybrain")
    assert (package / "py.typed").is_file()
    assert (package / "_native.pyi").is_file()


def new_imports() -> None:
    import sys

    import numpy

    before = set(sys.modules)
    import tinybrain

    roots = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(sorted(roots - set(sys.stdlib_module_names) - {numpy.__name__, tinybrain.__name__}))


def test_importing_tinybrain_imports_nothing_else_but_numpy() -> None:
    assert isolated.run(new_imports)[0] == "[]\n"


def import_quietly() -> None:
    import warnings

    warnings.simplefilter("error")
    import tinybrain

    assert tinybrain.downsample


def test_importing_tinybrain_is_silent() -> None:
    assert isolated.run(import_quietly, flags=("-X", "dev", "-W", "default"))[0] == ""


# --- docstrings -------------------------------------------------------------------------------------


def sections(function: Callable[..., Any]) -> dict[str, str]:
    """Return the numpydoc sections of a docstring: a title, a rule of its length, a text."""
    lines = (inspect.getdoc(function) or "").splitlines()
    starts = [i for i, line in enumerate(lines[1:]) if lines[i] and set(line) == {"-"} and len(line) == len(lines[i])]
    ends = [*starts[1:], len(lines)]
    return {lines[i]: "\n".join(lines[i + 2 : end]) for i, end in zip(starts, ends, strict=True)}


@pytest.mark.parametrize("name", [*MAIN, "explain"])
def test_docstrings_have_the_sections_of_numpydoc(name: str) -> None:
    function = getattr(tinybrain, name)
    assert inspect.getdoc(function).splitlines()[0].endswith(".")
    found = sections(function)
    assert {"Parameters", "Returns", "Raises", "Examples"} <= set(found)
    documented = "\n".join(line for line in found["Parameters"].splitlines() if line and not line.startswith(" "))
    for parameter in inspect.signature(function).parameters:
        assert parameter in documented, f"{parameter} is not among the parameters of {name}"
    assert "ValueError" in found["Raises"]
    assert ">>>" in found["Examples"]


@pytest.mark.parametrize("path", SIGNATURES)
def test_everything_public_has_a_docstring(path: str) -> None:
    assert inspect.getdoc(named(path))


@pytest.mark.parametrize("thing", [tinybrain, tinybrain.downsample, tinybrain.accelerated], ids=lambda m: m.__name__)
def test_modules_have_docstrings(thing: Any) -> None:
    assert thing.__doc__
    assert tinybrain.Route.__doc__
    assert tinybrain.DimensionError.__doc__
