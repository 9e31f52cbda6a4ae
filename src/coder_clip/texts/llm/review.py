"""Reviewers' decisions about a model's texts: kept beside the answers, and shared like them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ...errors import UserError
from ...foundation.artifacts import write_json
from ..english import plain
from ..sets import review_file
from .requests import Item, ReviewedText


class Review(BaseModel):
    """Decisions on one data set's texts.

    rejected: (kind, class or pair, text) of texts that are never used. again: (kind, class or
    pair), once for each time that other texts are wanted.
    """

    model_config = ConfigDict(extra="forbid")

    rejected: list[tuple[str, str, str]] = []
    again: list[tuple[str, str]] = []

    @classmethod
    def of(cls, answers: Path, dataset: str) -> Review:
        """Read the file beside the answers; without a file there are no decisions.

        UserError if the file holds something else.
        """
        path = review_file(answers, dataset)
        try:
            if not path.is_file():
                return cls()
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is not a file of decisions; 'coder-clip texts review' writes it ({error})"
            ) from None

    def write(self, answers: Path, dataset: str) -> Path:
        """Write the file beside the answers; returns its path."""
        path = review_file(answers, dataset)
        write_json(path, self.model_dump(mode="json"))
        return path

    def undo(self, owner: str, kind: str | None, text: str | None) -> int:
        """Take back the decisions about a class or pair. Return the number of these decisions.

        kind, text: only decisions about this kind, only the rejection of this text; None: all.
        """
        undone = [
            (k, o, t)
            for k, o, t in self.rejected
            if o == owner and kind in (None, k) and text in (None, t)
        ]
        undone_again = []
        # "again" is about a whole answer, not about one text
        if text is None:
            undone_again = [(k, o) for k, o in self.again if o == owner and kind in (None, k)]
        self.rejected = [decision for decision in self.rejected if decision not in undone]
        self.again = [decision for decision in self.again if decision not in undone_again]
        return len(undone) + len(undone_again)

    def apply(self, items: Sequence[Item]) -> None:
        """Skip the answers that are not wanted, and refuse the rejected texts."""
        for item in items:
            # each "again" skips one more answer
            item.skipped = self.again.count((item.kind, item.owner))
            item.rejected = frozenset(
                plain(t) for k, o, t in self.rejected if (k, o) == (item.kind, item.owner)
            )


def listed(document: dict[str, Any]) -> Iterator[ReviewedText]:
    """All texts of a language model in a text set or pair set, those in use first."""
    notes = {
        kind: note for kind, note in document["provenance"].items() if note.get("source") == "llm"
    }
    for kind, note in notes.items():
        for owner, side, texts, keys in _texts(document, kind, note):
            for text, key in zip(texts, keys, strict=True):
                yield ReviewedText(kind, owner, text, "", key, side)
    for kind, note in notes.items():
        for owner, text, why, key, *side in note.get("not_accepted", []):
            yield ReviewedText(kind, owner, text, why, key, *side)


def _texts(
    document: dict[str, Any], kind: str, note: dict[str, Any]
) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(owner, side, texts, key of the answer of each text), of each class or each side of a pair.

    side: the class of a pair that has the texts; empty for texts of a class.
    """
    for pair in document.get("pairs", []):
        owner, sides = f"{pair['a']} / {pair['b']}", (pair["a_not_b"], pair["b_not_a"])
        # stored keys follow the texts of both sides, each text once
        unique = list(dict.fromkeys(sides[0] + sides[1]))
        key_of = dict(zip(unique, _keys(note, owner, unique), strict=True))
        for side, texts in zip((pair["a"], pair["b"]), sides, strict=True):
            yield owner, side, texts, [key_of[text] for text in texts]
    for entry in document.get("classes", []):
        texts = list(dict.fromkeys(entry.get(kind, [])))
        yield entry["name"], "", texts, _keys(note, entry["name"], texts)


def _keys(note: dict[str, Any], owner: str, texts: list[str]) -> list[str]:
    """The key of the answer of each text, from the provenance of a kind."""
    keys = note.get("from", {}).get(owner, "")
    # a string is the key of all texts
    if isinstance(keys, list):
        return keys
    return [keys] * len(texts)
