"""vLLM for real, on CPU: equal to what is trained, one policy a call, and caught when it lies."""

from __future__ import annotations

import dataclasses
import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iterdpo.engines.base import Completion, Sampling, TokenSequence
from iterdpo.engines.transformers import TransformersEngine, TransformersSettings
from iterdpo.engines.usage import Usage
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.engines.vllm import VllmEngine
from iterdpo.engines.vllm_process import VllmProcess, VllmSettings
from iterdpo.errors import LineageError, UserError
from iterdpo.judging.asking import groups_of
from iterdpo.lab.splits import instructions
from iterdpo.models.canary import Canary, CanaryText
from iterdpo.models.chat_messages import Request
from iterdpo.records import Adapter, Base, Policy, Prompt
from iterdpo.stages.generate import candidate_of
from tests.checkpoints import CheckpointOf
from tests.judging.rankers import self_judge
from tests.logprobs import sums
from tests.narrowing import answered, present

pytestmark = [pytest.mark.usefixtures("vllm"), pytest.mark.slow]

SEED_MODEL = Path(__file__).resolve().parents[2] / "iterdpo" / "lab" / "seed"
GREEDY = Sampling(temperature=0.0, max_tokens=48)
SCORES = ("0", "1", "2", "3", "4", "5")


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Policy]:
    """The lab's M0 and three adapters on it that write differently."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    base = Base(str(SEED_MODEL), "0", "none", "float32", str(SEED_MODEL))
    made = [Policy("M0", base)]
    for number in (1, 2, 3):
        model = AutoModelForCausalLM.from_pretrained(SEED_MODEL)
        lora = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        place = tmp_path_factory.mktemp(f"m{number}") / "adapter"
        lora.save_pretrained(str(place))
        torch.manual_seed(number)
        weights = {
            name: torch.randn_like(tensor) * 0.03
            for name, tensor in lora.state_dict().items()
            if "lora_" in name
        }
        weights = {name.replace(".default", ""): tensor for name, tensor in weights.items()}
        save_file(weights, place / "adapter_model.safetensors")
        made.append(
            Policy(f"M{number}", base, Adapter(str(place), f"hash {number}"), made[-1].fingerprint)
        )
    return made


@pytest.fixture(scope="module")
def reference() -> Iterator[TransformersEngine]:
    engine = TransformersEngine(TransformersSettings(device="cpu", attention="eager"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmEngine]:
    engine = VllmEngine(VllmSettings(device="cpu", cache_gib=0.3))
    yield engine
    engine.close()


def requests(count: int) -> list[Request]:
    return [Request.of(text) for text in instructions("evaluation")[:count]]


Written = list[tuple[Policy, list[Completion]]]


@pytest.fixture(scope="module")
def written(engine: VllmEngine, policies: list[Policy]) -> Written:
    """Greedy answers to 64 prompts by each policy, in turns over one engine, twice over."""
    turns = [*policies, *reversed(policies)]
    return [(policy, answered(engine.generate(requests(64), policy, GREEDY))) for policy in turns]


def test_greedy_text_is_that_of_transformers_token_for_token(
    written: Written, reference: TransformersEngine, engine: VllmEngine
) -> None:
    texts = set()
    for policy, answers in written:
        expected = answered(reference.generate(requests(64), policy, GREEDY))
        assert [a.token_ids for a in answers] == [a.token_ids for a in expected]
        assert [a.finish_reason for a in answers] == [a.finish_reason for a in expected]
        texts.add(tuple(a.text for a in answers))
    assert len(texts) == 4  # the adapters do write differently
    assert engine.starts == 1


def test_logprobs_of_its_own_answers_are_those_of_the_model(
    written: Written, reference: TransformersEngine
) -> None:
    for policy, answers in written[:4]:
        sequences = [TokenSequence(a.prompt_token_ids, a.token_ids) for a in answers]
        theirs = reference.sequence_logprobs(sequences, policy)
        assert sums(a.logprobs for a in answers) == pytest.approx(sums(theirs), abs=1e-3)


def test_score_distributions_are_those_of_the_model(
    engine: VllmEngine, reference: TransformersEngine, policies: list[Policy]
) -> None:
    import math

    for policy in policies:
        ours = answered(engine.choice_logprobs(requests(64), SCORES, policy))
        theirs = answered(reference.choice_logprobs(requests(64), SCORES, policy))
        for one, other in zip(ours, theirs, strict=True):
            shares = [math.exp(value) for value in one.logprobs]
            assert shares == pytest.approx([math.exp(v) for v in other.logprobs], abs=1e-3)


def test_sampled_logprobs_are_of_the_model_and_not_of_the_temperature(
    engine: VllmEngine, reference: TransformersEngine, policies: list[Policy]
) -> None:
    hot = Sampling(n=2, temperature=2.0, top_p=0.9, top_k=20, max_tokens=12, seed=4)
    answers = answered(engine.generate(requests(16), policies[1], hot))
    sequences = [TokenSequence(a.prompt_token_ids, a.token_ids) for a in answers]
    theirs = reference.sequence_logprobs(sequences, policies[1])
    assert sums(a.logprobs for a in answers) == pytest.approx(sums(theirs), abs=1e-3)


def test_every_sample_has_a_seed_of_its_own(engine: VllmEngine, policies: list[Policy]) -> None:
    answers = answered(engine.generate(requests(16), policies[0], Sampling(n=4, max_tokens=12)))
    assert len({answer.seed for answer in answers}) == 64
    assert len({answer.text for answer in answers if answer.request == 0}) > 1


def test_memory_does_not_grow_over_twenty_swaps(engine: VllmEngine, policies: list[Policy]) -> None:
    sizes = []
    for swap in range(23):
        policy = policies[1 + swap % 3]
        list(engine.generate(requests(8), policy, Sampling(max_tokens=4)))
        gc.collect()
        sizes.append(resident_bytes())
    assert sizes[-1] < 1.03 * sizes[2]


def resident_bytes() -> int:
    """Return what this process has written itself: pages of files go when others need the room."""
    text = Path("/proc/self/status").read_text("ascii")
    return int(present(re.search(r"RssAnon:\s+(\d+) kB", text))[1]) * 1024


@pytest.fixture
def proven(policies: list[Policy], reference: TransformersEngine) -> Iterator[Policy]:
    """M1 with the canary that its training would have left beside it."""
    before, after = policies[0], policies[1]
    answers = answered(reference.generate(requests(16), before, GREEDY))
    sequences = [TokenSequence(a.prompt_token_ids, a.token_ids) for a in answers]
    values = [reference.sequence_logprobs(sequences, policy) for policy in (before, after)]
    texts = tuple(
        CanaryText(s.prompt_token_ids, s.token_ids, old, new, old)
        for s, old, new in zip(sequences, *values, strict=True)
    )
    path = Path(present(after.adapter).path).parent / "canary.json"
    path.write_text(json.dumps(dataclasses.asdict(Canary(texts, 1e-4, 1e-5, 1))))
    yield after
    path.unlink()


def test_the_real_engine_passes_the_canary_for_the_adapter_and_the_base(
    engine: VllmEngine, policies: list[Policy], proven: Policy
) -> None:
    verified = VerifiedEngine(engine)
    for policy in (proven, policies[0], proven):
        list(verified.generate(requests(2), policy, GREEDY))
    outcomes = [verified.results[policy.fingerprint] for policy in (proven, policies[0])]
    assert [result.outcome for result in outcomes] == ["applied", "applied"]
    assert all(result.texts >= 8 and result.to_claimed < 1e-3 for result in outcomes)


def test_an_adapter_that_is_silently_ignored_is_caught(
    engine: VllmEngine, proven: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VllmProcess, "_adapter", lambda self, policy: None)
    with pytest.raises(LineageError, match="asked for M1 and answers like the policy before"):
        list(VerifiedEngine(engine).generate(requests(2), proven, GREEDY))


def test_a_name_and_id_pointed_at_another_path_is_caught(
    engine: VllmEngine, policies: list[Policy], proven: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a loop does that saves every iteration's adapter as "policy" with the id 1."""
    from vllm.lora.request import LoRARequest

    monkeypatch.setattr(
        VllmProcess, "_adapter",
        lambda self, policy: LoRARequest("policy", 999, policy.adapter.path, load_inplace=False),
    )  # fmt: skip
    texts = Canary.read(Path(present(proven.adapter).path).parent / "canary.json").texts
    asked = [TokenSequence(text.prompt_ids, text.token_ids) for text in texts]
    engine.sequence_logprobs(asked, policies[2])
    with pytest.raises(LineageError, match=r"asked for M1 and answers neither|of M1's texts like"):
        list(VerifiedEngine(engine).generate(requests(2), proven, GREEDY))


@pytest.mark.parametrize("asked", ["adapter", "base"])
def test_rows_of_two_policies_in_one_call_are_caught(
    engine: VllmEngine,
    policies: list[Policy],
    proven: Policy,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
) -> None:
    policy, other = (proven, policies[0]) if asked == "adapter" else (policies[0], proven)
    run = VllmProcess.run

    def mixed(self: Any, requests: Any, _: Any) -> Iterator[Any]:
        """Answer every other text by the other policy, as vLLM on CPU does in one batch."""
        ours, theirs = list(run(self, requests, policy)), list(run(self, requests, other))
        texts: dict[tuple[int, ...], int] = {}
        for (token_ids, _params), *pair in zip(requests, ours, theirs, strict=True):
            text = texts.setdefault(tuple(token_ids[:8]), len(texts))
            yield pair[text % 2]

    verified = VerifiedEngine(engine)
    verified.verify(proven)
    monkeypatch.setattr(VllmProcess, "run", mixed)
    if asked == "adapter":
        verified = VerifiedEngine(engine)
    with pytest.raises(LineageError, match=rf"of {policy.name}'s texts like .* mixes two policies"):
        list(verified.generate(requests(2), policy, GREEDY))


def test_the_rubric_comes_from_the_prefix_cache(checkpoint_of: CheckpointOf) -> None:
    checkpoint = str(checkpoint_of("llama"))
    policy = Policy("M0", Base(checkpoint, "0", "none", "float32", checkpoint))
    engine = VllmEngine(VllmSettings(device="cpu", cache_gib=0.3))
    prompts = [Prompt.of(text, "lab") for text in instructions("loop")[:16]]
    asked = [Request.of(prompt.text) for prompt in prompts]
    answers = [
        candidate_of(answer, prompts[answer.request], policy)
        for answer in answered(engine.generate(asked, policy, Sampling(n=8, max_tokens=48)))
    ]
    before = engine.usage
    judge = self_judge(engine, "expected", min_mass=0.0)
    judgments = list(judge.judge(groups_of(prompts, answers, judge), policy))
    spent = engine.usage - before
    engine.close()
    assert len(judgments) == 128
    assert spent.cached_prompt_tokens >= 0.7 * spent.prompt_tokens


def test_a_restart_gives_memory_back_and_answers_the_same(policies: list[Policy]) -> None:
    engine = VllmEngine(VllmSettings(device="cpu", residency="restart", cache_gib=0.5))
    before = list(engine.generate(requests(8), policies[1], GREEDY))
    full = resident_bytes()
    assert engine.sleep() is True
    gc.collect()
    assert full - resident_bytes() > 0.4 * 2**30  # the cache, and what else it held
    engine.wake()
    assert list(engine.generate(requests(8), policies[1], GREEDY)) == before
    assert engine.starts == 2
    engine.close()


def test_an_engine_that_does_not_start_says_why_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    policy = Policy("M0", Base(str(SEED_MODEL), "0", "none", "float32", str(tmp_path)))
    with pytest.raises(UserError, match="engine=vllm: vLLM does not start"):
        list(VllmEngine(VllmSettings(device="cpu")).generate(requests(1), policy, GREEDY))


def test_a_rank_that_vllm_cannot_serve_is_refused(policies: list[Policy]) -> None:
    engine = VllmEngine(VllmSettings(device="cpu", lora_rank=1024))
    with pytest.raises(
        UserError, match=r"model\.adapter\.rank=1024: vLLM serves .* up to rank 512"
    ):
        list(engine.generate(requests(1), policies[0], GREEDY))


def test_sleep_on_cpu_is_refused_before_anything_runs(tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir

    from iterdpo.assemble import make_engine
    from iterdpo.config.compose import conf_directory, typed

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = typed(
            compose("config", overrides=["engine=vllm", "engine.residency=sleep",
                                         "engine.device=cpu"])
        )  # fmt: skip
    with pytest.raises(UserError, match=r"^engine\.residency=sleep: vLLM sleeps on CUDA only"):
        make_engine(config)


@pytest.mark.parametrize(("rank", "requests"), [(None, 2), (16, 5)])
def test_a_text_is_one_request_where_no_adapter_can_be_loaded(
    policies: list[Policy], monkeypatch: pytest.MonkeyPatch, rank: int | None, requests: int
) -> None:
    class Process:
        """Gives every token minus its id as its log-prob."""

        asked = 0

        def run(self, requests: Any, policy: Policy) -> Iterator[Any]:
            self.asked = len(requests)
            for ids, params in requests:
                (last,) = params.logprob_token_ids
                steps = [{token: SimpleNamespace(logprob=-token)} for token in (*ids, last)]
                output = SimpleNamespace(token_ids=[0], logprobs=steps[-1:])
                prompt = None if params.prompt_logprobs is None else [None, *steps[1:-1]]
                yield SimpleNamespace(prompt_logprobs=prompt, outputs=[output])

        def prefix_cache(self) -> Usage:
            return Usage()

    process = Process()
    monkeypatch.setattr(VllmEngine, "_serve", lambda self, base: (process, None))
    engine = VllmEngine(VllmSettings(device="cpu", lora_rank=rank))
    texts = [TokenSequence((1, 2), (3, 4, 5)), TokenSequence((6,), (7, 8))]
    assert engine.sequence_logprobs(texts, policies[0]) == [(-3, -4, -5), (-7, -8)]
    assert process.asked == requests


def test_a_device_that_this_vllm_was_not_built_for_is_refused(policies: list[Policy]) -> None:
    engine = VllmEngine(VllmSettings(device="cuda:1"))
    with pytest.raises(UserError, match=r"engine\.device=cuda:1: the vLLM that is installed"):
        list(engine.generate(requests(1), policies[0], GREEDY))
