"""What a build writes down so that nothing is lost: ``tinybrain-build.json``, and which tasks are done.

While ``tinybrain-build.json`` is in a volume, the volume is incomplete. It is written before anything else, with the
plan, and removed as the last act. Beside it, in a folder of the same name, are a bitmap per phase of the tasks that
are done, rewritten (whole or not at all) after tasks have finished, so that a task that is marked has all its chunks
written; and the pieces that later phases read (`plan`).

A run resumes what another left if it would write the same: the *fingerprint* holds everything that decides about
bytes, and not memory or threads. The plan is taken from the file then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybrain._arguments import Array
from tinybrain.volumes.plan import Plan, task_count
from tinybrain.volumes.storage import (
    STATE,
    BuildError,
    Store,
    delete_prefix,
    list_keys,
    local_path,
    read_json,
    read_key,
    write_json,
    write_key,
)

FOLDER = "tinybrain-build/"
# What a folder holds that may be overwritten: the metadata of the volumes that `info` knows.
MARKS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", "info", "attributes.json", STATE)


class Journal:
    """The records of one build."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self) -> dict[str, Any] | None:
        """Return the record of an incomplete build, or None."""
        return read_json(self.store, STATE)

    def begin(self, record: dict[str, Any]) -> None:
        """Mark the volume as incomplete."""
        write_json(self.store, STATE, {"state": "incomplete", **record})

    def done(self, phase: int, count: int) -> Array:
        """Return which tasks of a phase are done."""
        bits = read_key(self.store, f"{FOLDER}phase-{phase}.done")
        if bits is None or len(bits) != -(-count // 8):
            return np.zeros(count, bool)
        return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)

    def write_done(self, phase: int, done: Array, seconds: float | None = None) -> None:
        """Write down which tasks of a phase are done."""
        write_key(self.store, f"{FOLDER}phase-{phase}.done", np.packbits(done).tobytes(), seconds)

    def done_in_all(self, plan: Plan) -> int:
        """Return how many tasks of all phases are done."""
        return sum(int(self.done(phase, task_count(p)).sum()) for phase, p in enumerate(plan.phases))

    def drop_pieces(self, stage: int) -> None:
        """Delete the pieces of a stage, once nothing reads them any more."""
        delete_prefix(self.store, f"{FOLDER}pieces-{stage}/")

    def finish(self) -> None:
        """Remove every trace: the volume is complete."""
        _sweep_locks(self.store)
        delete_prefix(self.store, FOLDER)
        delete_prefix(self.store, STATE)


def piece_key(stage: int, block: int) -> str:
    """Where the pieces of a block are kept."""
    return f"{FOLDER}pieces-{stage}/{block:x}"


def is_empty(store: Store) -> bool:
    """Whether nothing is stored under a URL."""
    folder = local_path(store.url)
    if folder is not None:
        return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    return not any(read_key(store, key) for key in MARKS) and not list_keys(store)


def clear(store: Store) -> None:
    """Delete a volume, for `overwrite`; refuse what is no volume, and what holds anything else.

    Killed here, it leaves an incomplete volume, which says what was to be deleted.
    """
    found = [key for key in MARKS if read_key(store, key) is not None]
    if not found:
        raise ValueError(
            f"overwrite: {store.url} holds no volume that tinybrain knows (none of {', '.join(MARKS)}), "
            "so it isn't deleted"
        )
    ours = {*MARKS, FOLDER, *_arrays(store), *(read_json(store, STATE) or {}).get("overwritten", ())}
    entries = _entries(store)
    strange = sorted(set(entries) - ours)
    if strange:
        raise ValueError(
            f"overwrite: {store.url} also holds {', '.join(strange[:5])}{', ...' * (len(strange) > 5)}, which "
            "belongs to no mip, so it isn't deleted"
        )
    write_json(store, STATE, {"state": "incomplete", "overwritten": entries})
    for name in entries:
        if name != STATE:
            delete_prefix(store, name)


def _arrays(store: Store) -> set[str]:
    """Return the folders that the metadata of a volume names: those of its mips."""
    node, attributes = read_json(store, "zarr.json") or {}, read_json(store, ".zattrs") or {}
    group = {**attributes, **node.get("attributes", {}), **node.get("attributes", {}).get("ome", {})}
    paths = [data["path"] for scales in group.get("multiscales", []) for data in scales.get("datasets", [])]
    paths += [scale["key"] for scale in (read_json(store, "info") or {}).get("scales", [])]
    paths += ["c"] * (node.get("node_type") == "array")
    return {path.split("/")[0] + "/" for path in paths}


def _entries(store: Store) -> list[str]:
    folder = local_path(store.url)
    if folder is None:
        return sorted({key.split("/")[0] + "/" * ("/" in key) for key in list_keys(store)})
    strange = [p.name for p in folder.iterdir() if p.is_symlink()]
    if strange:
        raise BuildError(f"overwrite: {folder} holds links ({', '.join(strange)}), so it isn't deleted")
    return [p.name + "/" * p.is_dir() for p in folder.iterdir()]


def _sweep_locks(store: Store) -> None:
    """Remove what a killed writer leaves beside the file that it was about to replace."""
    folder = local_path(store.url)
    if folder is not None:
        for lock in folder.rglob("*.__lock"):
            lock.unlink(missing_ok=True)
