"""What a file of a user's holds: its bytes, unpacked where its name says so, its text, its JSON."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from iterdpo.errors import UserError

MOST_UNPACKED: Final = 1 << 30
"""Bytes that compressed content may come to: a few kilobytes can unpack to more than there is
memory. What is not compressed has no limit."""
TOO_LARGE: Final = f"unpacks to more than {MOST_UNPACKED >> 30} GiB"

_BINARY: Final = (
    (b"\x1f\x8b", "is compressed by gzip: add .gz to its name"),
    (b"PAR1", "is a Parquet file: name it .parquet"),
    (b"PK\x03\x04", "is a zip archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it"),
    (b"\xfd7zXZ\x00", "is compressed by xz: unpack it"),
    (b"BZh91AY&SY", "is compressed by bzip2: unpack it"),
)
"""How files begin that are no text, and what to do with each."""


class UnreadableFileError(ValueError):
    """The file as a whole is not what its suffix says. The text names the problem and advises."""


def unpacked(raw: bytes) -> bytes:
    """Return what gzip packed.

    Raises:
        UnreadableFileError: it is damaged, or unpacks to more than ``MOST_UNPACKED`` bytes.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(MOST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFileError(f"is not a gzip file ({error}): compress it again") from None
    if len(content) > MOST_UNPACKED:
        raise UnreadableFileError(f"{TOO_LARGE}: give it unpacked, or in parts")
    return content


def decoded(raw: bytes) -> str:
    """Return the text of a file, without the mark that some editors put before it.

    Raises:
        UnreadableFileError: it is not UTF-8; the text says what it is, or where it is not.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"line {line} is not UTF-8 (byte 0x{raw[error.start]:02x}): save the file as UTF-8"
        said = next((said for start, said in _BINARY if raw.startswith(start)), found)
        raise UnreadableFileError(said) from None


def read_text(path: Path) -> str:
    """Return the text of a file, its lines ending as Python's do.

    Raises:
        OSError: it cannot be read.
        UnreadableFileError: it is no text.
    """
    return io.StringIO(decoded(path.read_bytes()), newline=None).read()


def text_file(path: Path, said: str) -> str:
    """Return the text of a file that a user named.

    Args:
        path: the file.
        said: what named it, for messages, such as ``judge.labels=FILE``.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        return read_text(path)
    except OSError as error:
        raise UserError(f"{said}: cannot be read ({error.strerror}): check the path") from None
    except ValueError as error:
        raise UserError(f"{said}: {error}") from None


def json_value(text: str) -> Any:
    """Return what JSON says, if it says one thing.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or an object names a field twice;
            ``json_reason`` says it on one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def json_reason(error: ValueError) -> str:
    """Return on one line what ``json_value`` found."""
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return f"{error.msg.removesuffix(' at')}, {line}column {error.colno}"
    return str(error)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"names the field {json.dumps(twice)} twice")
    return found
