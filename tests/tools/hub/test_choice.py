"""Which models are shared, and as which files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from iterdpo.errors import UserError
from iterdpo.records import Adapter, Base, Policy
from iterdpo.runs.directory import Run
from iterdpo.tools.hub.choice import SharedModels, choose, lay_out, own_base
from iterdpo.tools.hub.provenance import Origin
from tests.checkpoints import CheckpointOf
from tests.narrowing import present
from tests.tools.hub.conftest import Changed


def names(choice: SharedModels | None) -> tuple[str | None, list[str]]:
    assert choice is not None
    return choice.top.name if choice.top else None, [policy.name for policy in choice.folders]


def best(model: str) -> dict[str, Any]:
    return {"best": {"model": model, "why": "because", "by": "judge"}}


def test_what_each_word_names(changed: Changed) -> None:
    run = changed(summary=best("M1"))
    assert names(choose(run, "best")) == ("M1", [])
    assert names(choose(run, "last")) == ("M2", [])
    assert names(choose(run, "all")) == ("M1", ["M1", "M2"])
    assert choose(run, "none") is None
    everything = present(choose(run, "all"))
    assert [policy.name for policy in everything.policies] == ["M1", "M2"]
    assert [everything.folder_of(policy) for policy in everything.policies] == [None, "M2"]


def test_a_best_model_that_nothing_here_made_is_said(finished_run: Path) -> None:
    run = Run.open(finished_run)
    assert run.summary.best.model == "M0"
    with pytest.raises(UserError, match=r"the best model is M0, .* \(there are M1, M2\)"):
        choose(run, "best")
    assert names(choose(run, "all")) == (None, ["M1", "M2"])


def test_an_adapter_names_no_place_of_this_machine(finished_run: Path, tmp_path: Path) -> None:
    policy = Run.open(finished_run).policy("M2")
    lay_out(policy, Origin("org/base", "abc", "org/base"), None, tmp_path / "M2")
    assert sorted(path.name for path in (tmp_path / "M2").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    text = (tmp_path / "M2" / "adapter_config.json").read_text()
    values = json.loads(text)
    assert (values["base_model_name_or_path"], values["revision"]) == ("org/base", "abc")
    assert "/" not in text.replace("org/base", "")
    # The store's own file is as it was.
    stored = json.loads(
        (tmp_path / present(policy.adapter).path / "adapter_config.json").read_text()
    )
    assert stored["base_model_name_or_path"] == policy.base.path


def test_weights_of_its_own_are_every_file_of_the_checkpoint(
    tmp_path: Path, checkpoint_of: CheckpointOf
) -> None:
    model = checkpoint_of("llama")
    base = Base(str(model), "a", "none", "float32", str(model))
    lay_out(Policy("M1", base, parent="x"), Origin(None, None, "tiny"), None, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in model.iterdir()
    }
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (model / path.name).read_bytes()


def with_policies(*policies: Policy) -> Run:
    """Return as much of a run as the choice of a base looks at."""
    return cast("Run", SimpleNamespace(policies={policy.name: policy for policy in policies}))


def test_a_merged_base_goes_along_with_adapters_on_it() -> None:
    original = Base("o", "a", "nf4", "float32", "i")
    merged = Base("s/model", "b", "nf4", "float32", "s/dequantized")
    m0 = Policy("M0", merged, parent="bare")
    m1 = Policy("M1", merged, Adapter("x", "y"), m0.fingerprint)
    run = with_policies(m0, m1)
    assert own_base(run, [m1]) == m0
    assert own_base(run, [m0]) is None  # which is the whole model
    plain = Policy("M0", original)
    adapted = Policy("M1", original, Adapter("x", "y"), plain.fingerprint)
    assert own_base(with_policies(plain, adapted), [adapted]) is None


def test_every_model_once() -> None:
    base = Base("o", "a", "none", "float32", "o")
    one, two = (Policy(name, base, Adapter(name, name), "p") for name in ("M1", "M2"))
    assert SharedModels(two, [one, two]).policies == [two, one]
    assert SharedModels(None, [one, two]).policies == [one, two]
