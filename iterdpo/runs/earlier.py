"""What earlier starts left in a run directory: it is resumed, or set aside for another run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from iterdpo.errors import UserError
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import SUMMARY_FILE, read_summary
from iterdpo.runs.directory import CONFIG_FILE, LINKS_DIR
from iterdpo.store.hashing import JSON, sha256_of
from iterdpo.store.identity import leaves
from iterdpo.tracking.run_id import RUN_ID_FILE

log = logging.getLogger(__name__)

_SHOWN = 3  # keys that differ, in a message


def set_others_aside(run_dir: Path, values: Mapping[str, JSON]) -> None:
    """Move what a run of another configuration left to ``earlier-<n>``, which is a run directory.

    Args:
        run_dir: where a run is about to begin.
        values: of its configuration.
    """
    file = run_dir / CONFIG_FILE
    if not file.is_file():
        return
    differing = _differing(file, values)
    if not differing:
        return
    places = (run_dir / f"earlier-{number}" for number in count(1))
    place = next(place for place in places if not place.exists())
    place.mkdir()
    for name in (SUMMARY_FILE, LINKS_DIR, RUN_ID_FILE, CONFIG_FILE):  # the last tells a used one
        if (run_dir / name).exists():
            (run_dir / name).rename(place / name)
    log.warning(
        "%s: held a run of another configuration (%s), which is now in %s; name a directory for "
        "each, hydra.run.dir=DIR",
        run_dir, differing, place.name,
    )  # fmt: skip


def earlier_summary(run_dir: Path, values: Mapping[str, JSON]) -> Summary | None:
    """Return the summary that a run of the same configuration left; None for none of this version.

    Args:
        run_dir: where to look.
        values: of the configuration.
    """
    try:
        summary = read_summary(run_dir)
    except (UserError, OSError) as error:
        log.debug("%s: no earlier summary (%s)", run_dir, error)
        return None
    return summary if summary.run.config_sha256 == sha256_of(values) else None


def _differing(file: Path, values: Mapping[str, JSON]) -> str:
    """Name the keys in which a configuration on the disk differs; empty for none."""
    try:
        before = dict(leaves(json.loads(file.read_text("utf-8")), ""))
    except (ValueError, RecursionError):
        return f"a {CONFIG_FILE} that is not JSON"
    now = dict(leaves(dict(values), ""))
    keys = [key[1:] for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    more = [f"{len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    return ", ".join([*keys[:_SHOWN], *more])
