"""Where an engine stays and what it takes, against arithmetic written out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.engines.memory import (
    ALONE_SHARE,
    HOST_RESERVE,
    MemoryEstimate,
    Residency,
    choose_residency,
    engine_bytes,
    engine_share,
    sequences_in,
    served_bytes,
)
from iterdpo.models.memory import GIB, ModelShape, trainer_bytes
from tests.models.test_memory import LLAMA, counts, raised, shapes

servings = st.fixed_dictionaries({"dtype_bytes": counts, "context": counts, "sequences": counts})


def test_serving_llama_8b_by_hand() -> None:
    weights = 2 * 8_030_261_248
    token = 2 * 32 * 8 * 128 * 2  # keys and values, layers, heads, width, bytes
    assert token == 131_072
    workspace = 3 * 2**30
    assert engine_bytes(LLAMA, 2, 4096, 16) == weights + 16 * 2048 * token + workspace
    assert engine_bytes(LLAMA, 2, 4096, 1) == weights + 4096 * token + workspace


@pytest.mark.parametrize(("gib", "residency"), [(24, "restart"), (80, "resident")])
def test_where_an_8b_engine_stays(gib: int, residency: str) -> None:
    engine = engine_bytes(LLAMA, 2, 4096, 1)
    trainer = trainer_bytes(LLAMA, "nf4-double", 2, 16, 1, 2048, True)
    assert choose_residency(MemoryEstimate(gib * GIB, engine, trainer)) == residency


def test_both_fit_when_a_twentieth_stays_free() -> None:
    assert MemoryEstimate(card=1000, engine=500, trainer=450).fits
    assert not MemoryEstimate(card=1000, engine=500, trainer=451).fits
    assert not MemoryEstimate(card=1000, engine=501, trainer=450).fits


def test_an_unknown_model_restarts() -> None:
    assert choose_residency(None) == "restart"
    assert engine_share(None, "resident") == 0.9


@pytest.mark.parametrize(
    ("trainer", "asleep", "free", "residency"),
    [
        (80, 20, 38, "resident"),
        (81, 14, 38, "sleep"),
        (81, 14, 30, "sleep"),  # the weights, and what is kept for training
        (81, 14, 29, "restart"),
        (81, 15, 38, "restart"),  # of the card, 5 are to stay free
    ],
)
def test_an_engine_sleeps_where_the_cpu_has_room_for_its_weights(
    trainer: int, asleep: int, free: int, residency: Residency
) -> None:
    assert HOST_RESERVE == 8 * GIB
    estimate = MemoryEstimate(
        100 * GIB, engine=15 * GIB, trainer=trainer * GIB,
        asleep=asleep * GIB, weights=22 * GIB, host=free * GIB,
    )  # fmt: skip
    assert choose_residency(estimate) == residency


def test_an_estimate_is_one_readable_line() -> None:
    estimate = MemoryEstimate(card=849 * GIB // 10, engine=179 * GIB // 10, trainer=123 * GIB // 10)
    said = "engine 17.9 GiB + training 12.3 GiB of 84.9 GiB: resident"
    assert estimate.describe("resident") == said


@pytest.mark.parametrize(
    ("trainer", "share"),
    [
        (200, 0.75),
        (199, 0.75),  # 0.751
        (201, 0.74),  # 0.749
        (10, 0.9),  # 0.94, but no more than alone
        (900, 0.05),  # too little for the engine: it says so when it starts
        (980, 0.01),
    ],
)
def test_the_engine_takes_what_training_and_the_reserve_leave(trainer: int, share: float) -> None:
    estimate = MemoryEstimate(card=1000, engine=100, trainer=trainer)
    assert engine_share(estimate, "resident") == share
    assert engine_share(estimate, "sleep") == engine_share(estimate, "restart") == 0.9


def test_answers_side_by_side_by_hand() -> None:
    held = served_bytes(LLAMA, 2, rank=16)
    assert held == 2 * 8_030_261_248 + 41_943_040 * 2 + 3 * GIB
    # 0.9 of 24 GiB leaves 3.57 GiB; a sequence of 2,048 / 3 tokens takes 131,072 bytes a token.
    cache = 9 * 24 * GIB // 10 - held
    assert cache // (131_072 * 2048 // 3) == 42
    assert sequences_in(cache, LLAMA, 2, 2048) == 42
    assert sequences_in(cache, LLAMA, 2, 4096) == 21
    assert sequences_in(100 * GIB, LLAMA, 2, 2048) == 256
    assert sequences_in(-GIB, LLAMA, 2, 2048) == 1


@given(shapes, servings, st.data())
def test_serving_never_takes_less_of_something_more(
    shape: ModelShape, serving: dict[str, Any], data: st.DataObject
) -> None:
    before = engine_bytes(shape, **serving)
    name = data.draw(st.sampled_from(sorted(serving)))
    assert engine_bytes(shape, **raised(serving, name)) >= before
    size = data.draw(st.sampled_from(sorted(asdict(shape))))
    assert engine_bytes(ModelShape(**raised(asdict(shape), size)), **serving) >= before


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_share_leaves_room_for_the_trainer_and_the_reserve(
    card: int, engine: int, trainer: int
) -> None:
    estimate = MemoryEstimate(card, engine, trainer)
    share = engine_share(estimate, "resident")
    assert 0.01 <= share <= ALONE_SHARE
    if share > 0.01:
        assert round(share * 100) * card + 100 * trainer + 5 * card <= 100 * card
    if estimate.fits:
        assert share == ALONE_SHARE or (share + 0.0101) * card >= engine
