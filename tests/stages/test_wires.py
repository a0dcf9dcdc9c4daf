"""What the type checker leaves open of a stage: ``load`` takes whatever ``compute`` does."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from inspect import Parameter

import pytest

import iterdpo.stages


def stages() -> Iterator[type]:
    for module in pkgutil.iter_modules(iterdpo.stages.__path__, "iterdpo.stages."):
        for kind in vars(import_module(module.name)).values():
            if inspect.isclass(kind) and kind.__module__ == module.name and "compute" in vars(kind):
                yield kind


@pytest.mark.parametrize("stage", list(stages()), ids=lambda kind: kind.__name__)
def test_a_result_is_loaded_with_what_it_was_computed_from(stage: type) -> None:
    _, _, *parameters = inspect.signature(vars(stage)["compute"]).parameters.values()
    load = inspect.signature(stage.load)  # type: ignore[attr-defined]
    named = {item.name: None for item in parameters if item.kind is Parameter.KEYWORD_ONLY}
    by_place = [None for item in parameters if item.kind is Parameter.POSITIONAL_OR_KEYWORD]
    load.bind(None, "directory", *by_place, **named)
    # What both call by a name is the same, in the same place.
    _, _, *loaded = load.parameters.values()
    for given, taken in zip(parameters, loaded, strict=False):
        if taken.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            assert (given.name, given.annotation) == (taken.name, taken.annotation)


def test_every_stage_is_looked_at() -> None:
    names = {stage.__name__ for stage in stages()}
    some = {"PrepareBase", "Generate", "JudgeCandidates", "BuildPairs", "Train", "MeasureGains"}
    assert names >= some
