"""Reviewers' decisions about a model's texts: kept beside the answers, and shared like them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import UserError
from ...foundation.artifacts import write_json
from ...foundation.strict import explained
from ..english import plain
from ..sets import review_file
from .requests import Item, ReviewedText


class Review(BaseModel):
    """Decisions on one data set's texts.

    rejected: (kind, class or pair, text) of texts that are never used.
    """

    model_config = ConfigDict(extra="forbid")

    rejected: list[tuple[str, str, str]] = []

    @classmethod
    def of(cls, answers: Path, dataset: str) -> Review:
        """Read the file beside the answers; without a file there are no decisions.

        UserError if the file holds something else.
        """
        path = review_file(answers, dataset)
        try:
            if not path.is_file():
                return cls()
            document = json.loads(path.read_text(encoding="utf-8"))
            # files of earlier versions have the key, mostly with an empty list
            if not document.get("again", True):
                del document["again"]
            return cls.model_validate(document)
        except ValidationError as error:
            raise UserError(f"{path}: {explained(error.errors(), cls)}") from None
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} is not a file of decisions; 'coder-clip texts review' writes it ({error})"
            ) from None

    def write(self, answers: Path, dataset: str) -> Path:
        """Write the file beside the answers; returns its path."""
        path = review_file(answers, dataset)
        write_json(path, self.model_dump(mode="json"))
        return path

    def apply(self, items: Sequence[Item]) -> None:
        """Refuse the rejected texts."""
        for item in items:
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
