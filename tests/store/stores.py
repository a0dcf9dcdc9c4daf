"""Stores written by hand, for the tests of the tools that read them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterdpo.records import (
    Candidate,
    FinishReason,
    Judgment,
    Pair,
    Prompt,
    Scored,
    record_id,
)
from iterdpo.store.hashing import file_sha256, sha256_of
from iterdpo.store.identity import Ref
from iterdpo.store.manifest import manifest_text
from iterdpo.store.tables import write_records

WHEN = 1_700_000_000
"""Seconds since the epoch, 2023-11-14 22:13 UTC: when a store's first stage was finished."""
BASE_SETTINGS = {"checkpoint": "c" * 64, "quantization": "nf4", "dtype": "float32"}


def identity(stage: str, settings: Any = None, *args: Any, version: int = 1) -> Any:
    """Return an identity; ``Ref`` arguments become references."""
    return {
        "stage": stage,
        "version": version,
        "settings": settings or {},
        "args": [arg._asdict() if isinstance(arg, Ref) else arg for arg in args],
        "kwargs": {},
    }


@dataclass
class Store:
    """Puts stages into a directory, one a minute."""

    root: Path
    minute: int = 0

    def put(
        self,
        stage: Any,
        settings: Any = None,
        *args: Any,
        records: Any = None,
        files: Any = None,
        trees: Any = None,
        versions: Any = None,
    ) -> Ref:
        """Write a finished stage.

        ``records`` make its table, ``files`` are texts by name, ``trees`` directories by name.
        """
        made_of = identity(stage, settings, *args)
        ref = Ref(stage, sha256_of(made_of))
        directory = self.at(ref)
        directory.mkdir(parents=True)
        for name, text in (files or {}).items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        for name, source in (trees or {}).items():
            shutil.copytree(source, directory / name)
        if records:
            write_records(directory / "records.parquet", type(records[0]), records)
        hashes = {
            path.relative_to(directory).as_posix(): file_sha256(path)
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        manifest = {
            "key": ref.key, "identity": made_of, "metrics": {}, "files": hashes, "seconds": 1.5,
            "parents": {str(arg): self.result(arg) for arg in args if isinstance(arg, Ref)},
            "versions": versions or {"torch": "2.13.0"},
        }  # fmt: skip
        (directory / "stage.json").write_text(manifest_text(manifest))
        self.date(directory / "stage.json", self.minute)
        self.minute += 1
        return ref

    def result(self, ref: Ref) -> str:
        """Return the hash by which those that are made from a stage know its result."""
        path = self.at(ref) / "stage.json"
        if not path.is_file():
            return "0" * 64
        values = json.loads(path.read_text())
        return sha256_of({"files": values["files"], "parents": values["parents"]})

    def at(self, ref: Ref) -> Path:
        return self.root / ref.stage / ref.key

    def register(self, directory: Path, *refs: Ref, name: str = "0" * 16, **more: Any) -> Path:
        """Register a run whose directory is ``directory``, which is not made."""
        entry = {
            "run_dir": str(directory), "stages": [str(ref) for ref in refs],
            "updated": "2026-11-21T12:00:00+00:00",
        }  # fmt: skip
        path = self.root / ".runs" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entry | more))
        return path

    def leave(self, name: str, text: str = "x", minute: int = 0) -> Path:
        """Write a file that belongs to no finished stage."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for place in (path, path.parent):
            self.date(place, minute)
        return path

    def date(self, path: Path, minute: int) -> None:
        os.utime(path, (WHEN + 60 * minute,) * 2)


@dataclass
class Loop:
    """The first iteration and the pairs of the second, with one prompt and two answers each."""

    base: Ref
    prompts: Ref
    candidates: Ref
    judgments: Ref
    pairs: Ref
    adapter: Ref
    second: dict[str, Ref]
    pair: Pair
    """The pair of the second iteration."""
    m0: str
    m1: str
    """Fingerprints."""


def policy(adapter_sha256: str = "") -> str:
    """Return the fingerprint of the base of these stores with an adapter."""
    base = record_id("base", tuple(BASE_SETTINGS.values()), 0, "")
    return record_id("policy", (base,), 0, adapter_sha256)


def adapter_files(weights: str) -> dict[str, str]:
    """Return what a training leaves of an adapter, as far as the tools read it."""
    sha256 = hashlib.sha256(weights.encode()).hexdigest()
    return {
        "adapter/adapter_model.safetensors": weights,
        "adapter/adapter_config.json": "{}",
        "training.json": json.dumps({"adapter_sha256": sha256}),
    }


def put_loop(store: Store, beta: float = 0.1, good: str = "well done", judge: str = "m1") -> Loop:
    """Write two iterations; ``judge`` is who judges in the second: ``m1`` or ``m0``."""
    base = store.put("base", BASE_SETTINGS, files={"dequantized/model.safetensors": "weights"})
    m0 = policy()
    prompt, candidates, judgments, pair = answered("say well", good, "bad", m0, m0)
    first = {"count": 1, "purpose": "loop"}
    prompts_ref = store.put("prompts", first, 1, records=[prompt])
    candidates_ref = store.put(
        "candidates", {"sampling": {"n": 2}}, prompts_ref, base, records=candidates
    )
    judged = {"judge": {"name": "self", "version": 1}, "scale": [0, 5]}
    judgments_ref = store.put(
        "judgments", judged, prompts_ref, candidates_ref, base, records=judgments
    )
    pairs_ref = store.put(
        "pairs", {"k": 1}, prompts_ref, candidates_ref, judgments_ref, records=[pair]
    )
    files = adapter_files(f"M1 with beta {beta}")
    adapter = store.put(
        "adapter", {"training": {"beta": beta}}, 1, base, base, pairs_ref, candidates_ref,
        files=files,
    )  # fmt: skip
    m1 = policy(json.loads(files["training.json"])["adapter_sha256"])
    judged_by, by_ref = {"m0": (m0, base), "m1": (m1, adapter)}[judge]
    prompt, candidates, judgments, pair = answered("say more", good, "worse", m1, judged_by)
    second = {"prompts": store.put("prompts", first, 2, records=[prompt])}
    second["candidates"] = store.put(
        "candidates", {"sampling": {"n": 2}}, second["prompts"], adapter, records=candidates
    )
    second["judgments"] = store.put(
        "judgments", judged, second["prompts"], second["candidates"], by_ref, records=judgments
    )
    second["pairs"] = store.put("pairs", {"k": 1}, *second.values(), records=[pair])
    return Loop(base, prompts_ref, candidates_ref, judgments_ref, pairs_ref, adapter, second, pair,
                m0, m1)  # fmt: skip


def answered(text: str, good: str, bad: str, writer: str, judge: str) -> Any:
    """Return a prompt, its two answers, their judgments (4.5 and 1.25) and their pair."""
    prompt = Prompt.of(text, "lab")
    candidates = [
        Candidate(
            id=record_id("candidate", (prompt.id, writer), index, answer), prompt_id=prompt.id,
            index=index, text=answer, prompt_token_ids=(1, 2), token_ids=tokens,
            logprobs=(-0.5,) * len(tokens), finish_reason=FinishReason.STOP, policy=writer,
            seed=77,
        )
        for index, (answer, tokens) in enumerate([(good, (5, 6, 7)), (bad, (8, 9))])
    ]  # fmt: skip
    judgments = [
        Judgment(
            id=record_id("judgment", (candidate.id, judge), 0, ""), candidate_id=candidate.id,
            prompt_id=prompt.id, judge=judge, verdict=Scored(score), raw=(f"Score: {score}",),
            distribution=(0.25, 0.75), mass=0.875,
        )
        for candidate, score in zip(candidates, (4.5, 1.25), strict=True)
    ]  # fmt: skip
    ids = [candidate.id for candidate in candidates]
    parents = (*ids, *(judgment.id for judgment in judgments))
    pair = Pair(
        record_id("pair", parents, 0, ""), prompt.id, ids[0], ids[1], text, good, bad, 4.5, 1.25,
        writer, judge,
    )  # fmt: skip
    return prompt, candidates, judgments, pair
