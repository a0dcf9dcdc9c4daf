"""Cards say what the run's files say, and give away nothing of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from iterdpo.config.hub import Models
from iterdpo.errors import UserError
from iterdpo.evaluation.oracles import LAB
from iterdpo.runs.directory import Run
from iterdpo.tools.hub.folder import folders
from tests.made_run import HOSTILE, PROMPTS
from tests.narrowing import present
from tests.tools.hub.conftest import Changed

HEADINGS = ["Load", "Results", "Recipe", "Data", "Lineage", "Limits"]


def cards(run: Run, models: Models = "last", pairs: bool = True) -> dict[str, str]:
    with folders(run, "me/tiny", models, pairs=pairs) as made:
        return {folder.kind: (folder.directory / "README.md").read_text() for folder in made}


def metadata(card: str) -> Any:
    _, front, _ = card.split("---\n", 2)
    return OmegaConf.to_container(OmegaConf.create(front))


@pytest.fixture(scope="module")
def plain(finished_run: Path) -> dict[str, str]:
    return cards(Run.open(finished_run))


@pytest.fixture
def judged_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pair names a policy of its run as the judge."""
    monkeypatch.setattr("iterdpo.tools.hub.pairs.judges_of", lambda run: {"f" * 16: None})


@pytest.mark.usefixtures("judged_otherwise")
def test_the_model_card_of_a_run_with_another_judge(changed: Changed) -> None:
    run = changed({"model.path": "org/base", "model.revision": "v2"})
    front = metadata(cards(run, pairs=False)["model"])
    assert (front["base_model"], front["base_model_relation"]) == ("org/base", "adapter")
    assert "datasets" not in front
    assert "self-rewarding" not in front["tags"]


def test_the_model_card_names_what_the_hub_indexes(plain: dict[str, str]) -> None:
    front = metadata(plain["model"])
    assert front["library_name"] == "peft"
    assert front["datasets"] == ["me/tiny-pairs"]
    assert {"dpo", "lora", "self-rewarding"} <= set(front["tags"])
    assert "base_model" not in front  # a local checkpoint is nobody's


def test_the_dataset_card_names_its_files(plain: dict[str, str]) -> None:
    front = metadata(plain["dataset"])
    assert front["size_categories"] == ["n<1K"]
    assert [item["config_name"] for item in front["configs"]] == [
        "default", "iteration-1", "iteration-2",
    ]  # fmt: skip
    assert "12 preference pairs" in plain["dataset"]


def test_the_model_card_has_every_part_in_order(plain: dict[str, str]) -> None:
    assert re.findall(r"^## (.*)$", plain["model"], flags=re.MULTILINE) == HEADINGS


def test_results_are_the_papers_tables(plain: dict[str, str], finished_run: Path) -> None:
    from iterdpo.evaluation.table import markdown

    assert markdown(Run.open(finished_run).summary).strip() in plain["model"]
    assert "5 held-out prompts, 2 sampled answers to each" in plain["model"]


def test_the_lineage_names_parents_judges_and_hashes(
    plain: dict[str, str], finished_run: Path
) -> None:
    run = Run.open(finished_run)
    m2 = run.policy("M2")
    row = f"| M2 | M1 | M1 | previous | `{m2.fingerprint}` | `{present(m2.adapter).sha256}` |"
    m0 = run.policy("M0")
    for card in plain.values():
        assert row in card
        assert f"| M0 |  |  |  | `{m0.fingerprint}` | `{m0.base.sha256}` |" in card


def test_the_recipe_holds_what_is_not_as_shipped_and_no_place(
    plain: dict[str, str], finished_run: Path, changed: Changed
) -> None:
    for card in plain.values():
        targets = ("best_worst.BestWorst", "top_bottom.TopBottom")
        row = " | ".join(f"`iterdpo.pairing.{target}`" for target in targets)
        assert f"| `pairs._target_` | {row} |" in card
        assert "`prompts.txt`" in card
        assert str(finished_run.parent) not in card
        assert "store.root" not in card
        assert "hub.repo" not in card
    run = changed()
    (run.directory / ".hydra").mkdir()
    overrides = "- seed=0\n- model.path=/home/me/llama\n"
    (run.directory / ".hydra" / "overrides.yaml").write_text(overrides)
    command = "```sh\npython -m iterdpo seed=0 model.path=llama\n```"
    assert all(command in card for card in cards(run).values())


def test_no_prompt_and_no_answer_stands_in_a_card(
    plain: dict[str, str], finished_run: Path
) -> None:
    run = Run.open(finished_run)
    texts = {pair.chosen for number in (1, 2) for pair in run.made(number).pairs}
    texts |= {HOSTILE[:20], *(f"Prompt {n}." for n in range(PROMPTS))}
    for card in plain.values():
        assert not [text for text in texts if text in card]


def test_a_hostile_setting_stays_text(changed: Changed) -> None:
    hostile = "`</code><script>x</script>| [a](b)\n## Heading"
    run = changed({"prompts.system": hostile})
    for card in cards(run).values():
        assert "\n## Heading" not in card
        (line,) = [line for line in card.splitlines() if line.startswith("| `prompts.system`")]
        assert "`` `</code><script>x</script>\\| [a](b) ## Heading ``" in line


def test_the_lines_to_load_by(plain: dict[str, str], changed: Changed, finished_run: Path) -> None:
    assert "PeftModel.from_pretrained(model, 'me/tiny')" in plain["model"]
    assert "is a checkpoint that is not on the Hub" in plain["model"]
    run = Run.open(finished_run)
    assert "from_pretrained(model, 'me/tiny', subfolder=\"M1\")" in cards(run, "all")["model"]
    hub = changed({"model.path": "org/base", "model.revision": "v2"})
    card = cards(hub)["model"]
    assert "base = 'org/base'" in card
    assert "from_pretrained(base, revision='v2', dtype='float32')" in card


def test_the_limits_are_those_of_the_run(
    plain: dict[str, str], changed: Changed, request: pytest.FixtureRequest
) -> None:
    limits = plain["model"].partition("## Limits")[2]
    assert "the judge was each policy, itself" in limits
    assert "There is no exact measure of quality" in limits
    assert "one seed (0)" in limits
    assert "Alarm: M1: chosen answers are 1.60 times as long" in limits
    request.getfixturevalue("judged_otherwise")
    other = {
        "judge._target_": "iterdpo.judging.human.HumanJudge",
        "evaluation.oracle": {"_target_": LAB}, "model.quantization": "nf4",
    }  # fmt: skip
    stopped = {"iteration": 1, "message": "stopped after iteration 1 of 2"}
    limits = cards(changed(other, {"stopped": stopped, "alarms": []}))["model"].partition(
        "## Limits"
    )[2]
    assert "judge was" not in limits
    assert "the lab's oracle's" in limits
    assert "The base was nf4 while it was trained" in limits
    assert "The run was stopped after iteration 1 of 2." in limits
    assert "Alarm" not in limits


def given_pairs(path: str, **dataset: Any) -> dict[str, Any]:
    fields = {"path": path, "subset": None, "split": "train", "revision": None, **dataset}
    return {
        "pairs._target_": "iterdpo.pairing.offline.OfflineDataset", "pairs.dataset": fields,
        "prompts._target_": "iterdpo.prompts.pairs.PairsPrompts",
        "prompts.path": None,
    }  # fmt: skip


def test_pairs_that_somebody_gave_are_not_called_the_model_s(changed: Changed) -> None:
    run = changed(given_pairs("org/pairs", split="train_prefs", revision="v3"))
    made = cards(run)
    assert set(made) == {"model"}  # they are somebody's already
    card = made["model"]
    front = metadata(card)
    assert front["datasets"] == ["org/pairs"]
    assert front["tags"] == ["iterdpo", "dpo", "trl", "lora"]
    assert "trained by DPO with iterdpo on preference pairs that somebody gave. " in card
    assert "Pairs: `org/pairs` (split `train_prefs`, revision `v3`), as somebody gave" in card
    assert "Prompts: those of the pairs, some of them held out." in card
    assert "| M2 | M1 | given | previous |" in card
    assert "The preferences are those of the data" in card
    for wrong in ("a judge scores", "Self-Rewarding", "the judge was", "iterative"):
        assert wrong not in card.partition("## Recipe")[0] + card.partition("## Data")[2]
    with pytest.raises(UserError, match="its pairs are a dataset's: there is nothing to share"):
        cards(run, "none")


@pytest.mark.parametrize("path", ["data/pairs.jsonl", "/home/me/pairs.parquet"])
def test_a_file_of_given_pairs_is_no_dataset_of_the_hub(changed: Changed, path: str) -> None:
    card = cards(changed(given_pairs(path)))["model"]
    assert "datasets" not in metadata(card)
    assert "/home" not in card
    assert ", as somebody gave them." in card
    assert "split" not in card.partition("## Data")[2].partition("## Lineage")[0]


@pytest.mark.parametrize(
    ("training", "method", "paper"),
    [
        ({"training.method": "orpo", "training.loss": []}, "ORPO", "2403.07691"),
        ({"training.loss": ["ipo"]}, "IPO", "2310.12036"),
        ({}, "DPO", "2305.18290"),
    ],
)
def test_the_method_is_called_by_its_name(
    changed: Changed, training: dict[str, Any], method: str, paper: str
) -> None:
    for kind, card in cards(changed(training)).items():
        assert f"iterative {method} with iterdpo" in card
        opening = card.partition("## ")[0]
        assert re.findall(r"abs/([0-9.]+)", opening) == ["2401.10020", paper]
        if kind == "model":
            assert {method.lower(), f"iterative-{method.lower()}"} <= set(metadata(card)["tags"])


def test_what_the_first_model_was_tuned_on_is_told(plain: dict[str, str], changed: Changed) -> None:
    assert "fine-tuned first" not in plain["model"]
    ranked = {"path": "org/ranked"}
    sft = {"sft.method": "qlora", "sft.path": ["/home/me/ift.jsonl"], "sft.ranked": ranked}
    card = cards(changed(sft))["model"]
    assert "M0 was fine-tuned first, on examples of `ift.jsonl`, `org/ranked`." in card
