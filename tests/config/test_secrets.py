"""A token is refused wherever it stands, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iterdpo.cli import overrides as command
from iterdpo.config.check import load
from iterdpo.config.secrets import argument_problems, secret_problems, without_secrets
from iterdpo.errors import ConfigError
from tests.commands import run_python

TOKEN = "hf_" + "aB3" * 11 + "x"  # as long as the Hub's are: 34 letters and digits
ORGANIZATION = "api_org_" + "aB3" * 11 + "x"


@pytest.mark.parametrize("token", [TOKEN, ORGANIZATION, f"Bearer {TOKEN}", f"x={TOKEN}&y"])
def test_a_token_is_found_by_its_look(token: str) -> None:
    values = {"hub": {"repo": token}, "tags": ["fine", token], "n": 1, "none": None}
    problems = secret_problems(values)
    assert [line.partition(":")[0] for line in problems] == ["hub.repo", "tags.1"]
    assert not any("aB3" in line for line in problems)
    assert "aB3" not in without_secrets(f"said {token} again")


@pytest.mark.parametrize(
    "text", ["hf_transfer", "org/hf_models", "my_hf_" + "a" * 30, "hf_a-b-c-d-e-f-g-h-i-j-k-l-m"]
)
def test_what_only_begins_like_one_is_none(text: str) -> None:
    assert secret_problems({"key": text}) == []
    assert without_secrets(text) == text


def test_a_configuration_with_a_token_is_refused_before_anything_shows_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"iterations": TOKEN})
    (line,) = caught.value.problems
    assert line.startswith("iterations: holds what looks like a Hugging Face token")
    assert TOKEN not in line


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ([f"hub.repo={TOKEN}"], "hub.repo"),
        (["-m", f"tracking.tags=[a,{TOKEN}]"], "tracking.tags"),  # Hydra would write it down
        ([f"+{TOKEN}=1"], r"\+\(hidden\)"),
        ([TOKEN], "an argument"),
    ],
)
def test_a_command_line_with_a_token_is_refused_at_once(arguments: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: holds what looks like") as caught:
        command.check(arguments)
    assert TOKEN not in str(caught.value)
    assert argument_problems(["hub.repo=me/x"]) == []


KEY = "sk-proj-" + "aB3_" * 6


@pytest.mark.parametrize(
    "argument",
    [
        f"judge.base_url=https://me:{KEY[:9]}@host/v1",
        f"judge.api_key_env={KEY}",
        f"+judge.api_key={KEY}",
        KEY,
        f"https://{KEY[:9]}@host/v1?a=b",
        f"judge.base_url=http://host/v1?k={KEY[:9]}",
        f"judge.base_url='http://host/v1?a=b&k={KEY[:9]}'",
        f"judge.system=see http://host/v1?api-key={KEY[:9]}",
        f"+judge.api_key={KEY[:9]}",
        f"judge.base_url={KEY[:9]}@host, or so",
        "judge.model=gsk_" + KEY[:9] + "9" * 20,
    ],
)
def test_a_sweep_writes_no_key_down(argument: str) -> None:
    """Hydra writes a sweep's arguments down before it composes a job."""
    with pytest.raises(ConfigError, match="holds what looks like a key or a password") as caught:
        command.check(["-m", "judge=endpoint", argument])
    assert KEY[:9] not in str(caught.value)


@pytest.mark.parametrize(
    "argument",
    [
        "judge.base_url=http://localhost:8000/v1",
        "judge.model=sk-small",
        "model.path=task-oriented-and-disk-efficient-small-model",
        "store.root=s3://bucket/a@b",
        "judge.system=see https://host/search?q=what-is-a-good-answer",
        "++judge.api_key=OPENAI_API_KEY",
        "judge.api_key_env=null",
    ],
)
def test_what_is_no_key_may_be_given(argument: str) -> None:
    assert argument_problems([argument]) == []


def in_a_file(directory: Path, text: str) -> list[str]:
    """The arguments that choose a file of one's own with ``text`` in it."""
    (directory / "experiment").mkdir()
    (directory / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    return [f"--config-dir={directory}"]


@pytest.mark.parametrize("arguments", [["experiment=mine"], ["--cfg=job", "experiment=mine"],
                                       ["--cfg=all", "experiment=mine"],
                                       ["--help", "experiment=mine"],
                                       ["--hydra-help", "experiment=mine"],
                                       ["--info=all", "experiment=mine"],
                                       ["-m", "experiment=mine", "seed=1,2"],
                                       ["-m", "experiment=smoke,mine"]])  # fmt: skip
@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"judge: {{key: {KEY}}}", "judge.key"),
        (f"tracking: {{tags: [a, {TOKEN}]}}", "tracking.tags.1"),
        (f"judge: {{base_url: 'http://host/v1?k={KEY[:9]}'}}", "judge.base_url"),
        (f"judge: {{password: {KEY[:9]}}}", "judge.password"),
        (f"judge: {{{KEY}: 1}}", "judge"),
        (f"hydra: {{help: {{header: 'use {KEY}'}}}}", r"hydra\.help\.header"),
    ],
)
def test_a_file_with_a_key_is_refused_before_hydra_writes_it_down(
    tmp_path: Path, text: str, key: str, arguments: list[str]
) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: holds what looks like") as caught:
        command.check([*in_a_file(tmp_path, text), *arguments])
    assert KEY[:9] not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_key_from_the_environment_is_written_down_no_more_than_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    given = in_a_file(tmp_path, "judge: {system: '${oc.env:SOME_KEY}'}")
    with pytest.raises(ConfigError, match=r"^judge\.system: holds what looks like a key"):
        command.check([*given, "experiment=mine"])


@pytest.mark.parametrize(
    "text", [f'judge: {{system: "{KEY}', f"judge: {KEY}: {KEY}", f"judge: @{KEY}", f"a: *{KEY}"]
)
def test_a_file_that_is_no_yaml_is_named_without_what_stands_there(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml, line [23]: is no YAML: ") as caught:
        command.check([*in_a_file(tmp_path, text), "experiment=mine"])
    assert KEY not in str(caught.value)


def test_what_is_shown_of_an_interpolation_holds_no_key(tmp_path: Path) -> None:
    """Files are looked at as they are written; ``--resolve`` shows what stands elsewhere."""
    given = in_a_file(tmp_path, "judge: {system: '${oc.env:SOME_KEY}'}")
    shown = run_python(
        "-m", "iterdpo", *given, "experiment=mine", "--cfg=job", "--resolve",
        env=os.environ | {"SOME_KEY": KEY},
    )  # fmt: skip
    assert KEY not in shown.stdout + shown.stderr
    assert "system: (hidden)" in shown.stdout
