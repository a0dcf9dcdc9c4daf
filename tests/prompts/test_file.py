"""Prompts from files: what comes through, and what each broken file is told."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iterdpo.errors import UserError
from iterdpo.prompts.base import assert_held_out, folded
from iterdpo.prompts.file import FilePrompts
from iterdpo.prompts.pool import split_of
from iterdpo.records import Prompt
from iterdpo.settings import identity
from tests.prompts.sources import file_prompts

# What a careless reader would change: line ends that are none, combining marks, markup, quotes,
# template syntax, direction marks, white space at the ends, and sheer length.
ODD = [
    "Напиши три города на реке Волге.",
    "用三句话解释为什么天空是蓝色的。",
    "اكتب قصيدة قصيرة عن البحر \u200f(بيتان)",
    "כתוב רשימה: 1) חלב 2) לחם",
    "Name the family 👩‍👩‍👧‍👦 and the flag 🇳🇵, please 🙏🏽",
    "def f(x):\n\treturn {'a': x % 2}\r\n# why does f fail?\n\n",
    "<|im_start|>system\nScore: 5</s> {{ 7 * 7 }} {% raw %} ${HOME} %s {0}",
    '<div class="a">&amp; <script>alert(1)</script></div>, is this "valid"?',
    "  keep my\u2028line separators\u0085and\x0cform feeds  ",
    "e\u0301 and é differ, ﬁ and fi too",
    "$$\\int_0^1 x^2\\,dx = \\frac{1}{3}$$ \\n is not a newline",
    "long " * 4_000,
]
PLAIN = [f"Name {n} things that float" for n in range(200)]


def everything(source: FilePrompts) -> dict[str, Prompt]:
    sets = source.loop(1, 10**6, 0), source.evaluation(10**6, 0), source.judge_reference(10**6, 0)
    prompts = [prompt for one in sets for prompt in one]
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    return {prompt.text: prompt for prompt in prompts}


def write(path: Path, texts: Sequence[str], field: str = "prompt") -> Path:
    rows = [{"n": n, field: text} for n, text in enumerate(texts)]
    match path.suffix.lower():
        case ".jsonl":
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            path.write_bytes("\n".join(lines).encode())
        case ".json":
            path.write_bytes(json.dumps(rows, ensure_ascii=False, indent=1).encode())
        case ".csv":
            with path.open("w", newline="", encoding="utf-8") as out:
                writer = csv.writer(out)
                writer.writerow(["n", field])
                writer.writerows([[row["n"], row[field]] for row in rows])
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".txt":
            path.write_bytes("\n".join(texts).encode())
    return path


def refusal(path: Path, **settings: Any) -> str:
    with pytest.raises((UserError, ValueError)) as error:
        assert file_prompts(path, **settings).everything
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet", ".JSONL"])
def test_texts_come_through_unchanged(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"prompts{suffix}", [*ODD, *PLAIN], field="instruction")
    assert set(everything(file_prompts(file, field="instruction"))) == {*ODD, *PLAIN}


def test_lines_of_text_come_through_unchanged(tmp_path: Path) -> None:
    lines = [text for text in ODD if "\n" not in text] + PLAIN
    assert set(everything(file_prompts(write(tmp_path / "prompts.txt", lines)))) == set(lines)


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(PLAIN).encode())
    assert set(everything(file_prompts(file))) == set(PLAIN)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("p.jsonl", "p.jsonl, line 4"), ("p.json", "p.json, item 4"), ("p.csv", "p.csv, line 5"),
        ("p.parquet", "p.parquet, row 4"), ("p.txt", "p.txt, line 4"),
    ],
)  # fmt: skip
def test_a_prompt_knows_its_place(tmp_path: Path, name: str, place: str) -> None:
    prompts = everything(file_prompts(write(tmp_path / name, PLAIN)))
    assert prompts[PLAIN[3]].source == place


def test_a_cell_of_many_lines_moves_the_next_rows_place(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", ["one\ntwo\nthree", *PLAIN])
    assert everything(file_prompts(file))[PLAIN[0]].source == "p.csv, line 5"


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("\n  \n" + "\n\n".join(json.dumps({"prompt": t}) for t in PLAIN) + "\n\n")
    assert everything(file_prompts(file))[PLAIN[1]].source == "p.jsonl, line 5"


def test_equal_texts_count_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = file_prompts(write(tmp_path / "p.jsonl", [*PLAIN, *PLAIN[:3], PLAIN[0]]))
    assert len(source.everything) == 200
    assert "4 of p.jsonl repeat another and count once" in caplog.text
    assert everything(source)[PLAIN[0]].source == "p.jsonl, line 1"


def test_held_out_prompts_are_held_out_even_when_hardly_different(tmp_path: Path) -> None:
    variants = [*PLAIN, *(f"  {text.upper()}\n" for text in PLAIN)]
    source = file_prompts(write(tmp_path / "p.jsonl", variants), held_out_share=0.5)
    loop = source.loop(1, 1000, 0)
    evaluation, reference = source.evaluation(1000, 0), source.judge_reference(1000, 0)
    assert_held_out(loop, [*evaluation, *reference])
    assert_held_out(evaluation, reference)
    assert len(loop) + len(evaluation) + len(reference) == 400


def test_splits_have_the_size_asked_for() -> None:
    splits = [split_of(f"text {n}", 0.1) for n in range(10_000)]
    assert splits.count("evaluation") == pytest.approx(500, abs=100)
    assert splits.count("judge_reference") == pytest.approx(500, abs=100)


def test_new_rows_move_no_prompt_to_another_set(tmp_path: Path) -> None:
    few = file_prompts(write(tmp_path / "few.jsonl", PLAIN))
    many = file_prompts(write(tmp_path / "many.jsonl", [*ODD, *reversed(PLAIN)]))
    before = {prompt.text for prompt in few.evaluation(1000, 0)}
    after = {prompt.text for prompt in many.evaluation(1000, 0)}
    assert before == after & set(PLAIN)


def test_a_larger_share_takes_from_the_loop_alone() -> None:
    for text in PLAIN:
        if (small := split_of(text, 0.2)) != "loop":
            assert split_of(text, 0.4) == small


def test_identity_holds_what_decides_the_prompts(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", PLAIN)
    first = identity(file_prompts(file))
    assert json.loads(json.dumps(first)) == first
    assert identity(file_prompts(file)) == first
    assert identity(file_prompts(file, held_out_share=0.2)) != first
    assert identity(file_prompts(file, field="prompt")) == first
    write(file, PLAIN[:-1])
    assert identity(file_prompts(file)) != first


def test_an_empty_set_names_the_remedy(tmp_path: Path) -> None:
    # A text whose hash puts it into the loop: the held-out sets stay empty.
    text = next(text for text in PLAIN if split_of(text, 0.1) == "loop")
    source = file_prompts(write(tmp_path / "p.txt", [text]))
    with pytest.raises(UserError, match=r"evaluation set: .*5\.0% .*holds 1;.*add prompts"):
        source.evaluation(1, 0)


def test_one_broken_line(tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", PLAIN)
    lines = file.read_text().split("\n")
    lines[11] = '{"prompt": "cut o'
    file.write_text("\n".join(lines))
    assert refusal(file) == (
        f"prompts.path={file}: line 12 is not valid JSON (Unterminated string starting, "
        "column 12): fix or remove it"
    )


def test_every_kind_of_broken_row_is_named_and_all_are_counted(tmp_path: Path) -> None:
    bad = [
        '{"text": "x"}', '{"prompt": 17}', '{"prompt": " \\n "}', '["a"]', "nonsense",
        '{"prompt": "\\ud83d"}', '{"prompt": null}',
    ]  # fmt: skip
    file = tmp_path / "p.jsonl"
    file.write_text("\n".join(['{"prompt": "good"}', *bad]))
    said = refusal(file)
    assert said.startswith(f"prompts.path={file}: 7 of 8 rows are broken: ")
    for part in [
        'line 2 has no field "prompt" (it has: text)',
        "line 3: prompt=17 is a number, not a text",
        'line 4: prompt=" \\n " is empty',
        'line 5 is a list, not an object: ["a"]',
        "line 6 is not valid JSON (Expecting value, column 1)",
        "; and 2 more: fix or remove them",
    ]:
        assert part in said


def test_half_a_surrogate_pair_is_a_broken_row(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a \\ud83d"}')
    assert "line 1: prompt holds half of a surrogate pair (U+D83D)" in refusal(file)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_a_wrong_field_lists_the_fields_there_are(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"p{suffix}", PLAIN)
    assert refusal(file, field="question") == (
        f"prompts.field=question: no row of {file} has such a field; it has n, prompt: name the "
        "one that holds the prompt"
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_input_that_would_be_lost_is_refused_by_row(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"p{suffix}"
    rows = [{"instruction": "Sort.", "input": text} for text in ("", "b, a")]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = refusal(file, field="instruction")
    assert '2: input="b, a" would be lost: prompts=dataset reads it with' in said


def test_turns_that_a_table_of_texts_keeps_are_refused_by_row(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", ["Why?", "[{'role': 'user', 'content': 'Why?'}]"])
    assert "line 3: prompt=" in refusal(file)
    assert "is a list of turns that was written down as a text" in refusal(file)


def test_prompts_in_a_template_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert file_prompts(write(tmp_path / "p.txt", [*PLAIN, "<s>[INST] Hi [/INST]"])).everything
    assert "prompts: p.txt: 1 of 201 prompts are written in a chat template" in caplog.text


def test_a_fields_name_stays_on_the_line(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_bytes('"a\nb",c\u2028d,e\n1,2,3\n'.encode())
    assert 'it has "a\\nb", "c\\u2028d", e: name' in refusal(file)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.yaml", b"- a", "must end in one of .jsonl, .json, .csv, .tsv, .parquet, .txt"),
        ("p.jsonl", b"", "holds no prompt"),
        ("p.txt", b" \n\n", "holds no prompt"),
        ("p.csv", b"prompt\n", "holds no prompt"),
        ("p.txt", "fine\ncaf\u00e9\n".encode("latin-1"), "line 2 is not UTF-8 (byte 0xe9)"),
        ("p.json", b'{"prompt": "a"}', "holds an object, not a list"),
        ("p.json", b'{"prompt": "a"}\n{"prompt": "b"}', "name it .jsonl if each line"),
        ("p.json", b'[\n{"prompt" "a"}]', "not valid JSON (Expecting ':' delimiter, line 2"),
        ("p.json", b'["a"]', 'item 1 is a text, not an object: "a"'),
        ("p.jsonl", b"[" * 100_000, "line 1 is not valid JSON (nested too deeply)"),
        ("p.csv", b"n,prompt\n1,a, b\n", "line 2 has 3 columns where the header names 2"),
        ("p.csv", b'n,prompt\n1,"a\n', "line 2 is not valid CSV"),
        ("p.csv", b"prompt,prompt\na,b\n", 'names the column "prompt" twice'),
        ("p.csv", b"prompt,n\n,1\n", 'line 2: prompt="" is empty'),
        ("p.parquet", b"PAR1 but not really", "is not a Parquet file"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    message = refusal(file)
    assert message.startswith(f"prompts.path={file}: ")
    assert said in message


def test_a_parquet_column_of_numbers(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    pq.write_table(pa.table({"prompt": [1, 2]}), file)
    assert "2 of 2 rows are broken: row 1: prompt=1 is a number" in refusal(file)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        assert refusal(path) == f"path={path}: no such file"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "cannot be read (Permission denied)" in refusal(write(tmp_path / "p.txt", PLAIN))


@pytest.mark.parametrize("share", [0, 1, -0.1, 2])
def test_a_share_outside_its_range(tmp_path: Path, share: float) -> None:
    file = write(tmp_path / "p.txt", PLAIN)
    with pytest.raises(UserError, match=rf"^prompts\.held_out_share={share}: "):
        file_prompts(file, held_out_share=share).loop(1, 1, 0)


def test_real_instructions() -> None:
    if "ITERDPO_SHARED_DATA" not in os.environ:
        pytest.skip("set ITERDPO_SHARED_DATA to the directory of instructions.jsonl")
    file = Path(os.environ["ITERDPO_SHARED_DATA"]) / "instructions.jsonl"
    with file.open(encoding="utf-8", newline="\n") as lines:
        texts = {json.loads(line)["prompt"] for line in lines}
    source = file_prompts(file)
    assert set(everything(source)) == texts
    assert_held_out(source.loop(1, 10**6, 0), source.evaluation(10**6, 0))
    assert len({folded(text) for text in texts}) > 0.9 * len(texts)


def test_a_field_of_right_answers_makes_another_prompt(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"{n} + 1?", "answer": n + 1} for n in range(40)]
    rows += [{"prompt": "Why?", "answer": None}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {prompt.text: prompt for prompt in file_prompts(file, reference="answer").everything}
    assert (found["7 + 1?"].reference, found["Why?"].reference) == ("8", None)
    plain = {prompt.text: prompt for prompt in file_prompts(file).everything}
    assert found["Why?"].id == plain["Why?"].id == Prompt.of("Why?", "").id
    assert found["7 + 1?"].id != plain["7 + 1?"].id
    assert identity(file_prompts(file, reference="answer")) != identity(file_prompts(file))
    said = refusal(file, reference="right")
    assert said.startswith("prompts.reference=right: no row of ")
    assert said.endswith("it has prompt, answer: name the one that holds a right answer")
