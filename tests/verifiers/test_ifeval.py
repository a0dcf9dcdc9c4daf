"""The 25 constraints of IFEval: an answer that keeps to each, and ones that do not."""

from __future__ import annotations

from typing import Any

import pytest

from iterdpo.records import Prompt
from iterdpo.verifiers.constraints import CHECKS, parameters_of, sentences
from iterdpo.verifiers.ifeval import IfEval, variants
from iterdpo.verifiers.languages import is_language, language_of

Case = tuple[str, dict[str, Any], list[str], list[str]]
"""(instruction id, kwargs, answers that keep to it, answers that do not)."""

CASES: list[Case] = [
    ("keywords:existence", {"keywords": ["cat", "dog"]}, ["Cats, DOGS."], ["cat", ""]),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "at least"},
     ["cat Cat"], ["cat"]),
    ("keywords:frequency", {"keyword": "c.t", "frequency": 1, "relation": "less than"},
     ["cat"], ["a C.T"]),
    ("keywords:forbidden_words", {"forbidden_words": ["cat", "c++"]}, ["concatenate"],
     ["a Cat.", "in C++!"]),
    ("keywords:letter_frequency",
     {"letter": "z", "let_frequency": 2, "let_relation": "at least"}, ["Zigzag"], ["zoo"]),
    ("keywords:letter_frequency",
     {"letter": "#", "let_frequency": 1, "let_relation": "less than"}, ["one"], ["# one"]),
    ("language:response_language", {"language": "de"}, ["Das ist nicht die Katze."],
     ["This is not the cat.", "这不是猫"]),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"},
     ["One. Two!", "Dr. A. Smith is in."], ["One. Two? Three."]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2},
     ["one\n***\ntwo", "***\none\n***\ntwo\n***"], ["one", "one\n***\n***\ntwo", "a\n***"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"},
     ["one, two: three"], ["one two"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"},
     ["one two"], ["one two three"]),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
     ["one\n\n\"Weekend!\" two", "one\n \nweekend"], ["Weekend\n\ntwo", "a\n\nweekend\n\nb"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."},
     ["Bye.\n\np.s. more", "P. S. more"], ["PS more", "Bye."]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S. so"], ["P.S. so"]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2},
     ["[name] of [city], [zip]"], ["[name] [", "[]"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2},
     ["* one\n  - two", "- a\n**bold**\n- b"], ["* one", "* 1\n* 2\n* 3", "---\n* one"]),
    ("detectable_format:title", {}, ["<<A song>>\nla"], ["<< >>", "<A song>", "<<A\nb>>"]),
    ("detectable_format:constrained_response", {}, ["My answer is no."], ["my answer is no", "no"]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2},
     ["*one* and **two**"], ["*one* and **  **", "* one\n* two"]),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2},
     ["SECTION 1\na\nSECTION 2\nb"], ["SECTION 1\na", "Section 1 Section 2"]),
    ("detectable_format:json_format", {}, ['```json\n{"a": 1}\n```'], ["a: 1"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, [" say it. It."], ["It."]),
    ("combination:two_responses", {}, ["one******two", "******\none\n******\ntwo"],
     ["one", "one******one", "a******b******c", "a******"]),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, ['"So. any questions?" '], ["So."]),
    ("startend:quotation", {}, ['"So."\n'], ['"So.', '"']),
    ("change_case:capital_word_frequency",
     {"capital_frequency": 2, "capital_relation": "at least"}, ["THE end IS"], ["THE End"]),
    ("change_case:english_capital", {}, ["THE CAT IS HERE."],
     ["The cat", "DIE KATZE IST NICHT DA"]),
    ("change_case:english_lowercase", {}, ["the cat is here."],
     ["The cat", "die katze ist nicht da"]),
    ("punctuation:no_comma", {}, ["one; two"], ["one, two"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[0]))
def test_a_constraint_is_kept_to_or_not(case: Case) -> None:
    name, values, good, bad = case
    # As in the published table: every field is there, null where it is another constraint's.
    every = {key: None for check in CHECKS.values() for key in parameters_of(check)}
    prompt = Prompt.of(
        "?", "t", metadata={"instruction_id_list": [name], "kwargs": [every | values]}
    )
    verifier = IfEval()
    assert verifier.knows(prompt)
    assert [verifier.score(prompt, text) for text in good] == [1.0] * len(good)
    assert [verifier.score(prompt, text) for text in bad] == [0.0] * len(bad)


def test_there_are_all_twenty_five_kinds_and_a_case_for_each() -> None:
    assert len(CHECKS) == 25
    assert {name for name, *_ in CASES} == set(CHECKS)


TWO = Prompt.of(
    "?",
    "t",
    metadata={
        "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
        "kwargs": [{}, {"end_phrase": "done"}],
    },
)


def test_a_score_is_the_share_kept_to_or_all_of_them() -> None:
    answers = ["Well done", "Well, done", "Well, so", " "]
    assert [IfEval().score(TWO, text) for text in answers] == [1.0, 0.5, 0.0, 0.0]
    assert [IfEval(level="prompt").score(TWO, text) for text in answers] == [1.0, 0.0, 0.0, 0.0]


def test_loose_accuracy_forgives_an_introduction_a_closing_line_and_bold_type() -> None:
    loose = IfEval(accuracy="loose", level="prompt")
    answers = ["Sure, here:\nWell done", "**Well done**", "Well done\nBye!", "Well, done"]
    assert [loose.score(TWO, text) for text in answers] == [1.0, 1.0, 1.0, 0.0]
    assert [IfEval(level="prompt").score(TWO, text) for text in answers] == [0.0] * 4
    assert list(variants("a\n*b*\nc")) == [
        "a\n*b*\nc", "a\nb\nc", "*b*\nc", "b\nc", "a\n*b*", "a\nb", "*b*", "b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "values"),
    [([], []), (["no:such"], [{}]), (["startend:end_checker"], [{}]), (["a", "b"], [{}])],
)
def test_a_prompt_without_constraints_that_can_be_checked_is_not_known(
    names: list[str], values: list[object]
) -> None:
    metadata = {"instruction_id_list": names, "kwargs": values}
    assert not IfEval().knows(Prompt.of("?", "t", metadata=metadata))
    assert not IfEval().knows(Prompt.of("?", "t"))


@pytest.mark.parametrize(
    ("text", "count"),
    [("One. Two! Three", 3), ("It costs 3.50 today.", 1), ("Mr. J. Doe left... Really?!", 2),
     ("", 0), ("...", 0), ('He said "no." Then he left.', 2)],
)  # fmt: skip
def test_sentences_are_counted(text: str, count: int) -> None:
    assert sentences(text) == count


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The children were playing in the garden, and it was very warm.", "en"),
        ("Los niños jugaban en el jardín y hacía mucho calor por la tarde.", "es"),
        ("As crianças brincavam no jardim e estava muito calor, mas não para mim.", "pt"),
        ("Les enfants jouaient dans le jardin et il faisait très chaud.", "fr"),
        ("Die Kinder spielten im Garten, und es war sehr warm.", "de"),
        ("I bambini giocavano nel giardino e faceva molto caldo, non è vero?", "it"),
        ("Dzieci bawiły się w ogrodzie i było bardzo ciepło.", "pl"),
        ("Lapset leikkivät puutarhassa, ja oli hyvin lämmintä, mutta se ei ole totta.", "fi"),
        ("Những đứa trẻ đang chơi trong vườn và trời rất ấm.", "vi"),
        ("Watoto walikuwa wakicheza katika bustani na kulikuwa na joto sana.", "sw"),
        ("Дети играли в саду, и это было очень хорошо, но не для них.", "ru"),
        ("Діти гралися в саду, і це було дуже добре, але не для них.", "uk"),
        ("Децата играеха в градината и беше много топло, но не и за тях.", "bg"),
        ("كان الأطفال يلعبون في الحديقة وكان الجو دافئا.", "ar"),
        ("بچه ها در باغ بازی می کردند و هوا بسیار گرم بود.", "fa"),
        ("بچے باغ میں کھیل رہے تھے اور یہ بہت گرم ہے۔", "ur"),
        ("बच्चे बगीचे में खेल रहे थे और मौसम बहुत गर्म है।", "hi"),
        ("मुले बागेत खेळत होती आणि हवा खूप गरम आहे.", "mr"),
        ("बच्चाहरू बगैंचामा खेल्दै थिए र मौसम धेरै न्यानो छ।", "ne"),
        ("子供たちは庭で遊んでいました。とても暖かかったです。", "ja"),
        ("孩子们在花园里玩耍，天气很暖和。", "zh"),
        ("아이들이 정원에서 놀고 있었다.", "ko"),
        ("เด็กๆ เล่นอยู่ในสวน", "th"),
        ("குழந்தைகள் தோட்டத்தில் விளையாடினர்.", "ta"),
        ("ਬੱਚੇ ਬਾਗ ਵਿੱਚ ਖੇਡ ਰਹੇ ਸਨ।", "pa"),
        ("12345", None),
    ],
)
def test_the_language_of_a_text(text: str, code: str | None) -> None:
    assert language_of(text) == code


def test_a_text_too_short_to_tell_is_of_any_language_of_its_script() -> None:
    assert is_language("HELLO WORLD", "en")
    assert not is_language("HELLO WORLD", "ru")
    assert not is_language("HELLO WORLD", "ja")
    assert is_language("123", "ja")


LONG = 100_000


@pytest.mark.parametrize(
    "unit", ["*", "* ", "<<a", "<", "[", "\n", " ", "\n ", "```\n ", "a.", '"', "***", "P. "]
)
def test_a_response_made_to_be_long_is_read_in_linear_time(unit: str) -> None:
    # What takes the square of the length takes hours, and so fails by the test's time limit.
    for name, values, *_ in CASES:
        CHECKS[name](unit * LONG, **values)
