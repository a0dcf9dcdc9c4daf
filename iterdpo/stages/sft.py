"""M0 is made from the base: supervised fine-tuning, and the merging of what it made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from iterdpo.config.model import LoraConfig
from iterdpo.config.sft import SftConfig
from iterdpo.data.instructions import Demonstration
from iterdpo.data.judging_examples import JudgingExample
from iterdpo.engines.base import Engine, TokenSequence
from iterdpo.errors import UserError
from iterdpo.records import Policy
from iterdpo.settings import key_settings
from iterdpo.stages import names
from iterdpo.stages.base import Metrics
from iterdpo.stages.judging_sft_data import WriteEftData
from iterdpo.stages.policies import MERGED_FILE, merged_policy, trained_policy
from iterdpo.stages.sft_tokens import sft_examples_of
from iterdpo.stages.train import CHECKPOINTS_DIR
from iterdpo.store.atomic import write_text
from iterdpo.store.hashing import derive_seed, sha256_of
from iterdpo.store.stage import Stored, Work
from iterdpo.store.tables import write_records
from iterdpo.training.canary import watched_texts
from iterdpo.training.run import run_training
from iterdpo.training.spec import SftExample, SftSpec

BASELINE = "IFT"
"""The policy that has learned instructions alone, on the way to an M0 that judges as well."""


@dataclass(frozen=True)
class SupervisedFineTuning:
    """Supervised fine-tuning on instruction and judging examples: the base in, M0 out.

    Each answer is learned behind the very tokens that an engine would read before it, and ends with
    the token that engines stop at. Only the answer's own tokens are learned.
    """

    demonstrations: Sequence[Demonstration] = field(repr=False)
    lora: LoraConfig | None
    sft: SftConfig
    longest: int | None
    """Most tokens of prompt and answer together; None for no limit."""
    attention: str | None
    trust_remote_code: bool
    seed: int
    engine: Engine
    """Measures the base's own view of the first examples, and gives its memory back while this
    trains."""
    max_engine_gap: float | None
    exemplify: WriteEftData | None = field(default=None, repr=False)
    """What a policy that learned the demonstrations alone is to write, for M0 to learn as well."""

    name = names.SFT
    version = 3

    @property
    def settings(self) -> Mapping[str, object]:
        sft = key_settings(self.sft)
        del sft["max_length"]  # counts as ``longest``
        return {
            "data": sha256_of([(item.prompt, item.response) for item in self.demonstrations]),
            "lora": key_settings(self.lora) if self.lora else None,
            "sft": sft,
            "longest": self.longest,
            "attention": self.attention,
            "seed": self.seed,
        }

    def compute(
        self,
        work: Work,
        base: Stored[Policy],
        examples: Stored[tuple[JudgingExample, ...]] | None = None,
    ) -> Metrics:
        start = base.value
        demonstrations = [*self.demonstrations, *self._judgments(examples)]
        learned = sft_examples_of(
            demonstrations, start.base.path, self.longest, self.trust_remote_code
        )
        if not learned:
            raise UserError(
                f"sft.max_length={self.sft.max_length}: no answer of {self._sources} fits into "
                f"{self.longest} tokens behind its prompt; raise it, or model.context"
            )
        watched = [TokenSequence(*text) for text in watched_texts(learned)]
        engine_logprobs = tuple(self.engine.sequence_logprobs(watched, start))
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "sft_examples.parquet"
            write_records(file, SftExample, learned)
            spec = SftSpec(
                base=start.base,
                lora=self.lora,
                training=self.sft,
                examples=str(file),
                seed=derive_seed(self.seed, "sft"),
                attention=self.attention,
                trust_remote_code=self.trust_remote_code,
                author=start.name,
                max_engine_gap=self.max_engine_gap,
                checkpoints=str(work.kept / CHECKPOINTS_DIR),
                checkpoint_steps=self.sft.checkpoint_steps,
                engine_logprobs=engine_logprobs,
            )
            self.engine.sleep()
            label = f"{self._made_from(examples)} is fine-tuned"
            report = run_training(spec, work.directory, label, work.stop)
            self.engine.wake()
        return {
            "examples": report["examples"],
            "dropped_too_long": len(demonstrations) - len(learned),
            "tokens": report["tokens"],
            "steps": report["steps"],
            "step0_loss": report["step0"]["loss"],
            "final_loss": report["history"][-1]["loss"],
        }

    def load(
        self,
        directory: Path,
        base: Stored[Policy],
        examples: Stored[tuple[JudgingExample, ...]] | None = None,
    ) -> Policy:
        return trained_policy(self._made_from(examples), directory, base.value)

    def _made_from(self, examples: Stored[tuple[JudgingExample, ...]] | None) -> str:
        """Return the name of the policy that is made with or without examples of judging."""
        return "M0" if self.exemplify is None or examples is not None else BASELINE

    def _judgments(
        self, examples: Stored[tuple[JudgingExample, ...]] | None
    ) -> Iterable[Demonstration]:
        if self.exemplify is None or examples is None:
            return ()
        return map(self.exemplify.demonstration, examples.value)

    @property
    def _sources(self) -> str:
        ranked = [self.sft.ranked.path] if self.sft.ranked else []
        return ", ".join([*self.sft.path, *ranked])


@dataclass(frozen=True)
class Merge:
    """The fine-tuned adapter merged into the base: a new checkpoint, quantized as any base is.

    It is merged into the unquantized weights. Merging into 4-bit weights would quantize the sum
    once more and lose what the adapter learned (github.com/huggingface/peft/issues/2321).
    """

    engine: Engine
    """Gives its memory back while this runs."""
    trust_remote_code: bool

    name = names.MERGED
    version = 2

    @property
    def settings(self) -> Mapping[str, object]:
        return {}

    def compute(self, work: Work, tuned: Stored[Policy]) -> Metrics:
        from iterdpo.training.merging import merge

        self.engine.sleep()
        base = merge(tuned.value, work.directory, self.trust_remote_code)
        self.engine.wake()
        values = {
            "sha256": base.sha256,
            "quantization": base.quantization,
            "dtype": base.dtype,
            # The canary's values before training are the bare base's.
            "parent": tuned.value.parent,
        }
        write_text(work.directory / MERGED_FILE, json.dumps(values, sort_keys=True) + "\n")
        return {}

    def load(self, directory: Path, *_: object) -> Policy:
        return merged_policy("M0", directory)
