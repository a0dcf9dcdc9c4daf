"""The records of a stage, its adapter or its weights, written where other programs read them.

What is exported is compared with the hashes in the store first, and appears whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from iterdpo.errors import UserError
from iterdpo.models.layout import ADAPTER_CONFIG, ADAPTER_DIR, MODEL_DIR
from iterdpo.store.atomic import PARTIAL_PREFIX, published_directory, sync
from iterdpo.store.inventory import Finished
from iterdpo.store.manifest import verify
from iterdpo.store.tables import RECORDS_FILE

BATCH = 1_024
"""Records in memory at a time."""

_JSONL, _PARQUET = ".jsonl", ".parquet"
_SUFFIX = re.compile(r"\.[A-Za-z]\w*")
# What tells a directory that an earlier export wrote from one that holds something else.
# Weights need a file for that: any checkpoint has a config.json.
_OWN_FILE = "iterdpo.json"
_OWN_FILES = ("dataset_info.json", ADAPTER_CONFIG, _OWN_FILE)
_TREES = {
    ADAPTER_DIR: "the adapter, for PeftModel.from_pretrained(base, {})",
    MODEL_DIR: "the weights, for AutoModelForCausalLM.from_pretrained({})",
}
"""What is exported as it lies in its stage, with its description."""


def export(stage: Finished, target: Path, *, force: bool = False) -> str:
    """Write what a stage made to ``target`` and return a line that says what it holds.

    Records go to JSON lines (``.jsonl``: one record a line, numbers that JSON does not know become
    null), to Parquet (``.parquet``: the store's own file), or, without a suffix, to a directory for
    ``datasets.load_from_disk``. An adapter goes to a directory in PEFT's layout, and the weights of
    a stage that trained or merged all of them to one that ``transformers`` loads.

    Args:
        stage: what to export.
        target: where to; its directory is made.
        force: replace what is there: a file, or a directory of an earlier export.

    Raises:
        UserError: the stage has none of these, or is damaged; the target's suffix is of no known
            kind, or it exists, or it cannot be written.
    """
    kind = _kind(stage, target)
    _require_free(stage, target, force)
    stage.readable()
    verify(stage.directory)
    try:
        return _written(stage, target, kind)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{error.filename or target}: cannot be written ({reason})") from error


def _written(stage: Finished, target: Path, kind: str) -> str:
    table = stage.directory / RECORDS_FILE
    if kind in _TREES:
        with _directory(target) as work:
            shutil.copytree(stage.directory / kind, work, dirs_exist_ok=True)
            if kind == MODEL_DIR:
                provenance = {"stage": stage.ref.stage, "key": stage.ref.key}
                (work / _OWN_FILE).write_text(json.dumps(provenance, indent=2) + "\n", "utf-8")
        return _TREES[kind].format(repr(str(target)))
    if kind == _PARQUET:
        with _file(target) as place:
            shutil.copyfile(table, place)
        return f"{stage.records()} records, as Parquet"
    if kind == _JSONL:
        with _file(target) as place:
            count, nulls = _write_lines(table, place)
        lost = f"; {nulls} numbers that JSON does not know are null" if nulls else ""
        return f"{count} records, as JSON lines{lost}"
    with _directory(target) as work:
        count = _write_dataset(table, work)
    return f"{count} records, for datasets.load_from_disk({str(target)!r})"


def _kind(stage: Finished, target: Path) -> str:
    suffix = target.suffix.lower()
    for tree, description in _TREES.items():
        if (stage.directory / tree).is_dir():
            if _SUFFIX.fullmatch(suffix):
                what = description.partition(",")[0]
                raise UserError(
                    f"{target}: no file holds {what}; name a directory, without a suffix"
                )
            return tree
    if not (stage.directory / RECORDS_FILE).is_file():
        raise UserError(f"{stage.ref.short}: has no records, adapter or weights to export")
    if _SUFFIX.fullmatch(suffix) and suffix not in (_JSONL, _PARQUET):
        raise UserError(
            f"{target}: records go to a file that ends in .jsonl or .parquet, or to a directory "
            "without a suffix"
        )
    return suffix if suffix in (_JSONL, _PARQUET) else "dataset"


def _require_free(stage: Finished, target: Path, force: bool) -> None:
    store = stage.directory.parents[1].resolve()
    place = Path(os.path.realpath(target))  # unlike resolve, it takes a link that leads to itself
    if store in (place, *place.parents):
        raise UserError(f"{target}: lies in the store, which holds stages only; name another place")
    if not (target.exists() or target.is_symlink()):
        return
    if not force:
        raise UserError(f"{target}: exists already; --force replaces it")
    if target.is_dir() and not any((target / name).is_file() for name in _OWN_FILES):
        raise UserError(
            f"{target}: is a directory that no export wrote, and is not replaced; name another one"
        )


@contextmanager
def _file(target: Path) -> Iterator[Path]:
    """Yield a place that becomes ``target`` when the block ends without an error."""
    if target.is_dir():
        raise UserError(f"{target}: is a directory; name a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=PARTIAL_PREFIX) as work:
        place = Path(work) / target.name
        yield place
        sync(place)
        place.replace(target)
    sync(target.parent)


@contextmanager
def _directory(target: Path) -> Iterator[Path]:
    """Yield a directory that becomes ``target`` when the block ends without an error."""
    with published_directory(target) as work:
        yield work
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def _write_lines(table: Path, place: Path) -> tuple[int, int]:
    """Return how many records were written, and how many numbers in them became null."""
    import pyarrow.parquet

    count = nulls = 0
    with pyarrow.parquet.ParquetFile(table) as source, place.open("w", encoding="utf-8") as file:
        for batch in source.iter_batches(BATCH):
            for row in batch.to_pylist():
                known, lost = finite(row)
                file.write(json.dumps(known, ensure_ascii=False, allow_nan=False) + "\n")
                count, nulls = count + 1, nulls + lost
    return count, nulls


def finite(value: Any) -> tuple[Any, int]:
    """Return ``value`` with null for infinite and undefined numbers, and how many these were."""
    if isinstance(value, dict):
        items = {name: finite(item) for name, item in value.items()}
        return {name: item for name, (item, _) in items.items()}, sum(n for _, n in items.values())
    if isinstance(value, list):
        known = [finite(item) for item in value]
        return [item for item, _ in known], sum(lost for _, lost in known)
    if isinstance(value, float) and not math.isfinite(value):
        return None, 1
    return value, 0


def _write_dataset(table: Path, directory: Path) -> int:
    import datasets
    import pyarrow.parquet

    dataset = datasets.Dataset(pyarrow.parquet.read_table(table))
    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.utils.logging.disable_progress_bar()
    try:
        dataset.save_to_disk(str(directory))
    finally:
        if shown:
            datasets.utils.logging.enable_progress_bar()
    return cast(int, dataset.num_rows)
