"""The configuration as Hydra composes it, and as the typed ``Config``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from iterdpo.config.check import load
from iterdpo.config.schema import Config
from iterdpo.config.secrets import secret_problems, without_secrets
from iterdpo.errors import ConfigError


def conf_directory() -> Path:
    """Return where the configuration lies: in the package of a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    packed = package / "conf"
    return packed if packed.is_dir() else package.parent / "conf"


def typed(composed: DictConfig, given: Mapping[str, object] | None = None) -> Config:
    """Convert a composed configuration to the typed one.

    Args:
        composed: as Hydra composed it.
        given: by section, objects that take the place of the classes named there.

    Raises:
        ConfigError: with one line for each problem.
    """
    own = [str(key) for key in composed if key not in ("hydra", "experiment")]
    try:
        values = OmegaConf.to_container(OmegaConf.masked_copy(composed, own), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([_line(error)]) from None
    assert isinstance(values, dict)
    unset = [f"{key}: must be set, {key}=..." for key in _unset(values)]
    if unset:
        raise ConfigError(unset)
    return load({str(key): value for key, value in values.items()}, given)


def composed(overrides: list[str]) -> DictConfig:
    """Return what Hydra composes of overrides, with its own settings; inside its initialization.

    Raises:
        ConfigError: Hydra refuses one, or cannot read a file, or a file holds what looks like a
            secret: Hydra writes down what it composed.
    """
    try:
        found = compose("config", overrides=overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([_line(error)]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([_unread(error)]) from None
    if secrets := secret_problems({str(key): own for key, own in _unresolved(found).items()}):
        raise ConfigError(secrets)
    return found


def config_of(
    overrides: Sequence[str], given: Mapping[str, object] | None = None
) -> tuple[Config, Path]:
    """Return the typed configuration of overrides, and the directory that the command would make.

    Args:
        overrides: as on the command line, ``key=value`` each.
        given: by section, objects that take the place of the classes named there.

    Raises:
        ConfigError: with one line for each problem.
    """
    started = GlobalHydra.instance().is_initialized()
    with (
        nullcontext()
        if started
        else initialize_config_dir(str(conf_directory()), version_base="1.3")
    ):
        found = composed([*overrides, *brought_along(overrides)])
        return typed(found, given), Path(found.hydra.run.dir)


def _unresolved(found: DictConfig) -> dict[Any, Any]:
    values = OmegaConf.to_container(found, resolve=False)
    assert isinstance(values, dict)
    return values


def _unread(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """Return what is wrong with a file of YAML, without its lines: one may hold a secret."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"a file of the configuration is no YAML: {type(error).__name__}"
    mark = error.problem_mark
    said = without_secrets(str(error.problem))
    return f"{mark.name}, line {mark.line + 1}: is no YAML: {said}"


def brought_along(overrides: Sequence[str]) -> list[str]:
    """Return the choice of prompts that pairs bring along, where an experiment hides it.

    To Hydra what an experiment chooses goes before what another choice's file does, the command
    line's ``pairs=dataset`` included: ``experiment=own_model`` would ask for a file of prompts
    beside the pairs' own. Used inside Hydra's initialization.

    Raises:
        ConfigError: Hydra refuses a choice.
    """
    given = {
        key.lstrip("+"): value for key, _, value in (text.partition("=") for text in overrides)
    }
    choices = [f"{group}={given[group]}" for group in ("experiment", "pairs") if group in given]
    if len(choices) < 2 or "," in "".join(choices) or given.keys() & {"prompts", "prompts.path"}:
        return []
    if not OmegaConf.is_missing(composed(choices).prompts, "path"):
        return []
    brought = composed(choices[1:]).hydra.runtime.choices["prompts"]
    return ["prompts=pairs"] if brought == "pairs" else []


def _unset(values: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _unset(value, f"{prefix}{key}.")
        elif value == "???":
            yield f"{prefix}{key}"


def _line(error: Exception) -> str:
    return without_secrets(" ".join(str(error).split()))
