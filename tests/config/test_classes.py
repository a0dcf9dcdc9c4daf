"""Classes in files of one's own, found by the file's place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy
import pytest

from iterdpo.config.classes import attribute
from iterdpo.errors import ConfigError


@pytest.mark.parametrize("module", [json, numpy])
def test_a_file_never_takes_the_place_of_a_module_that_others_import(
    module: object, tmp_path: Path
) -> None:
    name = str(vars(module)["__name__"])
    file = tmp_path / f"{name}.py"
    file.write_text("class Own: pass\n")
    with pytest.raises(ConfigError, match=rf"here: {name}\.py would take the place of the module"):
        attribute(f"{file}:Own", "here")
    assert sys.modules[name] is module


def test_a_file_is_imported_once_and_by_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / f"own_{tmp_path.name}.py"
    file.write_text("class Own: pass\n")
    first = attribute(f"{file}:Own", "here")
    assert attribute(f"{file}:Own", "here") is first
    assert first.__module__ == file.stem
