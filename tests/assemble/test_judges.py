"""Who judges: what of the environment a judge can be made with."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from iterdpo.assemble import make_judge
from iterdpo.config.compose import conf_directory, typed
from iterdpo.engines.scripted import ScriptedEngine
from iterdpo.errors import UserError

KEY = "sk-secret"


@pytest.mark.parametrize(
    "value", [f"{KEY}\nX-Other: 1", f"{KEY} two", f"{KEY}\N{EM DASH}", "", " "]
)
def test_what_no_header_can_hold_is_no_key_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ITERDPO_TEST_KEY", value)
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = typed(
            compose(
                "config",
                [
                    "judge=endpoint",
                    "judge.model=m",
                    "judge.api_key_env=ITERDPO_TEST_KEY",
                ],
            )
        )
    with pytest.raises(UserError, match=r"api_key_env=ITERDPO_TEST_KEY: ") as raised:
        make_judge(config, ScriptedEngine(lambda *_: ""))
    assert KEY not in str(raised.value)
    assert "\n" not in str(raised.value)
    # Trailing white space is what `export KEY=$(cat file)` and editors leave.
    monkeypatch.setenv("ITERDPO_TEST_KEY", f"{KEY}\n")
    make_judge(config, ScriptedEngine(lambda *_: ""))
