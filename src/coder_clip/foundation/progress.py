"""Progress with rate and time left.

It is redrawn on a terminal; in a log file it is a line every 30 seconds.
"""

from __future__ import annotations

import sys
from typing import IO, Any

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two progress lines in a log file


class _Lines:
    """Streams that print tqdm's redrawn line as a new line each time, for log files."""

    def __init__(self, *streams: IO[str]) -> None:
        self.streams = [*streams]

    def write(self, text: str) -> None:
        # tqdm redraws its line with "\r", which a log file would keep
        text = text.strip("\r\n ")
        if text:
            for stream in self.streams:
                stream.write(text + "\n")

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()


def _terminal() -> list[IO[str]]:
    """The terminal that this process was started from, even if its output goes to a file.

    Empty if there is none.
    """
    try:
        return [open("/dev/tty", "w", encoding="utf-8")]
    except OSError:
        return []


def progress(
    total: int, unit: str, description: str, wanted: bool = True, terminal: bool = False
) -> tqdm[Any]:
    """A progress bar on stderr; in a log file a line every LOG_SECONDS.

    wanted: False shows nothing. terminal: also write these lines to the terminal, for work that you
    may want to stop; under Snakemake, stderr is a log file.
    """
    shown: dict[str, Any] = {"file": sys.stderr, "mininterval": 0.2, "ncols": None, "ascii": False}
    if not sys.stderr.isatty():
        lines = _Lines(sys.stderr)
        if terminal:
            lines.streams += _terminal()
        shown = {"file": lines, "mininterval": LOG_SECONDS, "ncols": 100, "ascii": True}
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        disable=not wanted,
        maxinterval=LOG_SECONDS,
        **shown,
    )
