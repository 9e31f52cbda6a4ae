"""What a person decides about a model's texts: kept beside the answers, and shared like them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import UserError
from ...foundation.artifacts import write_json
from .checks import plain


class _Decisions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rejected: list[tuple[str, str, str]] = []  # kind, class or pair, text
    again: list[tuple[str, str]] = []  # kind, class or pair; once per time that others are wanted


@dataclass
class Review:
    """Decisions on one data set's texts: texts that are rejected, and classes and pairs to be asked again."""

    path: Path
    decisions: _Decisions = field(default_factory=_Decisions)

    @classmethod
    def of(cls, answers: Path, dataset: str) -> Review:
        """Beside the answers. UserError where the file is not one."""
        path = path_of(answers, dataset)
        try:
            given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            return cls(path, _Decisions.model_validate(given))
        except (OSError, ValueError, ValidationError) as error:
            raise UserError(
                f"{path} is no file of decisions; 'coder-clip texts review' writes it ({error})"
            ) from None

    def attempts(self, kind: str, owner: str) -> int:
        """How many earlier answers are not wanted."""
        return self.decisions.again.count((kind, owner))

    def rejected(self, kind: str, owner: str) -> frozenset[str]:
        return frozenset(plain(t) for k, o, t in self.decisions.rejected if (k, o) == (kind, owner))

    def reject(self, kind: str, owner: str, text: str) -> None:
        self.decisions.rejected.append((kind, owner, text))

    def ask_again(self, kind: str, owner: str) -> None:
        self.decisions.again.append((kind, owner))

    def write(self) -> None:
        write_json(self.path, self.decisions.model_dump(mode="json"))


def path_of(answers: Path, dataset: str) -> Path:
    return answers / f"{dataset}.review.json"


@dataclass(frozen=True)
class Reviewed:
    """One text as a person reviews it. why: it was not accepted; empty where it is used. answer: its key."""

    kind: str
    owner: str
    text: str
    why: str
    answer: str


def listed(document: dict[str, Any]) -> Iterator[Reviewed]:
    """All texts of a made text set or of made pairs (the documents of `sets`), those that are used first."""
    notes = {kind: note for kind, note in document["provenance"].items() if note.get("source") == "llm"}
    for kind, note in notes.items():
        for owner, texts in _texts(document, kind):
            keys = note.get("from", {}).get(owner, "")
            of_text = keys if isinstance(keys, list) else [keys] * len(texts)
            for text, key in zip(texts, of_text, strict=True):
                yield Reviewed(kind, owner, text, "", key)
    for kind, note in notes.items():
        for owner, text, why, key in note.get("not_accepted", []):
            yield Reviewed(kind, owner, text, why, key)


def _texts(document: dict[str, Any], kind: str) -> Iterator[tuple[str, list[str]]]:
    if kind == "one_to_one":
        for p in document["pairs"]:
            yield f"{p['a']} / {p['b']}", list(dict.fromkeys(p["a_not_b"] + p["b_not_a"]))
    else:
        for c in document["classes"]:
            yield c["name"], list(dict.fromkeys(c.get(kind, []) + (c.get(f"{kind}_as_published") or [])))
