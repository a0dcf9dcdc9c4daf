"""Shares of a step, places of processes, and what is refused before any is started."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch

from iterdpo.assemble.hardware import require_processes
from iterdpo.config.check import load
from iterdpo.errors import ConfigError, LineageError, UserError
from iterdpo.training import distributed as peers
from iterdpo.training.distributed import ProcessGroup, joined
from iterdpo.training.launch import number_of_processes, require_shares, sharding_problem
from iterdpo.training.shared_step import SharedStep, seed_of
from tests.config.test_keys import shipped


def test_every_micro_batch_is_computed_by_one_process() -> None:
    for size in (1, 2, 3, 8):
        taken = Counter(
            index
            for rank in range(size)
            for index in range(7)
            if ProcessGroup(rank, size).owns_micro_batch(index)
        )
        assert taken == dict.fromkeys(range(7), 1)


def test_a_process_that_trains_alone_asks_nobody() -> None:
    alone = ProcessGroup.here()
    assert (alone, alone.is_main_process) == (ProcessGroup(0, 1), True)
    assert alone.gather("value") == ["value"]
    assert alone.from_main_process(lambda: 3) == 3
    alone.assert_equal_across_ranks("anything", object())


def test_disagreement_names_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessGroup, "gather", lambda self, value: [value, value, "other"])
    with pytest.raises(LineageError, match=r"^the policy of training process 2 differs from"):
        ProcessGroup(0, 3).assert_equal_across_ranks("the policy", "mine")


@pytest.mark.parametrize(
    ("rank", "visible", "seen"), [(1, None, "1"), (1, "4,6", "6"), (0, "GPU-a, GPU-b", "GPU-a"),
                                  (1, "", "")],
)  # fmt: skip
def test_a_process_sees_the_gpu_of_its_rank_and_libraries_see_no_launcher(
    monkeypatch: pytest.MonkeyPatch, rank: int, visible: str | None, seen: str
) -> None:
    calls = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: calls.append(1))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: calls.append(2))
    environment = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "HOME": "/"}
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    with joined(environment) as place:
        assert place == ProcessGroup(rank, 2)
        assert environment == {"HOME": "/", "CUDA_VISIBLE_DEVICES": seen}
        assert calls == [1]
    assert calls == [1, 2]


def test_without_a_launcher_nothing_is_joined() -> None:
    environment = {"HOME": "/"}
    with joined(environment) as place:
        assert place == ProcessGroup()
    assert environment == {"HOME": "/"}


def test_gradients_travel_in_buckets_of_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_BUCKET", 10)
    single, half = torch.float32, torch.bfloat16
    kinds = [(4, single), (6, single), (1, single), (2, half), (30, half), (3, half)]
    tensors = [torch.zeros(size, dtype=dtype) for size, dtype in kinds]
    sizes = [[len(tensor) for tensor in bucket] for bucket in peers._buckets(tensors)]
    assert sizes == [[4, 6], [1], [2], [30], [3]]


def test_a_step_is_known_by_its_tokens_in_order() -> None:
    one, other = {"input_ids": torch.tensor([[1, 2]])}, {"input_ids": torch.tensor([[1], [2]])}
    digests = {SharedStep.of(batches).digest for batches in ([one], [other], [one, other])}
    assert len(digests) == 3
    assert SharedStep.of([one]).digest == SharedStep.of([dict(one)]).digest


def test_the_seeds_of_micro_batches_differ() -> None:
    seeds = {seed_of(*place) for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 10))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_null_is_a_process_a_gpu() -> None:
    assert number_of_processes("training", None, 4) == 4
    assert number_of_processes("training", 3, 4) == 3
    assert number_of_processes("training", 3, 0) == 3  # on the CPU
    with pytest.raises(UserError, match=r"^sft\.processes=null: .*none is visible; set sft\.proc"):
        number_of_processes("sft", None, 0)
    with pytest.raises(UserError, match=r"^sft\.processes=5: .*4 are visible; set at most 4"):
        number_of_processes("sft", 5, 4)


def test_a_process_without_a_share_is_refused() -> None:
    require_shares("training", 16, 2, 8)
    with pytest.raises(UserError, match=r"8 micro batches of .*at most 8, or .* at most 1$"):
        require_shares("training", 16, 2, 9)
    with pytest.raises(UserError, match=r"has 1 micro batch of .*processes to at most 1$"):
        require_shares("training", 2, 2, 3)


def test_sharded_weights_are_refused_in_one_line() -> None:
    assert sharding_problem({"ACCELERATE_USE_FSDP": "false"}) == ""
    said = sharding_problem({"ACCELERATE_USE_DEEPSPEED": "true"})
    assert said.startswith("ACCELERATE_USE_DEEPSPEED=true: DeepSpeed is not supported")
    assert "\n" not in said


def test_a_number_of_processes_is_for_launch() -> None:
    values = shipped("training.processes=2")
    with pytest.raises(ConfigError, match=r"training\.processes=2: is read with"):
        load(values)


def test_the_door_counts_processes_for_what_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(shipped("training.process=launch", "training.processes=2"))
    shares = dataclasses.replace(config.training, batch_size=4, micro_batch_size=2)
    require_processes(dataclasses.replace(config, training=shares))
    idle = dataclasses.replace(config.sft, process="launch", processes=99)  # sft.method is none
    require_processes(dataclasses.replace(config, training=shares, sft=idle))
    whole = dataclasses.replace(shares, micro_batch_size=4)
    with pytest.raises(UserError, match=r"training\.processes=2: a step of"):
        require_processes(dataclasses.replace(config, training=whole))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="FSDP is not supported"):
        require_processes(dataclasses.replace(config, training=shares))
