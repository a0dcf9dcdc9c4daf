"""Reads back what W&B wrote offline: the ``.wandb`` file, record by record.

The file is a LevelDB log: a header of seven bytes, then blocks of 32 KiB with fragments, each with
a checksum, its length and whether it begins, continues or ends a record. A record is W&B's own
protocol buffer ``Record``.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32 * 1024
FRAGMENT = struct.Struct("<IHB")  # checksum, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def payloads(content: bytes) -> Iterator[bytes]:
    """Yield each record's bytes; an end that was cut off by a kill is left out.

    Raises:
        ValueError: the file is no W&B log, or a fragment does not match its checksum.
    """
    if not content.startswith(HEADER):
        raise ValueError(f"no W&B log of the known version: it begins with {content[:7]!r}")
    at, begun = len(HEADER), b""
    while True:
        left = BLOCK - at % BLOCK
        if left < FRAGMENT.size:  # too small for a fragment's head: the block is padded
            at += left
            continue
        if at + FRAGMENT.size > len(content):
            return
        checksum, length, kind = FRAGMENT.unpack_from(content, at)
        at += FRAGMENT.size
        data = content[at : at + length]
        if len(data) < length:
            return
        if zlib.crc32(bytes([kind]) + data) != checksum:
            raise ValueError(f"byte {at}: the checksum of a fragment is wrong")
        at += length
        begun = data if kind in (FULL, FIRST) else begun + data
        if kind in (FULL, LAST):
            yield begun


@dataclass(frozen=True)
class OfflineRun:
    """What one ``offline-run-*`` directory holds."""

    directory: Path
    records: Sequence[Any]

    @classmethod
    def read(cls, directory: Path) -> OfflineRun:
        from wandb.proto import wandb_internal_pb2

        record: Any = vars(wandb_internal_pb2)["Record"]  # made at run time

        (file,) = directory.glob("*.wandb")
        return cls(directory, [record.FromString(data) for data in payloads(file.read_bytes())])

    def of(self, kind: str) -> list[Any]:
        """Return the records of a kind, such as ``history``, without their envelope."""
        return [getattr(r, kind) for r in self.records if r.WhichOneof("record_type") == kind]

    @property
    def run(self) -> Any:
        """The run's own record: name, group, job type, tags, notes, configuration."""
        return self.of("run")[0]

    @property
    def config(self) -> dict[str, Any]:
        return {item.key: json.loads(item.value_json) for item in self.run.config.update}

    @property
    def history(self) -> list[dict[str, Any]]:
        """Every row logged, nested keys joined by a dot, without W&B's own."""
        rows = []
        for record in self.of("history"):
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.item
            }
            rows.append({name: v for name, v in items.items() if not name.startswith("_")})
        return rows

    def rows_with(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.history if name in row]

    @property
    def summary(self) -> dict[str, Any]:
        """The last value of each key that the run's own calls wrote."""
        return {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for record in self.of("summary")
            for item in record.update
        }

    @property
    def steps(self) -> dict[str, str]:
        """The step metric of each metric, or pattern of them, that the run defined."""
        return {
            record.name or record.glob_name: record.step_metric
            for record in self.of("metric")
            if record.step_metric
        }

    def table(self, path: str) -> dict[str, Any]:
        """Return the table whose path a history row names."""
        content = (self.directory / "files" / path).read_text("utf-8")
        table: dict[str, Any] = json.loads(content)
        return table
