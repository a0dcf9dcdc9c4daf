"""What a run is called: by what its user asked for, which Hydra leaves in the run's directory.

In a sweep that is what differs between the jobs; alone, what differs from the shipped recipe.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.config.choices import name_of, targets
from iterdpo.config.keyless import is_inert
from iterdpo.tracking.base import RunLabel
from iterdpo.tracking.jsonable import HIDDEN, clipped, is_secret, without_logins

NAME_LENGTH = 120  # characters; W&B refuses more than 128
TAG_LENGTH = 64  # characters, W&B's limit
SWEEP_FILE = "multirun.yaml"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


@dataclass(frozen=True)
class HydraOverrides:
    """What the user of a run asked for."""

    overrides: tuple[tuple[str, str], ...] = ()
    """Key and value of each override of the run, in order. No secrets."""
    sweep: Path | None = None
    """The sweep's directory, of a sweep's job."""
    swept: tuple[str, ...] = ()
    """The keys among ``overrides`` that differ between its jobs."""

    @classmethod
    def read(cls, run_dir: Path) -> HydraOverrides:
        """Read what Hydra wrote; nothing where it did not start the run."""
        from omegaconf import OmegaConf

        place = run_dir / ".hydra"
        if not (place / "overrides.yaml").is_file() or not (place / "hydra.yaml").is_file():
            return cls()
        overrides = _parsed([str(text) for text in OmegaConf.load(place / "overrides.yaml")])
        shown = tuple((key, _shown(key, value)) for key, value, _ in overrides)
        if OmegaConf.select(OmegaConf.load(place / "hydra.yaml"), "hydra.mode") != "MULTIRUN":
            return cls(shown)
        run_dir = run_dir.resolve()
        # A job's directory may lie several levels below the sweep's: hydra.sweep.subdir says.
        sweep = next((up for up in run_dir.parents if (up / SWEEP_FILE).is_file()), run_dir.parent)
        same: set[str] = set()
        if (sweep / SWEEP_FILE).is_file():
            asked = OmegaConf.select(OmegaConf.load(sweep / SWEEP_FILE), "hydra.overrides.task")
            same = {key for key, _, sweeps in _parsed([str(text) for text in asked]) if not sweeps}
        return cls(shown, sweep, tuple(key for key, _ in shown if key not in same))


def label_of(run_dir: Path, values: Mapping[str, Any]) -> RunLabel:
    """Return what the run in ``run_dir`` is called.

    The group is the configured one, else the sweep's directory. The name says what differs: between
    the jobs of a sweep, or else from the shipped recipe in anything that may change a result. A
    directory that the user named is the name of its run.
    """
    asked = HydraOverrides.read(run_dir)
    own = run_dir.resolve().name
    if asked.sweep is not None:
        differing = [item for item in asked.overrides if item[0] in asked.swept]
    else:
        differing = [
            item for item in asked.overrides if not is_inert(item[0].split("@")[0], targets(values))
        ]
        differing = [item for item in differing if item[0] not in ("tracking", "store")]
        if not TIMESTAMP.fullmatch(own):
            differing = []
    return RunLabel(
        name=clipped(short(differing) or own, NAME_LENGTH),
        group=values["tracking"]["group"] or (asked.sweep.name if asked.sweep else None),
        tags=tags_of(values),
        notes=" ".join(f"{key}={value}" for key, value in asked.overrides),
    )


def short(overrides: Sequence[tuple[str, str]]) -> str:
    """Return overrides as briefly as they stay apart: ``training.beta`` as ``beta``."""
    last = Counter(key.rpartition(".")[2] for key, _ in overrides)
    return " ".join(
        f"{name if last[name := key.rpartition('.')[2]] == 1 else key}={_last_part(value)}"
        for key, value in overrides
    )


def tags_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the user's tags, and one for each choice that runs are told apart by.

    A choice that a judge or a training does not have is left out.
    """
    judge, training = values["judge"], values["training"]
    model, rubric = judge.get("model"), judge.get("rubric")
    chosen = {
        "model": values["model"]["name"],
        "prompts": name_of(values["prompts"]),
        "judge": f"{name_of(judge)}-{model}" if model else name_of(judge),
        "score": judge.get("score"),
        "rubric": Path(str(rubric)).stem if rubric else None,
        "pairs": name_of(values["pairs"]),
        "loss": "+".join(training["loss"]) or training["method"],
        "reference": training["reference"],
    }
    tags = [*values["tracking"]["tags"], *(f"{k}:{v}" for k, v in chosen.items() if v is not None)]
    return tuple(dict.fromkeys(clipped(tag, TAG_LENGTH) for tag in tags))


def _parsed(texts: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Return of each override its key, its value as text, and whether it has several to sweep."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create().parse_overrides(list(texts))
    parsed = []
    for item in overrides:
        sweeps = bool(item.is_sweep_override())
        # Of several values to sweep there is no one text, and none is needed.
        value = "" if sweeps else item.get_value_element_as_str()
        parsed.append((item.key_or_group, value, sweeps))
    return parsed


def _shown(key: str, value: str) -> str:
    return HIDDEN if is_secret(key.rpartition(".")[2]) else without_logins(value)


def _last_part(value: str) -> str:
    """Return a path's last part and any other value as it is."""
    return value.rstrip("/").rpartition("/")[2] or value
