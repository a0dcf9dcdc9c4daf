"""The word-level tokenizer of the lab: one token a word, words separated by white space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iterdpo.lab.words import vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD: Final = "<pad>"
BOS: Final = "<bos>"
EOS: Final = "<eos>"
UNKNOWN: Final = "<unk>"
ROLES: Final = ("<system>", "<user>", "<assistant>")

CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    " <{{ message['role'] }}> {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %} {{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %} <assistant>{% endif %}"
)
"""One line: ``<bos> <user> ... <assistant> ... <eos>``; only assistants end their turns."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer with its chat template. Decoding joins words by single spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = (PAD, BOS, EOS, UNKNOWN, *ROLES)
    ids = {word: i for i, word in enumerate((*specials, *vocabulary()))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=256,
    )
