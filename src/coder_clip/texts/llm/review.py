"""Reviewers' decisions about a model's texts: kept beside the answers, and shared like them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ...errors import UserError
from ...foundation.artifacts import write_json
from .filters import plain
from .requests import Item, ReviewedText


class Review(BaseModel):
    """Decisions on one data set's texts.

    rejected: (kind, class or pair, text) of texts that are never used. again: (kind, class or pair), once for each time
    that other texts are wanted.
    """

    model_config = ConfigDict(extra="forbid")

    rejected: list[tuple[str, str, str]] = []
    again: list[tuple[str, str]] = []

    @classmethod
    def of(cls, answers: Path, dataset: str) -> Review:
        """Read the file beside the answers, if there is one. UserError if it is another file."""
        path = path_of(answers, dataset)
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else cls()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is not a file of decisions; 'coder-clip texts review' writes it ({error})"
            ) from None

    def write(self, answers: Path, dataset: str) -> Path:
        path = path_of(answers, dataset)
        write_json(path, self.model_dump(mode="json"))
        return path

    def apply(self, items: Sequence[Item]) -> None:
        """Skip the answers that are not wanted, and refuse the rejected texts."""
        for item in items:
            item.skipped = self.again.count((item.kind, item.owner))
            item.rejected = frozenset(
                plain(t) for k, o, t in self.rejected if (k, o) == (item.kind, item.owner)
            )


def path_of(answers: Path, dataset: str) -> Path:
    return answers / f"{dataset}.review.json"


def listed(document: dict[str, Any]) -> Iterator[ReviewedText]:
    """All texts of a language model in the document of a text set or pair set, those in use first."""
    notes = {kind: note for kind, note in document["provenance"].items() if note.get("source") == "llm"}
    for kind, note in notes.items():
        for owner, texts in _texts(document, kind):
            keys = note.get("from", {}).get(owner, "")
            of_text = keys if isinstance(keys, list) else [keys] * len(texts)
            for text, key in zip(texts, of_text, strict=True):
                yield ReviewedText(kind, owner, text, "", key)
    for kind, note in notes.items():
        for owner, text, why, key in note.get("not_accepted", []):
            yield ReviewedText(kind, owner, text, why, key)


def _texts(document: dict[str, Any], kind: str) -> Iterator[tuple[str, list[str]]]:
    for pair in document.get("pairs", []):
        yield f"{pair['a']} / {pair['b']}", list(dict.fromkeys(pair["a_not_b"] + pair["b_not_a"]))
    for entry in document.get("classes", []):
        texts = entry.get(kind, []) + (entry.get(f"{kind}_as_published") or [])
        yield entry["name"], list(dict.fromkeys(texts))
