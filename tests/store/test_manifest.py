"""``stage.json`` vouches for itself, and whatever lies in its place is one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from iterdpo.errors import UserError
from iterdpo.store.inventory import read_store
from iterdpo.store.manifest import (
    ManifestError,
    current_results,
    manifest_text,
    read_manifest,
    verify,
)
from iterdpo.store.runner import Stages
from iterdpo.store.stage import Work
from iterdpo.tools.store.integrity import problems
from tests.damage import changed, damaged_json


class Count:
    """A stage whose metrics are not in any file."""

    name = "count"
    version = 1
    settings: dict[str, object] = {}  # noqa: RUF012

    def compute(self, work: Work) -> dict[str, object]:
        return {"kept": 7, "share": 0.1}

    def load(self, directory: Path) -> None:
        return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Stages(tmp_path, versions={"torch": "2.13.0"}).run(Count()).directory / "stage.json"


def test_the_checksum_is_that_of_the_canonical_json_of_all_the_rest(path: Path) -> None:
    values = json.loads(path.read_text())
    checksum = values.pop("checksum")
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert checksum == hashlib.sha256(canonical.encode("ascii")).hexdigest()
    assert read_manifest(path.parent).metrics == {"kept": 7, "share": 0.1}


def change(name: str, value: object) -> Callable[[str], str]:
    def changed(text: str) -> str:
        return json.dumps(json.loads(text) | {name: value})

    return changed


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (change("metrics", {"kept": 8, "share": 0.1}), "is not what its stage wrote"),
        (change("versions", {}), "is not what its stage wrote"),
        (change("checksum", "0" * 64), "is not what its stage wrote"),
        (change("host", "here"), "is not what its stage wrote"),
        (lambda text: text.replace("0.1", "NaN"), "is not JSON"),
        (lambda text: text.replace("7", "1" * 5000), "is not JSON"),
        (lambda text: text[:-3], "is not JSON"),
        (lambda text: "", "is not JSON"),
        (lambda text: "null", "no usable key, identity"),
        (lambda text: "[" * 100_000, "is not JSON"),
        (lambda text: change("metrics", {})(text)[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + "}",
         "is not"),
        (change("parents", []), "no usable parents: damaged, or of another version"),
        (change("identity", {"format": 2}), r"no usable identity\.stage, .*of another version"),
        (None, r"cannot be read \(Is a directory\)"),
    ],
)  # fmt: skip
def test_whatever_lies_in_its_place_is_named_set_aside_and_written_again(
    path: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[str], str] | None,
    problem: str,
) -> None:
    whole = path.read_text()
    if damage:
        path.write_text(damage(whole))
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(ManifestError, match=problem) as caught:
        read_manifest(path.parent)
    assert "\n" not in str(caught.value)
    found = read_store(tmp_path)
    assert [item.problem for item in found.finished.values()] == [str(caught.value)]
    assert [len(some) for some in problems(found)] == [1]
    again = Stages(tmp_path, versions={"torch": "2.13.0"}).run(Count())
    assert again.computed
    assert f"{path.parent}/{caught.value}; set aside as {again.key}.corrupt-1" in caplog.text
    assert again.metrics == {"kept": 7, "share": 0.1}


@pytest.mark.parametrize("target", [None, "nowhere", "itself"])
def test_what_is_no_directory_in_the_place_of_a_stage_is_set_aside(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, target: str | None
) -> None:
    place = path.parent
    shutil.rmtree(place)
    if target:
        place.symlink_to(place.name if target == "itself" else target)
    else:
        place.write_text("a file")
    again = Stages(tmp_path).run(Count())
    assert again.computed
    assert f"set aside as {again.key}.corrupt-1, computed again" in caplog.text
    assert read_manifest(place).metrics == {"kept": 7, "share": 0.1}
    assert os.path.lexists(place.with_name(f"{again.key}.corrupt-1"))


def test_what_a_newer_version_adds_is_left_out(path: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = json.loads(path.read_text())
    path.write_text(manifest_text(values | {"host": {"name": "here", "cores": 2}}))
    assert not Stages(tmp_path).run(Count()).computed
    assert read_manifest(path.parent).metrics["kept"] == 7


MADE = {
    "key": "0" * 64,
    "identity": {"stage": "count", "version": 1, "settings": {}, "args": [], "kwargs": {}},
    "parents": {"base/0123": "1" * 64},
    "metrics": {"kept": 7},
    "files": {"records.parquet": "2" * 64},
    "seconds": 0.5,
    "versions": {"torch": "2.13.0"},
    "peak_memory": {"ram": 1, "gpu": None},
}


def vouched_for(values: object) -> bytes:
    try:
        return manifest_text(values if isinstance(values, dict) else {}).encode()
    except ValueError:  # not a number that JSON has
        return b""


@given(damaged_json(MADE) | changed(MADE).map(vouched_for))
def test_whatever_stands_in_its_place_is_a_manifest_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    """A checksum vouches for what another version wrote too."""
    place, said = tmp_path_factory.getbasetemp(), ""
    (place / "stage.json").write_bytes(raw)
    try:
        made = read_manifest(place)
        made.parents_problem(current_results(place.parent, made))
        verify(place)
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
