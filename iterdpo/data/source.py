"""Where rows come from: a file, a directory or a dataset of the Hugging Face hub.

A file is read by our own readers, so that a broken row is named by its line. A directory and a
dataset of the hub go through ``datasets``, with what is cached where there is no network; single
files of a hub repository are downloaded as they are, which also serves repositories that carry a
loading script. No code that comes with a dataset is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterdpo.data.content import UnreadableFileError
from iterdpo.data.rows import Row, file_bytes, read_rows, suffix_of
from iterdpo.errors import UserError

if TYPE_CHECKING:
    import datasets

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class RowSource:
    """Names the rows of a file, a directory or a dataset of the hub."""

    path: str
    """A file, a directory, or a hub id such as ``org/name``; what is there on disk comes first."""
    key: str
    """The setting that holds ``path``, such as ``prompts.path``, for messages."""
    subset: str | None = None
    """The dataset's configuration, where it has several."""
    split: str = "train"
    revision: str | None = None
    """Branch, tag or commit of the hub; null for the default branch."""
    files: tuple[str, ...] = ()
    """Files of the repository or directory to read instead of a split."""

    @property
    def said(self) -> str:
        """The setting and its value, as messages begin."""
        return f"{self.key}={self.path}"

    @property
    def name(self) -> str:
        """What records call it: the file's or directory's name, or the hub id."""
        local = Path(self.path).expanduser()
        return local.name if local.exists() else self.path


def read_source(source: RowSource, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a source; a row's place names its file or split.

    Args:
        source: What to read.
        columns: The fields that are needed, the most important first; others may be left out.

    Raises:
        UserError: it is not there, cannot be reached or read, or holds no row.
    """
    path = Path(source.path).expanduser()
    if path.is_file() or (suffix_of(path) and not source.files and not _is_hub_id(source.path)):
        rows = _file_rows(path, source.said, columns)
    elif path.is_dir():
        rows = list(_directory_rows(source, path, columns))
    elif _is_hub_id(source.path):
        rows = list(_hub_rows(source, columns))
    else:
        raise UserError(
            f"{source.said}: no such file or directory, and no hub id such as org/name: check it"
        )
    if not rows:
        raise UserError(f"{source.said}: holds no row: check it")
    return rows


def _is_hub_id(path: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) is not None


def _file_rows(path: Path, said: str, columns: Sequence[str]) -> list[Row]:
    raw = file_bytes(path, said)
    suffix = suffix_of(path)
    assert suffix is not None
    try:
        return list(read_rows(raw, suffix, columns))
    except UnreadableFileError as error:
        raise UserError(f"{said}: {error}") from None


def _directory_rows(source: RowSource, path: Path, columns: Sequence[str]) -> Iterator[Row]:
    if source.files:
        for name in source.files:
            yield from _named(name, _file_rows(path / name, f"{source.key}={path / name}", columns))
        return
    yield from _dataset_rows(source, columns, str(path))


def _hub_rows(source: RowSource, columns: Sequence[str]) -> Iterator[Row]:
    if not source.files:
        yield from _dataset_rows(source, columns, source.path)
        return
    for name in source.files:
        local = Path(_downloaded(source, name))
        yield from _named(name, _file_rows(local, f"{source.said}/{name}", columns))


def _named(name: str, rows: Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        problem = f"{name}, {row.problem}" if row.problem else ""
        yield replace(row, where=f"{name}, {row.where}", problem=problem)


def _downloaded(source: RowSource, name: str) -> str:
    from huggingface_hub import hf_hub_download

    try:
        return hf_hub_download(source.path, name, repo_type="dataset", revision=source.revision)
    except (OSError, ValueError) as error:  # the hub's own errors are OSErrors or ValueErrors
        raise UserError(f"{source.said}/{name}: {_reason(source.path, error)}") from None


def _dataset_rows(source: RowSource, columns: Sequence[str], path: str) -> Iterator[Row]:
    dataset = _loaded(source, path)
    names = dataset.column_names
    # Without any of them, one other suffices to report each row.
    wanted = [name for name in dict.fromkeys(columns) if name in names] or names[:1]
    absent = dict.fromkeys(name for name in names if name not in wanted)
    for number, fields in enumerate(dataset.select_columns(wanted), start=1):
        yield Row(f"{source.split}, row {number}", absent | fields)


def _loaded(source: RowSource, path: str) -> datasets.Dataset:
    import datasets

    try:
        dataset = datasets.load_dataset(
            path, source.subset, split=source.split, revision=source.revision
        )
    except (OSError, RuntimeError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{source.said}: {_reason(source.path, error)}") from None
    if not isinstance(dataset, datasets.Dataset):
        raise UserError(f"{source.said}: split {source.split!r} is not one table of rows")
    _require_revision(source, dataset)
    return dataset


def _require_revision(source: RowSource, dataset: Any) -> None:
    """Refuse what the library takes from its cache, without a network, for another commit."""
    local = Path(source.path).expanduser().exists()  # a local copy has no revision
    if local or source.revision is None or not _COMMIT.fullmatch(source.revision):
        return
    files = [item["filename"] for item in dataset.cache_files]
    if files and not any(source.revision in file for file in files):
        raise UserError(
            f"{source.said}: the hub cannot be reached and the cache holds another revision than "
            f"{source.revision[:10]}: go online once, or set the revision to null"
        )


def _reason(repository: str, error: Exception) -> str:
    """Return what went wrong, on one line, and what to do."""
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    known = f"{type(error).__name__} {said}".lower()
    local = Path(repository).expanduser().exists()
    page = "what is there" if local else f"https://huggingface.co/datasets/{repository}"
    if "gated" in known or "authenticated" in known:
        advice = f"is gated: accept its terms at {page} and run `hf auth login`"
    elif "scripts are no longer supported" in known:
        advice = (
            "comes with a loading script, which is never run: name its data files with the "
            "setting files, or download them and give their path"
        )
    elif any(word in known for word in ("connect", "offline", "reach", "localentry", "timeout")):
        advice = (
            "the hub cannot be reached and the dataset is not in the cache: check the network, "
            "or give the path of a local copy"
        )
    elif any(word in known for word in ("split", "config", "revision", "entrynotfound")):
        advice = f"{said[:200]}: check subset, split, revision and files against {page}"
    else:
        advice = f"cannot be loaded ({said[:200]}): check the path or name against {page}"
    return advice
