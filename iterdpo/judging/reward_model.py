"""A reward model as a judge: any sequence classifier with one label.

The prompt's turns and the answer go through the reward model's own chat template as one
conversation; encoders without a template read them as a pair of texts. The score is the one logit
as it comes: a real number of any sign and size, comparable within a prompt.

The template's text is tokenized as it stands. No end-of-sequence token is added: templates close
the answer's turn the way the model was trained to see it. A model that pools at the last token is
padded so that the last token is the row's own, whatever else is in its batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from iterdpo.config.types import Count, Place, Source
from iterdpo.conversation import Message
from iterdpo.data.content import read_text
from iterdpo.errors import UserError
from iterdpo.judging.base import Group, Judge, answers_of, judgment
from iterdpo.judging.own_model import Device, batches_by_length, device_of
from iterdpo.models.accelerators import require_device
from iterdpo.models.chat_messages import Request
from iterdpo.models.chat_template import Chat, fold_system
from iterdpo.models.checkpoint import checkpoint_sha256, find_checkpoint
from iterdpo.models.hardware import Dtype, switch_cudnn_attention_off
from iterdpo.models.loadable import loading
from iterdpo.models.loading import free_memory, load_tokenizer
from iterdpo.models.out_of_memory import in_portions, memory_errors_named
from iterdpo.models.padding import right_padded
from iterdpo.records import Judgment, Policy, Prompt, Scored, Unscored, UnscoredReason, Verdict
from iterdpo.settings import Keyless, Provided
from iterdpo.store.hashing import HashFile, file_sha256


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as the model reads it."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    """Which of two texts a token is of, for encoders that read pairs; else all 0."""


@dataclass(frozen=True, kw_only=True)
class RewardModelJudge(Judge):
    """Scores each answer with a reward model, which is loaded at the first judgment."""

    name: ClassVar[str] = "reward_model"
    version: ClassVar[int] = 1

    path: Annotated[Source, Keyless("counts by what lies there: its files' hash")]
    """A checkpoint directory or a hub id."""
    revision: Annotated[str | None, Keyless("likewise")]
    """The hub's branch, tag or commit."""
    device: Annotated[Device, Keyless("counts by the device that it means here")]
    dtype: Dtype
    batch_size: Count
    """Answers in one forward pass. It changes the bits."""
    context: Count | None
    """Longest prompt and answer in tokens; null for what the model declares."""
    chat_template: Annotated[Place | None, Keyless("counts by its text")]
    """A Jinja file, where the tokenizer has no template or the wrong one."""
    hash_file: Provided[HashFile] = file_sha256

    @cached_property
    def content(self) -> Mapping[str, object]:
        return {
            "checkpoint": checkpoint_sha256(self._checkpoint, "judge.path", self.hash_file),
            "chat_template": self._template,
            "device": device_of(self.device).type,
        }

    @property
    def holds_model(self) -> bool:
        return True

    def prepare(self) -> None:
        require_device("judge.device", self.device)
        super().prepare()

    def judge(self, groups: Iterable[Group], policy: Policy) -> Iterator[Judgment]:
        asked = answers_of(groups)
        model, chat = self._loaded
        rows = [self._encode(chat, prompt, candidate.text) for prompt, candidate in asked]
        limit = self._limit(model, chat)
        fitting = [at for at, row in enumerate(rows) if len(row.ids) <= limit]
        scores: dict[int, float] = {}
        for batch in batches_by_length([rows[at].ids for at in fitting], self.batch_size):
            places = [fitting[at] for at in batch]
            with memory_errors_named("the judge", "lower judge.batch_size or judge.context"):
                values = in_portions(
                    [rows[at] for at in places], len(places), partial(self._rewards, model)
                )
            scores |= zip(places, values, strict=True)
        name = self.fingerprint
        for at, (_, candidate) in enumerate(asked):
            verdict: Verdict
            if at not in scores:
                said = f"{len(rows[at].ids)} tokens, at most {limit}"
                verdict = Unscored(UnscoredReason.PROMPT_TOO_LONG, said)
            elif not math.isfinite(scores[at]):
                verdict = Unscored(UnscoredReason.OUT_OF_RANGE, repr(scores[at]))
            else:
                verdict = Scored(scores[at])
            said = str(verdict.score) if isinstance(verdict, Scored) else verdict.raw
            yield judgment(candidate, name, verdict, raw=(said,))

    def close(self) -> None:
        vars(self).pop("_loaded", None)
        free_memory()

    def _encode(self, chat: Chat, prompt: Prompt, answer: str) -> Encoded:
        import jinja2

        if chat.tokenizer.chat_template is None:
            texts = chat.as_data(prompt.text), chat.as_data(answer)
            encoded = chat.tokenizer(*texts, return_token_type_ids=True)
            return Encoded(tuple(encoded["input_ids"]), tuple(encoded["token_type_ids"]))
        messages = [*Request.to(prompt).messages, Message("assistant", answer)]
        if messages[0].role == "system" and not chat.knows_system_role:
            messages = fold_system(messages)
        turns = [{"role": turn.role, "content": chat.as_data(turn.content)} for turn in messages]
        try:
            text = chat.tokenizer.apply_chat_template(turns, tokenize=False)
        except jinja2.TemplateError as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self._place}: its chat template fails on a prompt and an answer: {said}; bring "
                "one by judge.chat_template=FILE"
            ) from None
        # The template has written every special token that there should be.
        ids = chat.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Encoded(tuple(ids), (0,) * len(ids))

    def _rewards(self, model: Any, rows: Sequence[Encoded]) -> list[float]:
        import torch

        config, device = model.config.get_text_config(), device_of(self.device)
        declared = config.pad_token_id
        used = {token for row in rows for token in row.ids}
        # Without a padding token of its own a model must not take ours for one of the text's.
        known = declared in _below(config)
        pad = declared if known else next(i for i in _below(config) if i not in used)
        ids, mask = right_padded([row.ids for row in rows], pad, device)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if getattr(config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = right_padded([row.type_ids for row in rows], 0, device)[0]
        config.pad_token_id = pad
        try:
            with torch.no_grad():
                values: list[float] = model(**inputs).logits[:, 0].float().tolist()
        finally:
            config.pad_token_id = declared
        return values

    @cached_property
    def _loaded(self) -> tuple[Any, Chat]:
        tokenizer = load_tokenizer(str(self._checkpoint), key="judge.path")
        if self._template is not None:
            tokenizer.chat_template = self._template
        if tokenizer.chat_template is None and tokenizer.sep_token is None:
            raise UserError(
                f"{self._place}: its tokenizer has no chat template; bring the one that it was "
                "trained with by judge.chat_template=FILE"
            )
        return self._load_model(), Chat(tokenizer)

    def _load_model(self) -> Any:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification

        switch_cudnn_attention_off()
        with loading(self._place):
            labels = AutoConfig.from_pretrained(self._checkpoint).num_labels
            if labels != 1:
                raise UserError(f"{self._place}: it has {labels} labels; a reward model has 1")
            model, report = AutoModelForSequenceClassification.from_pretrained(
                self._checkpoint,
                dtype=getattr(torch, self.dtype),
                use_safetensors=True,
                output_loading_info=True,
            )
        # A head that is not in the file would be made up at random, with no more than a warning.
        if missing := sorted(report["missing_keys"]):
            raise UserError(
                f"{self._place}: its weights lack {', '.join(missing[:3])}; give a trained reward "
                "model"
            )
        return model.to(device_of(self.device)).eval()

    def _limit(self, model: Any, chat: Chat) -> int:
        config = model.config.get_text_config()
        declared = getattr(config, "max_position_embeddings", None)
        limits = (declared, chat.tokenizer.model_max_length, self.context)
        return min(limit for limit in limits if limit is not None)

    @cached_property
    def _checkpoint(self) -> Path:
        return find_checkpoint(self.path, self.revision, "judge.path")

    @cached_property
    def _template(self) -> str | None:
        """Jinja text that takes the place of the tokenizer's own template."""
        if self.chat_template is None:
            return None
        try:
            return read_text(self.chat_template)
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())
            raise UserError(
                f"judge.chat_template={self.chat_template}: cannot be read: {said}"
            ) from None

    @property
    def _place(self) -> str:
        return f"judge.path={self._checkpoint}"


def _below(config: Any) -> range:
    return range(int(config.vocab_size))
