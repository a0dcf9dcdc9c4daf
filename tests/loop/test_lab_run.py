"""The lab's loop from end to end, with every real part, small."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from iterdpo.cli import execute as run
from iterdpo.engines.transformers import TransformersEngine
from iterdpo.errors import LineageError
from iterdpo.evaluation.summary import Summary
from iterdpo.evaluation.summary_file import read_summary
from iterdpo.lab.oracle import score as lab_score
from iterdpo.records import Candidate, Comparison, Judgment, Pair, Prompt
from iterdpo.runs.directory import Run
from iterdpo.store.hashing import file_sha256
from iterdpo.store.tables import read_records
from tests.commands import run_python
from tests.loop.conftest import Configure
from tests.loop.sizes import SMALL
from tests.narrowing import present
from tests.processes import program_that_waits, until_it_waits

pytestmark = pytest.mark.slow

SMOKE = ("experiment=smoke", "iterations=2")


def data_files(store: Path) -> dict[str, str]:
    """Return the hash of every file in a store but the manifests, which hold seconds."""
    return {
        path.relative_to(store).as_posix(): file_sha256(path)
        for path in sorted(store.glob("[!.]*/**/*"))
        if path.is_file() and path.name != "stage.json"
    }


Finished = tuple[Summary, Path, Path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One finished run: (its result, its run directory, its store)."""
    from hydra import compose, initialize_config_dir

    from iterdpo.config.compose import conf_directory, typed

    place = tmp_path_factory.mktemp("run")
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        composed = compose(
            "config",
            overrides=[*SMOKE, "tracking=none", "engine.device=cpu", f"store.root={place}/store"],
        )
    return run.execute(typed(composed), place / "run"), place / "run", place / "store"


def test_the_summary_is_what_it_is_documented_to_be(finished: Finished) -> None:
    result, run_dir, _ = finished
    assert result == read_summary(run_dir)
    assert [model.name for model in result.models] == ["M0", "M1", "M2"]
    assert [model.parent for model in result.models] == [None, "M0", "M1"]
    assert result.models[0].adapter_sha256 is None
    for model in result.models:
        measured, judge = model.evaluation, model.evaluation.judge
        quality = present(measured.quality)
        assert quality.n == 8 * 2
        assert 0 <= quality.mean <= 5
        assert (judge.reference_set.n, judge.own_answers.n) == (8 * 4, 8 * 2)
        assert judge.reference_set.unscored == 0
        assert sum(item.n for item in judge.reference_set.calibration) == 8 * 4
        assert 0 <= present(judge.parse_rate) <= 1
        assert -1 <= present(judge.length_correlation) <= 1
        for told in (judge, judge.reference_set, judge.own_answers):
            for name, (low, high) in told.ci95.items():
                # One prompt alone has no interval: few answers are judged perfect here.
                if low is None or high is None:
                    assert low is high is None, name
                else:
                    assert low <= getattr(told, name) <= high, name
        for name in ("pairwise_accuracy", "kendall_tau"):
            assert None not in judge.reference_set.ci95[name]
        low, high = measured.judged_mean_ci95
        assert present(low) < present(measured.judged_mean) < present(high)
        assert [item.n for item in measured.best_of] == [1, 2]
        assert measured.best_of[0].quality.mean == pytest.approx(quality.mean)
        assert measured.truncated_share == 0
        assert 0 <= present(measured.duplicate_share) <= 1
        assert measured.response_tokens > 0
        for stage in asdict(model.stages).values():
            assert Run.open(run_dir).directory_of(stage).is_dir()
    first, *later = result.models
    assert first.gains is None
    assert first.agreement_with_previous is None
    strongest = max(
        (item.result for item in result.temperature_baselines), key=lambda item: item.quality.mean
    )
    assert [item.result.strongest for item in result.temperature_baselines] == [
        item.result is strongest for item in result.temperature_baselines
    ]
    means = [present(model.evaluation.quality).mean for model in result.models]
    for number, model in enumerate(later, 1):
        gains, alike = present(model.gains), present(model.agreement_with_previous)
        others = (gains.over_previous, gains.over_initial, gains.over_baseline)
        before = (means[number - 1], means[0], strongest.quality.mean)
        for gain, other in zip(others, before, strict=True):
            assert present(gain).mean == pytest.approx(means[number] - other)
        assert -1 <= present(alike.low) <= alike.mean <= present(alike.high) <= 1
    assert later
    for number, made in enumerate(result.iterations, 1):
        assert made.iteration == number
        assert (made.prompts, made.candidates) == (24, 24 * 6)
        assert made.judgments.scored + made.judgments.unscored == 24 * 6
        assert made.pairs.kept + sum(made.pairs.dropped.values()) == 24 * 3
        labels, training = present(made.pairs.quality.label_accuracy), present(made.training)
        assert 0 <= present(labels.low) < labels.mean < present(labels.high) <= 1
        assert training.reference_unchanged is True
        assert training.step0_largest_reward == pytest.approx(0, abs=1e-4)
        assert training.engine_gap < 1e-3
        assert made.generated_tokens == made.generated_tokens_new > 24 * 6
        assert {"prompts", "candidates", "judgments", "pairs", "adapter"} <= set(made.seconds)
    assert result.run.seed == 0
    assert result.run.versions["torch"]


def test_the_summary_compares_every_model_with_the_one_before_and_m0(finished: Finished) -> None:
    result, run_dir, _ = finished
    met = [(item.model, item.opponent) for item in result.comparisons]
    assert met == [("M1", "M0"), ("M2", "M1"), ("M2", "M0")]
    for item in result.comparisons:
        stage, key = item.stage.split("/")
        (place,) = (run_dir / "stages").glob(f"*-{stage}-{key[:8]}")
        records = read_records(place / "records.parquet", Comparison)
        outcomes = [present(record.outcome) for record in records]
        found = item.result
        assert (found.wins, found.ties, found.losses, found.unscored) == (
            outcomes.count(1.0), outcomes.count(0.5), outcomes.count(0.0), 0
        )  # fmt: skip
        assert len(outcomes) == 8 * 2
        assert present(found.win_rate).mean == pytest.approx(sum(outcomes) / len(outcomes))
        assert (item.judge, found.flips, found.prompts) == ("oracle", None, 8)
    assert [item.model for item in result.ratings] == ["M0", "M1", "M2"]
    assert result.ratings[0].rating == 0
    assert [item.result.temperature for item in result.temperature_baselines] == [0.7, 0.4]
    assert all(item.result.quality.n == 8 * 2 for item in result.temperature_baselines)
    assert result.best.model in ("M0", "M1", "M2")
    assert result.best.by == "oracle"
    assert result.stopped is None


def test_the_comparisons_are_of_the_answers_that_were_measured(finished: Finished) -> None:
    result, run_dir, _ = finished
    finished_run = Run.open(run_dir)
    answers = {
        model.name: {
            item.id: item for item in finished_run.records(model.stages.sampled, Candidate)
        }
        for model in result.models
    }
    prompts = {
        item.id: item.text
        for item in finished_run.records(result.models[0].stages.held_out, Prompt)
    }
    for item in result.comparisons:
        for record in finished_run.records(item.stage, Comparison):
            mine = answers[item.model][record.answer_id]
            theirs = answers[item.opponent][record.opponent_id]
            assert (mine.prompt_id, mine.index) == (theirs.prompt_id, theirs.index)
            scores = [lab_score(prompts[mine.prompt_id], text) for text in (mine.text, theirs.text)]
            won = 0.5 if scores[0] == scores[1] else float(scores[0] > scores[1])
            assert record.outcome == won


def test_every_pair_can_be_walked_back(finished: Finished) -> None:
    result, run_dir, store = finished
    names = {model.fingerprint: model.name for model in result.models}
    for iteration, path in enumerate(sorted((run_dir / "stages").glob("*-pairs-*")), 1):
        pairs = read_records(path / "records.parquet", Pair)
        assert pairs
        manifest = json.loads((path / "stage.json").read_text())
        parents = {arg["stage"]: arg["key"] for arg in manifest["identity"]["args"]}
        candidates = {
            item.id: item
            for item in read_records(
                store / "candidates" / parents["candidates"] / "records.parquet", Candidate
            )
        }
        judgments = {
            item.candidate_id: item
            for item in read_records(
                store / "judgments" / parents["judgments"] / "records.parquet", Judgment
            )
        }
        for pair in pairs:
            chosen, rejected = candidates[pair.chosen_id], candidates[pair.rejected_id]
            assert (chosen.text, rejected.text) == (pair.chosen, pair.rejected)
            assert chosen.prompt_id == rejected.prompt_id == pair.prompt_id
            assert chosen.policy == rejected.policy == pair.policy
            assert judgments[chosen.id].score == pair.chosen_score > pair.rejected_score
            assert judgments[rejected.id].judge == pair.judge
            # Iteration t is written and judged by M(t-1).
            assert names[pair.policy] == names[pair.judge] == f"M{iteration - 1}"


def test_every_adapter_differs_and_the_canary_saw_each_applied(finished: Finished) -> None:
    result, _, _ = finished
    hashes = [model.adapter_sha256 for model in result.models]
    assert len(set(hashes)) == 3
    fingerprints = {model.fingerprint for model in result.models[1:]}
    assert set(result.canaries) == fingerprints
    outcomes = {canary.outcome for canary in result.canaries.values()}
    assert outcomes == {"applied"}


def test_held_out_prompts_never_enter_the_loop(finished: Finished) -> None:
    _, run_dir, _ = finished
    texts = [
        set(pyarrow.parquet.read_table(path / "records.parquet")["text"].to_pylist())
        for path in sorted((run_dir / "stages").glob("*-prompts-*"))
    ]
    assert len(texts) == 4  # evaluation, judge reference, and one for each iteration
    assert len(set.union(*texts)) == sum(len(part) for part in texts)


def test_a_second_run_computes_nothing_and_says_the_same(
    finished: Finished, configure: Configure, tmp_path: Path
) -> None:
    result, _, store = finished
    before = {path: path.stat().st_mtime_ns for path in store.glob("[!.]*/**/*")}
    again = run.execute(configure(*SMOKE, f"store.root={store}"), tmp_path / "again")
    assert {path: path.stat().st_mtime_ns for path in store.glob("[!.]*/**/*")} == before
    assert again.models == result.models
    assert again.iterations == tuple(
        replace(made, generated_tokens_new=0) for made in result.iterations
    )


def test_the_same_run_from_an_empty_store_gives_the_same_bytes(
    finished: Finished, configure: Configure, tmp_path: Path
) -> None:
    result, _, store = finished
    again = run.execute(configure(*SMOKE, store="other"), tmp_path / "again")
    assert data_files(tmp_path / "other") == data_files(store)
    assert again.models == result.models


def test_another_seed_gives_other_data(
    finished: Finished, configure: Configure, tmp_path: Path
) -> None:
    result, _, _ = finished
    other = run.execute(configure(*SMOKE, "iterations=1", "seed=1"), tmp_path / "other")
    assert other.models[1].adapter_sha256 != result.models[1].adapter_sha256


def test_a_new_beta_shares_all_that_comes_before_training(
    finished: Finished, configure: Configure, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(finished[2], store)
    count = {path.name: len(list(path.iterdir())) for path in store.glob("[!.]*")}
    run.execute(
        configure("experiment=smoke", "iterations=1", "training.beta=0.5"),
        tmp_path / "beta",
    )
    after = {path.name: len(list(path.iterdir())) for path in store.glob("[!.]*")}
    for stage in ("base", "prompts", "candidates", "judgments", "pairs"):
        assert after[stage] == count[stage], stage
    assert after["adapter"] == count["adapter"] + 1


def test_an_adapter_that_does_not_load_stops_the_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Iteration 2 would silently be written by M0, as in schauppi's repository."""

    def load_nothing(self: Any, policy: Any) -> None:
        from peft import LoraConfig, get_peft_model

        if policy.fingerprint not in self._adapters:
            config = LoraConfig(r=4, target_modules="all-linear")
            self._model = get_peft_model(self._model, config, adapter_name=policy.fingerprint)
            self._model.eval()
            self._adapters.append(policy.fingerprint)

    monkeypatch.setattr(TransformersEngine, "_load_adapter", load_nothing)
    with pytest.raises(LineageError, match="is asked for M1 and answers like the policy before"):
        run.execute(configure(*SMOKE, *SMALL), tmp_path / "run")
    assert [model.name for model in read_summary(tmp_path / "run").models] == ["M0"]


def test_an_adapter_file_that_is_damaged_is_noticed_on_loading(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TransformersEngine._load_adapter

    def damage_then_load(self: Any, policy: Any) -> None:
        from safetensors.torch import load_file, save_file

        path = Path(policy.adapter.path) / "adapter_model.safetensors"
        weights = load_file(path)
        save_file({f"{name}.typo": tensor for name, tensor in weights.items()}, path)
        load(self, policy)

    monkeypatch.setattr(TransformersEngine, "_load_adapter", damage_then_load)
    with pytest.raises(LineageError, match="adapter of M1 did not load"):
        run.execute(configure(*SMOKE, *SMALL), tmp_path / "run")


def test_a_killed_run_goes_on_where_it_was(configure: Configure, tmp_path: Path) -> None:
    sizes = ("experiment=smoke", "iterations=1", *SMALL)
    result = run.execute(configure(*sizes, store="whole"), tmp_path / "whole-run")
    store = tmp_path / "whole"
    overrides = [
        *sizes, "tracking=none", "engine.device=cpu", "report=false",
        f"store.root={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'run'}",
    ]  # fmt: skip
    # Killed without a chance to tidy up, when the first iteration's candidates are there.
    with subprocess.Popen(
        [*program_that_waits("judgments"), *overrides], env=os.environ, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as child:  # fmt: skip
        until_it_waits(child)
        child.kill()
    done = {
        path.relative_to(tmp_path / "store"): path.stat().st_mtime_ns
        for path in (tmp_path / "store").glob("*/[!.]*/stage.json")
    }
    assert 0 < len(done) < len(list(store.glob("*/*/stage.json")))
    run_python("-m", "iterdpo", *overrides, check=True)
    for path, time_ns in done.items():
        assert (tmp_path / "store" / path).stat().st_mtime_ns == time_ns, path
    assert read_summary(tmp_path / "run").models == result.models
    assert set(data_files(tmp_path / "store")) == set(data_files(store))


@pytest.mark.parametrize(
    "overrides",
    [
        ("judge.model=initial", "training.reference=initial", "pairs=best_worst"),
        ("judge.score=sampled", "judge.samples=2", "training.reference=base"),
        ("model.quantization=none", "training.loss=[ipo]", "training.loss_weights=[1.0]",
         "training.beta=0.5"),
        ("model.quantization=int8",),
    ],
    ids=["initial", "sampled", "none-ipo", "int8"],
)  # fmt: skip
def test_other_choices_run_to_the_end(
    configure: Configure, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    result = run.execute(configure(*SMOKE, *SMALL, *overrides), tmp_path / "run")
    assert len(result.models) == 3
    first, second = (present(made.training) for made in result.iterations)
    assert second.reference_unchanged is True
    if "judge.model=initial" in overrides:
        path = sorted((tmp_path / "run" / "stages").glob("*-judgments-*"))[-1]
        judges = {item.judge for item in read_records(path / "records.parquet", Judgment)}
        assert judges == {result.models[0].fingerprint}
    if "training.reference=initial" in overrides or "training.reference=base" in overrides:
        assert first.step0_largest_reward < 1e-4 < second.step0_largest_reward
