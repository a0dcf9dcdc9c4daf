"""A run's settings: flat, beside the shipped ones, and as the command that repeats the run."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from iterdpo.runs.directory import Run
from iterdpo.tools.report.reading import hydra_file

Settings = Mapping[str, str]
"""Each setting by its dotted key, its value as JSON; a text stands without its quotes."""


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested values by dotted key."""
    return dict(_leaves(values))


@functools.cache
def shipped() -> Settings:
    """Return the settings that a run has when nothing is said."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from iterdpo.config.choices import as_values
    from iterdpo.config.compose import conf_directory, typed

    # A running run has started Hydra, which can be started once only.
    running = GlobalHydra.instance().is_initialized()
    with (
        nullcontext()
        if running
        else initialize_config_dir(str(conf_directory()), version_base="1.3")
    ):
        values = as_values(typed(compose("config")))
    assert isinstance(values, dict)
    return flat(values)


def changed(settings: Settings, defaults: Settings) -> list[tuple[str, str, str]]:
    """Return (key, value, default) of every setting that is not as shipped.

    A setting that only one side knows, as between versions, has ``not there`` on the other.
    """
    absent = "not there"
    keys = [*settings, *(key for key in defaults if key not in settings)]
    both = [(key, settings.get(key, absent), defaults.get(key, absent)) for key in keys]
    return [(key, value, default) for key, value, default in both if value != default]


def command(run: Run) -> str | None:
    """Return the command that makes the run again, for a POSIX shell; None where it is unknown."""
    overrides = hydra_file(run, "overrides")
    if overrides is None:
        return None
    return shlex.join(["python", "-m", "iterdpo", *map(str, overrides)])


def directory(run: Run) -> str | None:
    """Return where that command was given, as far as Hydra has written it down."""
    written = hydra_file(run, "hydra")
    try:
        return None if written is None else str(written.hydra.runtime.cwd)
    except Exception as error:  # OmegaConf has many; a line of the page is not worth one
        return f"unknown ({type(error).__name__})"


def differing(runs: Sequence[Settings]) -> list[str]:
    """Return the keys that do not have the same value in every run, in the first one's order."""
    keys = dict.fromkeys(key for run in runs for key in run)
    return [key for key in keys if len({run.get(key) for run in runs}) > 1]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{key}", said
