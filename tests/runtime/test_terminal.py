from __future__ import annotations

import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from iterdpo.config.compose import conf_directory
from iterdpo.errors import LineageError, UserError
from iterdpo.runtime.terminal import LogFile, harmless, run_tool


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    logger = logging.getLogger("iterdpo")
    before = logger.level
    yield
    logger.setLevel(before)


def fail(error: BaseException) -> Callable[[], NoReturn]:
    def action() -> NoReturn:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "status"),
    [(UserError("no such\nfile"), 2), (LineageError("another policy"), 3)],
)
def test_what_a_user_hears_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    assert run_tool("tool", fail(error)) == status
    said = capsys.readouterr().err
    assert said == f"tool: {' '.join(str(error).splitlines())}\n"


def test_other_ends() -> None:
    assert run_tool("tool", lambda: None) == 0
    assert run_tool("tool", lambda: 1) == 1
    assert run_tool("tool", fail(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        run_tool("tool", lambda: 1 // 0)


def test_messages_are_harmless_too(capsys: pytest.CaptureFixture[str]) -> None:
    run_tool("tool", fail(UserError("\x1b[2J gone")))
    assert capsys.readouterr().err == "tool: \\x1b[2J gone\n"


def test_the_log_of_every_command_is_harmless() -> None:
    """Of a run and a sweep as Hydra sets them up, and of a tool."""
    record = logging.makeLogRecord({"msg": "%s\nwas read", "args": ("\x1b]0;title\x07",)})
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        setup = compose("config", return_hydra_config=True).hydra
    for kind in ("hydra_logging", "job_logging"):
        setting: Any = OmegaConf.to_container(setup[kind])
        loggers: Any = logging.config.DictConfigurator(setting)
        for formatter in setting["formatters"].values():
            said = loggers.configure_formatter(formatter).format(record)
            assert said.endswith("\\x1b]0;title\\x07\nwas read")


def test_what_acts_on_a_terminal_is_spelled_out() -> None:
    assert harmless("a\x1b[31mb\x07\r\x9b2J") == "a\\x1b[31mb\\x07\\r\\x9b2J"
    assert harmless("x\u202ey\u2066") == "x\\u202ey\\u2066"
    assert harmless("a\u2028b\u2029") == "a\\u2028b\\u2029"
    assert harmless("half \ud800") == "half \\ud800"
    assert harmless("tab\there\nnew") == "tab\there\nnew"
    family = "\U0001f468\u200d\U0001f469"  # joined by an invisible letter
    assert harmless(family + "naïve 漢字") == family + "naïve 漢字"


@given(st.text(st.characters()))
def test_nothing_is_left_that_acts(text: Any) -> None:
    shown = harmless(text)
    shown.encode("utf-8")
    assert not set(shown) & {chr(n) for n in (*range(9), *range(11, 32), *range(127, 160))}


@pytest.mark.parametrize("place", ["/dev/full", "/dev"], ids=["full", "a directory"])
def test_a_log_that_takes_nothing_ends_and_says_so_once(
    capsys: pytest.CaptureFixture[str], place: str
) -> None:
    logging.getLogger().addHandler(LogFile(place))
    for _ in range(3):
        logging.getLogger("iterdpo").warning("a line")
    said = capsys.readouterr().err
    assert said.count(f"{place}: cannot be written to") == 1
    assert "Traceback" not in said
