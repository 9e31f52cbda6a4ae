"""Progress with rate and time left: redrawn on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
from typing import IO, Any

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two progress lines where nobody watches a terminal


class _Lines:
    """A stream on which tqdm's redrawn line becomes one line a time: what log files need."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if text := text.strip("\r\n "):
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(total: int, unit: str, description: str, wanted: bool = True) -> tqdm[Any]:
    """A bar on stderr; in a log a line every LOG_SECONDS."""
    watched = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        disable=not wanted,
        file=sys.stderr if watched else _Lines(sys.stderr),  # type: ignore[arg-type]
        mininterval=0.2 if watched else LOG_SECONDS,
        maxinterval=LOG_SECONDS,
        ncols=None if watched else 100,
        ascii=not watched,
    )
