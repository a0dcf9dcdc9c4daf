"""The command line and the configuration it composes, checked before anything heavy loads.

Hydra refuses a wrong override too, but the first one only, in several lines and with status 1.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from iterdpo.cli.directories import HYDRA_DIR, require_writable
from iterdpo.config.choices import TARGET, declared
from iterdpo.config.compose import brought_along, composed, conf_directory, typed
from iterdpo.config.messages import READ_AS_NUMBER
from iterdpo.config.places import PLACES
from iterdpo.config.schema import Config
from iterdpo.config.secrets import argument_problems
from iterdpo.errors import ConfigError


def check(arguments: Sequence[str]) -> list[str]:
    """Check a command line: its overrides, and for a single run the whole configuration.

    Returns:
        The command line as Hydra takes it: of a user's own class, whose settings stand in no file
        of ours, each ``key=value`` is one that is added, and what a choice brings along is there.

    Raises:
        ConfigError: with one line for each problem.
    """
    if secrets := argument_problems(arguments):  # before anything is shown or written down
        raise ConfigError(secrets)
    flags = get_args(list(arguments))
    if flags.shell_completion:
        return list(arguments)
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise ConfigError([f"--config-dir {flags.config_dir}: no such directory; check the path"])
    if flags.help or flags.hydra_help or flags.info:
        with initialize_config_dir(str(conf_directory()), version_base="1.3"):
            if flags.config_dir:
                _look_into(Path(flags.config_dir))
            composed(flags.overrides)  # Hydra shows it, so no file may hold a secret
        return list(arguments)
    if flags.multirun and flags.cfg:
        raise ConfigError(["--cfg: shows one run; leave -m out, and give each key one value"])
    for flag, value in (("name", flags.config_name), ("path", flags.config_path)):
        if value:
            raise ConfigError(
                [
                    f"--config-{flag}={value}: there is one configuration; put choices of your own "
                    "into DIR/experiment/NAME.yaml and add --config-dir=DIR experiment=NAME"
                ]
            )
    overrides = [_parsed(text) for text in flags.overrides]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        if flags.config_dir:
            _look_into(Path(flags.config_dir))
        added: dict[str, str] = {}
        problems = list(_problems(overrides, added, sweeping=flags.multirun))
        if problems:
            raise ConfigError([_as_typed(line, overrides) for line in problems])
        ready = [added.get(text, text) for text in arguments]
        if more := brought_along(flags.overrides):
            at = arguments.index(flags.overrides[0])  # overrides stand side by side
            ready[at:at] = more
        if flags.multirun or flags.cfg:
            return ready
        found = composed([added.get(text, text) for text in flags.overrides] + more)
    try:
        config = typed(found)
    except ConfigError as error:
        raise ConfigError([_as_typed(line, overrides) for line in error.problems]) from None
    if not found.hydra.run.dir:
        raise ConfigError(["hydra.run.dir=: is empty; name a directory"])
    require_writable("hydra.run.dir", Path(found.hydra.run.dir) / HYDRA_DIR)
    require_writable("store.root", config.store.root)
    return ready


def _as_typed(problem: str, overrides: Iterable[Override]) -> str:
    """Return a problem with a value that was read as a number, as it was typed and is to be."""
    key = problem.removesuffix(f": {READ_AS_NUMBER}")
    lines = [item.input_line or "" for item in overrides if item.key_or_group == key]
    if not lines:
        return problem
    setting, _, value = lines[-1].partition("=")
    quoted = shlex.quote(f'{setting}="{value}"')
    return f"{lines[-1]}: {READ_AS_NUMBER} that pass the shell: {quoted}"


def _parsed(text: str) -> Override:
    if (parsed := _override(text)) is not None:
        return parsed
    key, sign, value = text.partition("=")
    quoted = f'{key}="{value}"'
    if sign and _override(quoted) is not None:
        raise ConfigError(
            [
                f"{text}: this value is read only in quotes, and they must pass the shell: "
                f"{shlex.quote(quoted)}"
            ]
        )
    raise ConfigError([f"{text}: is not key=value"])


def _override(text: str) -> Override | None:
    """Return what Hydra reads in a text; None where that is nothing."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def _look_into(directory: Path) -> None:
    """Find a directory's choices beside the package's, as Hydra will with ``--config-dir``."""
    places = create_config_search_path(str(conf_directory()))
    places.prepend("command-line", f"file://{directory.resolve()}", anchor="schema")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    hydra.config_loader = ConfigLoaderImpl(config_search_path=places)


def _problems(
    overrides: Iterable[Override], added: dict[str, str], *, sweeping: bool
) -> Iterator[str]:
    """Yield what is wrong with each override: an unknown group choice, an unknown key, a list.

    Args:
        overrides: of the command line.
        added: gets those that set something of a user's own class, as they are to be written.
        sweeping: whether an override may have several values.
    """
    loader = GlobalHydra.instance().config_loader()
    choices = {
        group: loader.get_group_options(group)
        for group in loader.list_groups("")
        if group != "hydra"
    }
    overrides = list(overrides)
    # Hydra's own groups (hydra/launcher, hydra/sweeper), with what plugins add to them.
    for override in overrides:
        if override.key_or_group.startswith("hydra/"):
            choices[override.key_or_group] = loader.get_group_options(override.key_or_group)
    groups = [item for item in overrides if item.key_or_group in choices]
    values = [item for item in overrides if item.key_or_group not in choices]
    valid_groups = []
    for override in groups:
        wanted = list(_choices_of(override))
        known = choices[override.key_or_group]
        if override.is_delete() and override.key_or_group in {item.name for item in fields(Config)}:
            yield f"~{override.key_or_group}: a run needs it; choose one of {', '.join(known)}"
        elif not override.is_delete() and (unknown := [n for n in wanted if n not in known]):
            # Hydra takes null in its files only.
            without = "; leave it out for none of them" if unknown[0] == "null" else ""
            yield (
                f"{override.key_or_group}={unknown[0]}: no such choice; there are "
                f"{', '.join(known) or 'none'}{without}"
            )
        else:
            valid_groups.append(override)
    plain = [override.input_line or "" for override in valid_groups if not _sweeps(override)]
    base = composed(plain)
    for override in filter(_sweeps, valid_groups):
        for choice in _choices_of(override):  # Hydra writes each down before its job looks at it
            composed([*plain, f"{override.key_or_group}={choice}"])
    own = set(_places_of_own_classes(base, values))
    valid_values = []
    for override in values:
        key, line = override.key_or_group, override.input_line or ""
        there = override.is_add() or override.is_force_add() or _has(base, key)
        place = next((at for at in own if key.startswith(f"{at}.")), None)
        if place and not (there or override.is_delete()):
            there, added[line] = True, f"++{line}"
            if sweeping:  # else the configuration is checked as a whole
                yield from _unknown_in_sweep(key, place, base, values)
        if not there:
            yield f"{key}: no such setting{_closest(key, base, list(choices))}"
        elif _sweeps(override) and not sweeping:
            yield (
                f"{override.input_line}: several values need -m (a sweep), [a,b] for one value "
                f"that is a list, or quotes for one text: '{key}=\"a,b\"'"
            )
        else:
            valid_values.append(override)
    if len(valid_values) + len(valid_groups) < len(overrides) and not sweeping:
        # Some line is wrong already; say what is wrong with the values of the others as well.
        lines = [override.input_line or "" for override in [*valid_groups, *valid_values]]
        lines = [added.get(line, line) for line in lines]
        try:
            typed(composed(lines))
        except ConfigError as error:
            yield from error.problems


def _places_of_own_classes(base: DictConfig, values: Iterable[Override]) -> Iterator[str]:
    """Yield the sections whose class is no choice of ours with a file that holds its settings."""
    named = {override.key_or_group for override in values}
    for place in PLACES:
        target = OmegaConf.select(base, f"{place}.{TARGET}")
        ours = str(target or "").startswith(f"{__package__.partition('.')[0]}.")
        if f"{place}.{TARGET}" in named or (target and not ours):
            yield place


def _unknown_in_sweep(
    key: str, place: str, base: DictConfig, values: Iterable[Override]
) -> Iterator[str]:
    """Yield why a setting is one of no class that a sweep names: each of its jobs would fail."""
    named = [item for item in values if item.key_or_group == f"{place}.{TARGET}"]
    chosen = OmegaConf.select(base, f"{place}.{TARGET}")
    targets = list(_choices_of(named[-1])) if named else [chosen] if chosen else []
    names: dict[str, None] = {}
    try:
        for target in targets:
            names |= {item.name: None for item in declared(place, target)[1] if not item.provided}
    except ConfigError as error:
        yield from error.problems
        return
    if targets and key.removeprefix(f"{place}.").partition(".")[0] not in names:
        has = ", ".join(names) or "none"
        yield f"{key}: no such setting of {', '.join(targets)}, which has {has}"


def _choices_of(override: Override) -> Iterator[str]:
    values = override.sweep_string_iterator() if _sweeps(override) else [override.value()]
    for value in values:
        yield "null" if value is None else str(value)


def _sweeps(override: Override) -> bool:
    return bool(override.is_sweep_override())


def _has(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    section = OmegaConf.select(config, parent) if parent else config
    # ``name in section`` would not see a value that is still to be set.
    return isinstance(section, DictConfig) and name in list(section)


def _closest(key: str, config: DictConfig, groups: Sequence[str]) -> str:
    settings = OmegaConf.to_container(config)
    assert isinstance(settings, dict)
    settings.pop("hydra", None)
    known = list(_leaves(settings))
    # A name without its section, else a misspelling; groups are chosen by names without a point.
    close = [leaf for leaf in known if leaf.endswith(f".{key}")]
    if not close:
        among = known if "." in key else [*groups, *known]
        close = difflib.get_close_matches(key, among, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else "; --cfg job lists them all"


def _leaves(values: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
