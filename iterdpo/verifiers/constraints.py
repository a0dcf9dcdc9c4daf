"""The checkable constraints of IFEval (arXiv 2311.07911, table 1).

One function a kind, written from the paper's descriptions; its parameters are the constraint's
``kwargs`` in the published prompts. Each tells whether a response keeps to it. A sentence ends at
``.``, ``!`` or ``?``, a word is a run of letters, digits and underscores: where the published
checker uses a trained tokenizer, counts may differ by one or two.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from iterdpo.verifiers.json_schema import is_json
from iterdpo.verifiers.languages import is_language

Check = Callable[..., bool]

_WORD: Final = re.compile(r"\w+")
_SENTENCE_END: Final = re.compile(r"[.!?…]+[\"'”’)\]]*(?:\s|$)|[。！？।]+")
_ABBREVIATION: Final = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|No|[A-Z])\.\s", re.IGNORECASE
)
_VERDICTS: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _holds(count: int, relation: str, bound: int) -> bool:
    """Compare as the published ``kwargs`` say it: ``at least`` or ``less than``."""
    if relation not in ("at least", "less than"):
        raise ValueError(f"relation {relation!r}: is neither 'at least' nor 'less than'")
    return count >= bound if relation == "at least" else count < bound


def _found(text: str, response: str) -> int:
    return len(re.findall(re.escape(text), response, re.IGNORECASE))


def include_keywords(response: str, *, keywords: Sequence[str]) -> bool:
    """Every keyword stands somewhere, also within a word."""
    return all(_found(keyword, response) for keyword in keywords)


def keyword_frequency(response: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """So many times, also within words."""
    return _holds(_found(keyword, response), relation, frequency)


def forbidden_words(response: str, *, forbidden_words: Sequence[str]) -> bool:
    """None of them stands as a word of its own."""
    whole = (rf"(?<!\w){re.escape(word)}(?!\w)" for word in forbidden_words)
    return not any(re.search(pattern, response, re.IGNORECASE) for pattern in whole)


def letter_frequency(response: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """So many times, capital or small."""
    return _holds(response.lower().count(letter.lower()), let_relation, let_frequency)


def response_language(response: str, *, language: str) -> bool:
    """The whole response is in one language, an ISO 639-1 code."""
    return is_language(response, language)


def number_paragraphs(response: str, *, num_paragraphs: int) -> bool:
    """Paragraphs with ``***`` between them; one at either end may be empty, none between."""
    parts = [part.strip() for part in re.split(r"\*\*\*", response)]
    inner = parts[1:-1]
    return all(inner) and sum(map(bool, parts)) == num_paragraphs


def number_words(response: str, *, num_words: int, relation: str) -> bool:
    """Runs of letters, digits and underscores."""
    return _holds(len(_WORD.findall(response)), relation, num_words)


def number_sentences(response: str, *, num_sentences: int, relation: str) -> bool:
    """As ``sentences`` counts them."""
    return _holds(sentences(response), relation, num_sentences)


def sentences(text: str) -> int:
    """Return the number of sentences; a last one without its mark counts too."""
    text = _ABBREVIATION.sub(lambda found: found[0].replace(".", ""), text).strip()
    parts = _SENTENCE_END.split(text)
    return sum(bool(_WORD.search(part)) for part in parts)


def nth_paragraph_first_word(
    response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """So many paragraphs with an empty line between them, of which one begins with a word."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", response) if part.strip()]
    if len(parts) != num_paragraphs or not 1 <= nth_paragraph <= len(parts):
        return False
    begins = re.match(r"\W*([\w'’-]+)", parts[nth_paragraph - 1])
    return begins is not None and begins[1].strip("'’").lower() == first_word.lower()


def postscript(response: str, *, postscript_marker: str) -> bool:
    """A line or sentence that begins with the marker, spaces between its letters allowed."""
    marker = r"\s?".join(re.escape(part) for part in postscript_marker.replace(" ", ""))
    return re.search(rf"(?<!\w){marker}", response, re.IGNORECASE) is not None


def number_placeholders(response: str, *, num_placeholders: int) -> bool:
    """At least so many in square brackets."""
    return len(re.findall(r"\[[^\[\]\n]+\]", response)) >= num_placeholders


def number_bullets(response: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that begin with ``* `` or ``- ``; bold type begins none."""
    return len(re.findall(r"^[ \t]*(?:\*(?!\*)|-(?!-))[ \t]*\S", response, re.M)) == num_bullets


def title(response: str) -> bool:
    """One in double angle brackets, on a line."""
    return any(held.strip() for held in re.findall(r"<<([^<>\n]+)>>", response))


def constrained_response(response: str) -> bool:
    """One of the three sentences that are allowed."""
    return any(verdict in response for verdict in _VERDICTS)


def highlighted_sections(response: str, *, num_highlights: int) -> bool:
    """At least so many between asterisks, single or double."""
    marked = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", response)
    return sum(bool("".join(texts).strip()) for texts in marked) >= num_highlights


def multiple_sections(response: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many places where the word and a number begin a section."""
    return len(re.findall(rf"{re.escape(section_spliter)}\s?\d+", response)) >= num_sections


def json_format(response: str) -> bool:
    """Nothing but JSON, which may stand in one fenced block."""
    return is_json(response)


def repeat_prompt(response: str, *, prompt_to_repeat: str) -> bool:
    """It begins with the request, word for word."""
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def two_responses(response: str) -> bool:
    """Two different ones with six asterisks between them."""
    parts = [part.strip() for part in response.split("******")]
    if len(parts) > 2 and not parts[0]:
        parts = parts[1:]
    if len(parts) > 2 and not parts[-1]:
        parts = parts[:-1]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def end_checker(response: str, *, end_phrase: str) -> bool:
    """Nothing follows the phrase but a quotation mark."""
    said = response.strip().strip('"').lower()
    return said.endswith(end_phrase.strip().lower())


def quotation(response: str) -> bool:
    """The whole response is within double quotation marks."""
    said = response.strip()
    return len(said) > 1 and said[0] == '"' == said[-1]


def capital_words(response: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """So many words in capitals alone."""
    words = re.findall(r"[\w'’-]+", response)
    return _holds(sum(word.isupper() for word in words), capital_relation, capital_frequency)


def english_capital(response: str) -> bool:
    """English, in capitals alone."""
    return response.isupper() and is_language(response, "en")


def english_lowercase(response: str) -> bool:
    """English, in small letters alone."""
    return response.islower() and is_language(response, "en")


def no_comma(response: str) -> bool:
    """No comma stands in it."""
    return "," not in response


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "keywords:existence": include_keywords,
        "keywords:frequency": keyword_frequency,
        "keywords:forbidden_words": forbidden_words,
        "keywords:letter_frequency": letter_frequency,
        "language:response_language": response_language,
        "length_constraints:number_paragraphs": number_paragraphs,
        "length_constraints:number_words": number_words,
        "length_constraints:number_sentences": number_sentences,
        "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
        "detectable_content:postscript": postscript,
        "detectable_content:number_placeholders": number_placeholders,
        "detectable_format:number_bullet_lists": number_bullets,
        "detectable_format:title": title,
        "detectable_format:constrained_response": constrained_response,
        "detectable_format:number_highlighted_sections": highlighted_sections,
        "detectable_format:multiple_sections": multiple_sections,
        "detectable_format:json_format": json_format,
        "combination:repeat_prompt": repeat_prompt,
        "combination:two_responses": two_responses,
        "startend:end_checker": end_checker,
        "startend:quotation": quotation,
        "change_case:capital_word_frequency": capital_words,
        "change_case:english_capital": english_capital,
        "change_case:english_lowercase": english_lowercase,
        "punctuation:no_comma": no_comma,
    }
)
"""By instruction id, as in the published prompts."""


def parameters_of(check: Check) -> frozenset[str]:
    """Return the names of a constraint's ``kwargs``."""
    return frozenset(inspect.signature(check).parameters) - {"response"}
