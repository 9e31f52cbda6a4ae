"""Snakemake's own records of what made a file: read, and given back to it after a pull.

They are a private interface, so its version is checked before anything is touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

KNOWN_VERSION = "9.27."
KNOWN_FORMAT = 6


@dataclass(frozen=True)
class Record:
    """What made one output: rule, inputs, parameters, code, and the input checksums Snakemake compares."""

    rule: str
    code: str | None
    shellcmd: str | None
    input: tuple[str, ...]
    params: tuple[str, ...]
    log: tuple[str, ...]
    checksums: dict[str, str]  # of inputs up to Snakemake's size limit: "sha256:…"
    endtime: float = 0.0  # Snakemake sets it to the output's mtime

    def same(self, other: Record) -> bool:
        """Whether both describe the same making of a file (checksums: where both have one)."""
        mine, theirs = self.checksums, other.checksums
        return (self.rule, self.code, self.input, self.params) == (
            other.rule,
            other.code,
            other.input,
            other.params,
        ) and all(mine[p] == theirs[p] for p in mine.keys() & theirs.keys())


class Records:
    """The records of the working directory.

    UserError for a Snakemake whose records this code does not know.
    """

    def __init__(self) -> None:
        import snakemake
        from snakemake import persistence
        from snakemake.persistence.file import FilePersistence

        if not snakemake.__version__.startswith(KNOWN_VERSION):
            raise UserError(
                f"Snakemake {snakemake.__version__} is installed, whose records are not known here; "
                f"install 'snakemake>={KNOWN_VERSION}0,<9.28'"
            )
        if persistence.RECORD_FORMAT_VERSION != KNOWN_FORMAT:
            raise UserError(
                f"Snakemake writes records of format {persistence.RECORD_FORMAT_VERSION}, known here is "
                f"{KNOWN_FORMAT}; install the Snakemake of constraints.txt"
            )
        self._make: Any = persistence.MetadataRecord
        # makes its folders, too: a metadata folder alone would count as one of an older Snakemake
        self._store: Any = FilePersistence(nolock=True, path=Path(".snakemake").resolve())

    def read(self, path: str) -> Record | None:
        """The record of an output; None where there is none, or one that was half written."""
        try:
            with open(self._store._record_path(self._store._metadata_path, path), encoding="utf-8") as stream:
                raw = json.load(stream)
        except (FileNotFoundError, ValueError):
            return None
        if not raw or raw.get("record_format_version") != KNOWN_FORMAT or not raw.get("rule"):
            return None
        return Record(
            raw["rule"],
            raw.get("code"),
            raw.get("shellcmd"),
            tuple(raw.get("input") or ()),
            tuple(raw.get("params") or ()),
            tuple(raw.get("log") or ()),
            {k: _named(v) for k, v in (raw.get("input_checksums") or {}).items()},
            raw.get("endtime") or 0.0,
        )

    def write(self, path: str, record: Record) -> None:
        """Restore the record of an output. No time, machine or environment comes from elsewhere."""
        self._store._write_record(
            path,
            self._make(
                rule=record.rule,
                code=record.code,
                shellcmd=record.shellcmd,
                input=list(record.input),
                params=list(record.params),
                log=list(record.log),
                input_checksums=dict(record.checksums),
                record_format_version=KNOWN_FORMAT,
                incomplete=False,
                starttime=record.endtime,
                endtime=record.endtime,
            ),
        )
        self._store._unmark_incomplete(path)

    def forget(self, path: str) -> None:
        self._store._delete_record(path)

    def incomplete(self, paths: Iterable[str]) -> set[str]:
        """Outputs whose job was started and not finished."""
        self._store._clear_cache()
        return set(self._store._filter_incomplete_keys(list(paths)))

    def running(self) -> bool:
        """Whether a Snakemake works in this directory, or was killed and its lock still lies here."""
        return any(Path(".snakemake/locks").glob("*.lock"))


def _named(checksum: str) -> str:
    return checksum if ":" in checksum else f"sha256:{checksum}"
