"""Volumes larger than memory: multiscale volumes built, described, drawn and opened in Neuroglancer.

Everything here is the extra ``tinybrain[volumes]``; `import tinybrain` doesn't import it.
"""

from tinybrain.volumes.build import Report, build
from tinybrain.volumes.storage import BuildError

__all__ = ["BuildError", "Report", "build"]
