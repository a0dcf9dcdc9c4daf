"""Checkpoints of a training on disk: complete or not there at all, and the last one only.

A checkpoint is a directory ``<training>-step-<step>``, written aside, flushed and renamed. Its
manifest holds the sha256 of every file and is sealed by one of its own, so a truncated or altered
file is noticed. The newer one is in place before the older is removed. What is *in* a checkpoint is
the trainer's business.

The libraries' own checkpoints are written in place, so that a kill leaves half of one, and restore
a policy only where the model has a single adapter.

One process at a time writes the checkpoints of one training.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from iterdpo.models.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from iterdpo.settings import key_settings
from iterdpo.store.atomic import PARTIAL_PREFIX, published_directory, set_aside
from iterdpo.store.hashing import JSON, file_sha256, files_sha256, plain, sha256_of
from iterdpo.training.spec import Spec

log = logging.getLogger(__name__)

CHECKPOINT_MANIFEST = "manifest.json"

_FORMAT = 1
_NAME = re.compile(r"[0-9a-f]{12}-step-(\d{8})")
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
# Where checkpoints lie, what messages call things, and weights that count by their own hash.
_INERT = (
    "checkpoints", "checkpoint_steps", "author", "max_engine_gap", "engine_logprobs",
    "reference_base",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint whose files are what was written."""

    directory: Path
    step: int
    """Optimizer steps done, 1 or more."""


class Checkpoints:
    """The checkpoints of one training; those of another in the same directory are never touched."""

    def __init__(self, directory: Path, identity: Mapping[str, object]) -> None:
        """Name the training by everything that decides its result (``identity_of``)."""
        self.directory = directory
        self.identity = plain(identity)
        self._prefix = sha256_of(identity)[:12]

    def latest(self) -> Checkpoint | None:
        """Return the last complete checkpoint, or None.

        What a kill left behind is removed. A checkpoint that is not what was written is renamed to
        ``*.corrupt-<n>`` and named in a warning, and the one before it is taken.
        """
        for left in self.directory.glob(f"{PARTIAL_PREFIX}{self._prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        for step, path in sorted(self._found().items(), reverse=True):
            problem = self._problem(path, step)
            if problem is None:
                return Checkpoint(path, step)
            aside = set_aside(path)
            log.warning(
                "checkpoint %s %s: set aside as %s; the training resumes from an older one, or "
                "from its start",
                path, problem, aside.name,
            )  # fmt: skip
        return None

    def write(self, step: int, fill: Callable[[Path], None]) -> None:
        """Publish a checkpoint, then remove the older ones.

        Args:
            step: optimizer steps done, 1 or more.
            fill: called with the directory to write files into.
        """
        with published_directory(self.directory / f"{self._prefix}-step-{step:08d}") as work:
            fill(work)
            manifest: dict[str, JSON] = {
                "format": _FORMAT,
                "identity": self.identity,
                "step": step,
                "files": {path.name: file_sha256(path) for path in sorted(work.iterdir())},
            }
            text = json.dumps(manifest | {"sha256": sha256_of(manifest)}, indent=1, sort_keys=True)
            (work / CHECKPOINT_MANIFEST).write_text(text + "\n", "utf-8")
        for other, path in self._found().items():
            if other != step:
                # Renamed first: what is half removed must not look like a checkpoint.
                shutil.rmtree(path.rename(path.with_name(f"{PARTIAL_PREFIX}{path.name}")))

    def _found(self) -> dict[int, Path]:
        paths = self.directory.glob(f"{self._prefix}-step-*")
        return {int(name[1]): path for path in paths if (name := _NAME.fullmatch(path.name))}

    def _problem(self, path: Path, step: int) -> str | None:
        try:
            manifest = json.loads((path / CHECKPOINT_MANIFEST).read_text("utf-8"))
            seal = manifest.pop("sha256", None) if isinstance(manifest, dict) else None
            if seal is None or seal != sha256_of(manifest):
                return f"has a damaged {CHECKPOINT_MANIFEST}"
            known = (manifest["format"], manifest["identity"], manifest["step"])
            if known != (_FORMAT, self.identity, step):
                return "is not of this training"
            for name, expected in manifest["files"].items():
                if file_sha256(path / name) != expected:
                    return f"has a damaged {name} (its sha256 differs)"
        except FileNotFoundError as error:
            return f"lacks {Path(error.filename).name}"
        except OSError as error:
            return f"cannot be read ({error})"
        except ValueError as error:
            return f"has an unreadable {CHECKPOINT_MANIFEST} ({error})"
        return None


def identity_of(spec: Spec, reference_sha256: str | None, device: str) -> dict[str, JSON]:
    """Return what a checkpoint must share with a training to be continued by it.

    Files count by their contents. Where a training runs, what it tolerates and where it keeps its
    checkpoints do not count, since they change no result.

    Args:
        spec: of the training.
        reference_sha256: of the reference's weights as the model holds them; None without one.
        device: type of the device, such as ``cuda``.
    """
    values = dataclasses.asdict(spec)
    for name in _INERT:
        values.pop(name, None)
    values["training"] = key_settings(spec.training)
    values["kind"] = type(spec).__name__
    values["base"] = spec.base.fingerprint
    values["examples"] = file_sha256(Path(spec.examples))
    for name in ("policy_adapter", "reference_adapter"):
        if (adapter := values.get(name)) is not None:
            root = Path(adapter)
            values[name] = files_sha256(root, [root / ADAPTER_WEIGHTS, root / ADAPTER_CONFIG])
    return {
        "spec": sha256_of(values),
        "reference": reference_sha256,
        "device": device,
        "versions": {name: metadata.version(name) for name in _LIBRARIES},
    }
