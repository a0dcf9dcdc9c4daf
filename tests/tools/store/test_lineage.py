from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.records import Adapter, Judgment, Pair, Scored
from iterdpo.store.hashing import file_sha256
from iterdpo.store.identity import Ref
from iterdpo.store.inventory import read_store
from iterdpo.tools.store import show_lineage
from iterdpo.tools.store.lineage import lineages
from iterdpo.tools.store.policies import policy_chain
from tests.store.stores import Store, adapter_files, answered, put_loop


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def walk(store: Store, pair_id: str) -> Any:
    return lineages(read_store(store.root), pair_id)


def test_a_pair_is_walked_back_to_everything_it_was_made_from(store: Store) -> None:
    loop = put_loop(store)
    (found,) = walk(store, loop.pair.id)
    assert found.prompt == {"id": loop.pair.prompt_id, "text": "say more", "source": "lab"}
    assert found.pair["id"] == loop.pair.id
    chosen, rejected = found.chosen.candidate, found.rejected.candidate
    assert (chosen["text"], chosen["token_ids"], chosen["index"]) == ("well done", [5, 6, 7], 0)
    assert (rejected["text"], rejected["token_ids"], rejected["index"]) == ("worse", [8, 9], 1)
    assert (chosen["logprobs"], chosen["seed"]) == ([-0.5, -0.5, -0.5], 77)
    judged = found.chosen.judgment, found.rejected.judgment
    assert [judgment["score"] for judgment in judged] == [4.5, 1.25]
    assert judged[0]["raw"] == ["Score: 4.5"]
    assert (judged[1]["distribution"], judged[1]["mass"]) == ([0.25, 0.75], 0.875)
    assert found.stages == {name: (ref.key,) for name, ref in loop.second.items()}
    assert (found.scale, found.disagreements) == ((0, 5), ())


def test_policies_go_down_to_m0_each_with_its_files_hash(store: Store) -> None:
    loop = put_loop(store)
    (found,) = walk(store, loop.pair.id)
    m1, m0 = found.policies
    directory = store.at(loop.adapter) / "adapter"
    sha256 = file_sha256(directory / "adapter_model.safetensors")
    assert (m1.policy.name, m1.policy.fingerprint, m1.stage) == ("M1", loop.m1, loop.adapter)
    assert (m1.policy.adapter, m1.policy.parent) == (Adapter(str(directory), sha256), loop.m0)
    assert m1.trained_on == loop.pairs
    assert (m0.policy.name, m0.policy.fingerprint, m0.stage) == ("M0", loop.m0, loop.base)
    assert (m0.policy.adapter, m0.policy.parent) == (None, None)
    base = m0.policy.base
    assert (base.sha256, base.quantization, base.dtype) == ("c" * 64, "nf4", "float32")
    assert (found.writer, found.judge) == (loop.m1, loop.m1)


def test_fingerprints_are_those_of_the_records() -> None:
    from iterdpo.records import Adapter, Base, Policy
    from tests.store.stores import policy

    base = Base("anywhere", "c" * 64, "nf4", "float32", "anywhere/else")
    assert policy() == Policy("M0", base).fingerprint
    assert policy("a" * 64) == Policy("M1", base, Adapter("x", "a" * 64)).fingerprint


def test_a_judge_other_than_the_writer_is_named(store: Store) -> None:
    loop = put_loop(store, judge="m0")
    (found,) = walk(store, loop.pair.id)
    assert (found.writer, found.judge) == (loop.m1, loop.m0)
    assert [node.policy.name for node in found.policies] == ["M1", "M0"]
    assert found.disagreements == ()


def test_a_training_that_skipped_an_iteration_keeps_its_number(store: Store) -> None:
    loop = put_loop(store)
    adapter = store.put(
        "adapter", {}, 3, loop.adapter, loop.base, loop.second["pairs"], loop.second["candidates"],
        files=adapter_files("M3"),
    )  # fmt: skip
    chain = policy_chain(read_store(store.root), adapter)
    policies = [node.policy for node in chain]
    assert [policy.name for policy in policies] == ["M3", "M1", "M0"]
    assert [policy.parent for policy in policies] == [policies[1].fingerprint, loop.m0, None]


def test_a_beginning_of_the_id_is_enough_when_no_other_has_it(store: Store) -> None:
    loop = put_loop(store)
    assert walk(store, loop.pair.id[:5])[0].pair["id"] == loop.pair.id
    with pytest.raises(UserError, match="pair : is the beginning of several ids"):
        walk(store, "")
    with pytest.raises(UserError, match="pair nothing: none of the 2 pairs stages holds it"):
        walk(store, "nothing")


def test_a_sweep_that_shares_the_records_shows_each_stage_once(store: Store) -> None:
    loop = put_loop(store)
    parents = [loop.second[name] for name in ("prompts", "candidates", "judgments")]
    more = store.put("pairs", {"k": 2}, *parents, records=[loop.pair])
    (found,) = walk(store, loop.pair.id)
    assert found.stages["pairs"] == (loop.second["pairs"].key, more.key)
    assert found.stages["candidates"] == (loop.second["candidates"].key,)


def test_equal_records_of_different_stages_are_two_lineages(store: Store) -> None:
    loop = put_loop(store)
    prompts, candidates = loop.second["prompts"], loop.second["candidates"]
    _, _, judgments, _ = answered("say more", "well done", "worse", loop.m1, loop.m1)
    judged = {"judge": {"name": "self", "version": 1}, "scale": [1, 10]}
    again = store.put("judgments", judged, prompts, candidates, loop.adapter, records=judgments)
    pairs = store.put("pairs", {"k": 1}, prompts, candidates, again, records=[loop.pair])
    first, second = walk(store, loop.pair.id)
    assert first.stages["pairs"] == (loop.second["pairs"].key,)
    assert second.stages["pairs"] == (pairs.key,)
    assert (first.scale, second.scale) == ((0, 5), (1, 10))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "say less"}, ["the pair's prompt is not the text of the prompt it names"]),
        ({"chosen": "x"}, ["the pair's chosen text is not that of the record it names"]),
        ({"rejected_score": 1.0}, ["the pair's rejected score is not that of the record it names"]),
        (
            {"policy": "f" * 16},
            [
                "the pair says that ffffffffffffffff wrote, its stage was given M1, {m1}",
                "the pair's chosen writer is not that of the record it names",
                "the pair's rejected writer is not that of the record it names",
            ],
        ),
    ],
)
def test_what_does_not_agree_is_said(store: Store, change: dict[str, Any], said: list[str]) -> None:
    loop = put_loop(store)
    names = Pair.__dataclass_fields__
    wrong = Pair(**{name: getattr(loop.pair, name) for name in names} | {"id": "wrong"} | change)
    parents = [loop.second[name] for name in ("prompts", "candidates", "judgments")]
    store.put("pairs", {"k": 9}, *parents, records=[wrong])
    (found,) = walk(store, "wrong")
    assert list(found.disagreements) == [line.format(m1=loop.m1) for line in said]


def test_a_policy_whose_adapter_is_not_the_one_that_wrote_is_said(store: Store) -> None:
    loop = put_loop(store)
    path = store.at(loop.adapter) / "training.json"
    path.write_text(json.dumps({"adapter_sha256": "0" * 64}))
    (found,) = walk(store, loop.pair.id)
    assert [line[:14] for line in found.disagreements] == ["the pair says "] * 2


def test_a_stage_that_is_missing_or_of_another_version_is_one_line(store: Store) -> None:
    loop = put_loop(store)
    path = store.at(loop.second["candidates"]) / "stage.json"
    kept = path.read_text()
    path.write_text("{}")
    with pytest.raises(UserError, match=r"stage\.json has no usable key"):
        walk(store, loop.pair.id)
    path.write_text(kept)
    store.at(loop.adapter).rename(store.root / "away")
    with pytest.raises(UserError, match=f"{loop.adapter}: is not in the store any more"):
        walk(store, loop.pair.id)


def test_a_table_with_other_columns_is_one_line(store: Store) -> None:
    loop = put_loop(store)
    parents = [loop.second[name] for name in ("prompts", "candidates", "judgments")]
    store.put("pairs", {"k": 9}, *parents, records=[Judgment("x", "c", "p", "m", Scored(1.0))])
    with pytest.raises(UserError, match=r"records\.parquet: Arrow") as caught:
        walk(store, loop.pair.id)
    assert "\n" not in str(caught.value)


def test_json_holds_everything_and_no_character_that_a_terminal_acts_upon(store: Store) -> None:
    loop = put_loop(store, good="\x1b[2J β\u202e")
    text = show_lineage.as_json(walk(store, loop.pair.id))
    assert text.isascii()
    assert all(line.isprintable() for line in text.split("\n"))
    (found,) = json.loads(text)
    assert found["chosen"]["candidate"]["text"] == "\x1b[2J β\u202e"
    assert found["policies"][0]["stage"] == list(loop.adapter)
    assert found["rejected"]["judgment"]["score"] == 1.25
    assert found["stages"]["pairs"] == [loop.second["pairs"].key]


def test_a_lineage_reads_like_this(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    loop = put_loop(store, good="[bold]well\x1b[31m :smile:\nscored 5.000 of 0 to 5 by M0")
    show_lineage.lineage(walk(store, loop.pair.id)[0])
    said = capsys.readouterr().out
    pair, second = loop.pair, loop.second
    sha256 = file_sha256(store.at(loop.adapter) / "adapter" / "adapter_model.safetensors")
    assert (
        said
        == f"""\
pair {pair.id}: chosen 4.500, rejected 1.250 of 0 to 5

prompt {pair.prompt_id}, from lab
  | say more

chosen {pair.chosen_id}, sample 0
  | [bold]well\\x1b[31m :smile:
  | scored 5.000 of 0 to 5 by M0
  written by M1: 3 tokens, log-prob -1.500 nats, seed 77, ended by stop
  scored 4.500 of 0 to 5 by M1
  0: 0.250, 1: 0.750
  0.8750 of the probability on the scores
  verdict 1 of 1
  | Score: 4.5

rejected {pair.rejected_id}, sample 1
  | worse
  written by M1: 2 tokens, log-prob -1.000 nats, seed 77, ended by stop
  scored 1.250 of 0 to 5 by M1
  0: 0.250, 1: 0.750
  0.8750 of the probability on the scores
  verdict 1 of 1
  | Score: 1.25

policies
  M1  {loop.m1}  adapter {loop.adapter.key[:8]}
      {store.at(loop.adapter)}/adapter
      sha256 {sha256}
      from M0, trained on pairs {loop.pairs.key[:8]}
  M0  {loop.m0}  base {loop.base.key[:8]}
      nf4, float32
      checkpoint sha256 {"c" * 64}

stages
  pairs      {second["pairs"].key}
  prompts    {second["prompts"].key}
  candidates {second["candidates"].key}
  judgments  {second["judgments"].key}
"""
    )


def test_an_adapter_that_was_trained_from_nothing_known_is_one_line(store: Store) -> None:
    ref = store.put("adapter", {}, 1, Ref("pairs", "0" * 64))
    with pytest.raises(UserError, match="was given no base or sft or merged or adapter: of"):
        policy_chain(read_store(store.root), ref)


def test_a_training_whose_report_names_no_weights_is_one_line(store: Store) -> None:
    loop = put_loop(store)
    (store.at(loop.adapter) / "training.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds no policy that this version reads \(KeyError"):
        policy_chain(read_store(store.root), loop.adapter)
