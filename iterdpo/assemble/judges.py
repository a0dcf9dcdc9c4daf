"""Who judges."""

from __future__ import annotations

import os
from typing import TypeVar

from iterdpo.assemble.hardware import require_device
from iterdpo.config.judging import EndpointConfig, JudgeConfig, PairRmConfig, RewardModelConfig
from iterdpo.config.schema import Config
from iterdpo.engines.base import Engine
from iterdpo.errors import UserError
from iterdpo.judging.base import Judge
from iterdpo.judging.chat_client import ChatClient, ClientSettings
from iterdpo.judging.endpoint import EndpointJudge, EndpointSettings
from iterdpo.judging.human import HumanJudge
from iterdpo.judging.judge import JudgeSettings, SelfJudge
from iterdpo.judging.pairrm import PairRmJudge, PairRmSettings
from iterdpo.judging.pairwise import PairwiseJudge
from iterdpo.judging.pairwise_rubrics import PairwiseRubric
from iterdpo.judging.reward_model import RewardModelJudge, RewardModelSettings
from iterdpo.judging.rubrics import Rubric
from iterdpo.judging.tournament import Tournament, TournamentSettings
from iterdpo.models.checkpoint import checkpoint_sha256, find_checkpoint

Setting = TypeVar("Setting")


def make_judge(config: Config, engine: Engine) -> Judge:
    """Return the configured judge. A model of its own is found and hashed, but not loaded.

    Raises:
        UserError: what the configuration names is not there: a rubric, a checkpoint, labels, a key.
    """
    judge = config.judge
    if judge.kind == "pairwise":
        return _pairwise(judge, engine)
    if judge.kind == "pairrm":
        return _pairrm(needed(judge.pairrm))
    if judge.kind == "reward_model":
        return _reward_model(needed(judge.reward_model))
    if judge.kind == "endpoint":
        return _endpoint(judge, needed(judge.endpoint), config.seed)
    if judge.kind == "human":
        return HumanJudge(needed(judge.labels), needed(judge.low), needed(judge.high))
    return _self(judge, engine, config.seed)


def needed(setting: Setting | None) -> Setting:
    """Return a setting that this kind of judge needs, and so has: the check at the door saw it."""
    assert setting is not None
    return setting


def _self(judge: JudgeConfig, engine: Engine, seed: int) -> Judge:
    rubric = needed(judge.rubric)
    settings = JudgeSettings(
        score=needed(judge.score),
        rubric=rubric,
        samples=needed(judge.samples),
        temperature=needed(judge.temperature),
        top_p=needed(judge.top_p),
        max_tokens=needed(judge.max_tokens),
        min_readable=needed(judge.min_readable),
        min_mass=needed(judge.min_mass),
        low=needed(judge.low),
        high=needed(judge.high),
        system=judge.system,
    )
    return SelfJudge(engine, Rubric.load(rubric), settings, seed)


def _pairwise(judge: JudgeConfig, engine: Engine) -> Judge:
    asking = PairwiseJudge(
        engine,
        PairwiseRubric.load(needed(judge.rubric), "judge.rubric"),
        name="policy",
        min_mass=needed(judge.min_mass),
        system=judge.system,
    )
    settings = TournamentSettings(
        comparisons=needed(judge.pairwise).comparisons,
        min_readable=needed(judge.min_readable),
        low=needed(judge.low),
        high=needed(judge.high),
    )
    return Tournament(asking, settings)


def _pairrm(config: PairRmConfig) -> Judge:
    key = "judge.pairrm.path"
    require_device("judge.pairrm.device", config.device)
    checkpoint = find_checkpoint(config.path, config.revision, key)
    return PairRmJudge(
        PairRmSettings(
            checkpoint=checkpoint,
            sha256=checkpoint_sha256(checkpoint, key),
            device=config.device,
            dtype=config.dtype,
            batch_size=config.batch_size,
            source_tokens=config.source_tokens,
            candidate_tokens=config.candidate_tokens,
        )
    )


def _reward_model(config: RewardModelConfig) -> Judge:
    key = "judge.reward_model.path"
    require_device("judge.reward_model.device", config.device)
    checkpoint = find_checkpoint(config.path, config.revision, key)
    template = None
    if config.chat_template is not None:
        try:
            template = config.chat_template.expanduser().read_text("utf-8")
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())
            raise UserError(
                f"judge.reward_model.chat_template={config.chat_template}: cannot be read: {said}"
            ) from None
    return RewardModelJudge(
        RewardModelSettings(
            checkpoint=checkpoint,
            sha256=checkpoint_sha256(checkpoint, key),
            device=config.device,
            dtype=config.dtype,
            batch_size=config.batch_size,
            context=config.context,
            chat_template=template,
        )
    )


def _endpoint(judge: JudgeConfig, config: EndpointConfig, seed: int) -> Judge:
    api_key = None
    if config.api_key_env is not None:
        api_key = os.environ.get(config.api_key_env, "").strip()
        if not api_key:
            raise UserError(
                f"judge.endpoint.api_key_env={config.api_key_env}: this environment variable is "
                "not set; export it, or set api_key_env=null for a server that asks for no key"
            )
        if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            # No header can hold it, and what a library says of such a header may quote it.
            raise UserError(
                f"judge.endpoint.api_key_env={config.api_key_env}: what this environment variable "
                "holds is no key: it has spaces, line breaks or characters outside ASCII in it"
            )
    client = ClientSettings(
        base_url=config.base_url,
        model=needed(config.model),
        api_key_env=config.api_key_env,
        timeout_seconds=config.timeout_seconds,
        retries=config.retries,
        requests_per_minute=config.requests_per_minute,
    )
    settings = EndpointSettings(
        samples=needed(judge.samples),
        temperature=needed(judge.temperature),
        top_p=needed(judge.top_p),
        max_tokens=needed(judge.max_tokens),
        min_readable=needed(judge.min_readable),
        low=needed(judge.low),
        high=needed(judge.high),
        system=judge.system,
        limit_name=config.limit_name,
        send_seed=config.send_seed,
        concurrency=config.concurrency,
        price_in=config.price_in,
        price_out=config.price_out,
        budget=config.budget,
    )
    rubric = Rubric.load(needed(judge.rubric))
    return EndpointJudge(ChatClient(client, api_key), rubric, settings, seed)
