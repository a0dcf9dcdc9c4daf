"""What several models answer to the same instructions, as a DataFrame."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from iterdpo.assemble import make_engine
from iterdpo.assemble.hardware import look, say_unused_accelerator
from iterdpo.config.model import ModelConfig
from iterdpo.engines.base import Engine, PromptTooLong, Sampling
from iterdpo.engines.verified import VerifiedEngine
from iterdpo.errors import UserError
from iterdpo.evaluation.oracles import LabOracle
from iterdpo.models.chat_messages import Request
from iterdpo.models.hardware import Dtype, choose_attention
from iterdpo.records import Policy, Prompt
from iterdpo.runs.directory import Run
from iterdpo.runtime.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    EngineFor = Callable[[Run], Engine]

log = logging.getLogger(__name__)

EngineSetting = Literal["auto", "vllm", "transformers"]

INSTRUCTION, SEEN = "instruction", "seen"


@dataclass(frozen=True)
class ComparedModel:
    """One column: a policy of a run."""

    run: Run
    policy: Policy
    column: str


@dataclass(frozen=True)
class ComparedAnswer:
    """One cell. ``text`` is None where the instruction does not fit the model's context."""

    text: str | None
    truncated: bool = False


def default_names(run: Run) -> list[str]:
    """Return M0 and the run's best model; the last one where that is M0 itself."""
    first, last = run.models[0].name, run.models[-1].name
    return list(dict.fromkeys((first, run.best if run.best != first else last)))


def choose_models(runs: Sequence[Run], names: Sequence[str] | None) -> list[ComparedModel]:
    """Return the models to compare, run by run; a column begins with the run where there are more.

    Runs that start from the same M0 share one column for it.

    Raises:
        UserError: a run has no such model.
    """
    titles = _titles(runs)
    chosen = [
        ComparedModel(run, run.policy(name), f"{title}{name}")
        for run, title in zip(runs, titles, strict=True)
        for name in dict.fromkeys(names or default_names(run))
    ]
    starts = {item.policy.fingerprint for item in chosen if item.policy.name == "M0"}
    if len(runs) > 1 and len(starts) == 1:
        shared = next(item for item in chosen if item.policy.name == "M0")
        others = [item for item in chosen if item.policy.name != "M0"]
        return [replace(shared, column="M0"), *others]
    return chosen


def _titles(runs: Sequence[Run]) -> list[str]:
    if len(runs) == 1:
        return [""]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # runs of two sweeps may both be called 0
        names = [f"{run.directory.resolve().parent.name}/{run.name}" for run in runs]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(sorted(names))}: two runs of one name; name each run once")
    return [f"{name}/" for name in names]


def sampling_of(run: Run, *, greedy: bool, temperature: float | None, seed: int | None) -> Sampling:
    """Return one answer a prompt at the run's own settings, but for what is asked otherwise."""
    candidates = run.config.candidates
    sampling = Sampling(
        n=1,
        temperature=candidates.temperature,
        top_p=candidates.top_p,
        top_k=candidates.top_k,
        max_tokens=candidates.max_tokens,
        seed=run.config.seed if seed is None else seed,
    )
    if greedy or temperature == 0:
        return replace(sampling, temperature=0.0, top_p=1.0, top_k=0)
    return sampling if temperature is None else replace(sampling, temperature=temperature)


def model_of(run: Run, device: str | None = None) -> ModelConfig:
    """Return the run's settings of the model with nothing left to choose: the type of numbers that
    its weights were trained in, and attention as this machine has it.
    """
    model = run.config.model
    dtype = cast(Dtype, run.policy("M0").base.dtype)  # resolved before the base was made
    hardware = look(device or run.config.engine.device)
    return replace(model, dtype=dtype, attention=choose_attention(model.attention, dtype, hardware))


def engine_of(run: Run, name: EngineSetting | None = None) -> Engine:
    """Return the run's engine, or the one named; each adapter is verified before it answers."""
    config = replace(run.config, model=model_of(run))
    if name is not None:
        config = replace(config, engine=config.engine.but(backend=name))
    say_unused_accelerator(config)
    return VerifiedEngine(make_engine(config))


def write_answers(
    engine: Engine, requests: Sequence[Request], policy: Policy, sampling: Sampling
) -> Iterator[ComparedAnswer]:
    """Yield one answer a request, in their order."""
    for written in engine.generate(requests, policy, sampling):
        if isinstance(written, PromptTooLong):
            yield ComparedAnswer(None)
        else:
            yield ComparedAnswer(written.text, written.finish_reason == "length")


def answer_all(
    models: Sequence[ComparedModel],
    prompts: Sequence[Prompt],
    sampling: Sampling,
    engine_for: EngineFor,
) -> dict[str, list[ComparedAnswer]]:
    """Return every model's answers by column, in the order of ``prompts``.

    A run's models share an engine, which is closed before that of the next run is made.
    """
    answers: dict[str, list[ComparedAnswer]] = {}
    for run in dict.fromkeys(id(model.run) for model in models):
        own = [model for model in models if id(model.run) == run]
        system = own[0].run.config.prompts.system
        requests = [Request.to(prompt, system) for prompt in prompts]
        with closing(engine_for(own[0].run)) as engine:
            for model in own:
                writing = write_answers(engine, requests, model.policy, sampling)
                label = f"{model.column} answers"
                answers[model.column] = list(progress(writing, len(prompts), label, "answers"))
    return {model.column: answers[model.column] for model in models}


def as_frame(
    prompts: Sequence[Prompt],
    seen: Sequence[str],
    answers: dict[str, list[ComparedAnswer]],
    oracle: LabOracle | None,
) -> pd.DataFrame:
    """Return a row an instruction: what the runs did with it, and each model's answer.

    With an oracle, ``<column> score`` follows, from 0 to 5, where it knows any instruction. A
    missing answer is missing (None) and has no score.
    """
    import pandas as pd

    columns: dict[str, object] = {
        INSTRUCTION: pd.Series([prompt.text for prompt in prompts], dtype="object"),
        SEEN: pd.Series(list(seen), dtype="object"),
    }
    for name, given in answers.items():
        columns[name] = pd.Series([answer.text for answer in given], dtype="object")
    known = [oracle is not None and oracle.knows(prompt) for prompt in prompts]
    for name, given in answers.items():
        if oracle is None or not any(known):
            break
        scores = [
            oracle.score(prompt, answer.text) if answer.text is not None and scored else None
            for prompt, answer, scored in zip(prompts, given, known, strict=True)
        ]
        columns[f"{name} score"] = pd.Series(scores, dtype="float64")
    return pd.DataFrame(columns)


def warn_of(answers: dict[str, list[ComparedAnswer]], sampling: Sampling) -> None:
    """Say how many answers are missing or cut off."""
    for name, given in answers.items():
        missing = sum(answer.text is None for answer in given)
        if missing:
            log.warning("%s: %d instructions do not fit its context", name, missing)
        if cut := sum(answer.truncated for answer in given):
            log.warning(
                "%s: %d of %d answers were cut off at %d tokens (--max-tokens)",
                name, cut, len(given), sampling.max_tokens,
            )  # fmt: skip
