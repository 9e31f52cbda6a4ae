"""What a person decides about a model's texts: kept beside the answers, and shared like them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ...errors import UserError
from ...foundation.artifacts import write_json
from .checks import plain


class Review(BaseModel):
    """Decisions on one data set's texts.

    rejected: (kind, class or pair, text) of texts that are never used. again: (kind, class or pair), once per time that
    other texts are wanted.
    """

    model_config = ConfigDict(extra="forbid")

    rejected: list[tuple[str, str, str]] = []
    again: list[tuple[str, str]] = []

    @classmethod
    def of(cls, answers: Path, dataset: str) -> Review:
        """As the file beside the answers has it; empty without one. UserError where it is another file."""
        path = path_of(answers, dataset)
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else cls()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is no file of decisions; 'coder-clip texts review' writes it ({error})"
            ) from None

    def attempts(self, kind: str, owner: str) -> int:
        """How many earlier answers are not wanted."""
        return self.again.count((kind, owner))

    def texts_rejected(self, kind: str, owner: str) -> frozenset[str]:
        return frozenset(plain(t) for k, o, t in self.rejected if (k, o) == (kind, owner))

    def write(self, answers: Path, dataset: str) -> Path:
        path = path_of(answers, dataset)
        write_json(path, self.model_dump(mode="json"))
        return path


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
    for pair in document.get("pairs", []):
        yield f"{pair['a']} / {pair['b']}", list(dict.fromkeys(pair["a_not_b"] + pair["b_not_a"]))
    for entry in document.get("classes", []):
        texts = entry.get(kind, []) + (entry.get(f"{kind}_as_published") or [])
        yield entry["name"], list(dict.fromkeys(texts))
