"""provenance/{phase}.json, kept in Git: what made every recorded output, as Snakemake noted it.

With it a colleague's Snakemake knows the files that `dvc pull` brought, and `git diff` of two results shows
which parameter, source or text made them differ. What all files of a rule share is written once.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import write_json
from ..errors import UserError
from .records import KNOWN_FORMAT, Record

FOLDER = Path("provenance")


@dataclass(frozen=True)
class Provenance:
    """Of one phase.

    outs: DVC's hash of each folder or file. files: md5 and record of each file. inputs: sha256 of all that
    the phase read, as it was then; a file's record repeats the hashes of its own inputs.
    """

    outs: dict[str, str]
    files: dict[str, tuple[str, Record]]
    inputs: dict[str, str]

    def write(self, phase: str) -> None:
        shared: dict[str, set[str]] = {}
        for _, record in self.files.values():
            shared[record.rule] = shared.get(record.rule, set(record.input)) & set(record.input)
        rules = {
            r.rule: {"code": r.code, "input": sorted(shared[r.rule])}
            for _, r in sorted(self.files.values(), key=lambda f: f[1].rule)
        }
        document = {
            "records": KNOWN_FORMAT,
            "outs": dict(sorted(self.outs.items())),
            "rules": rules,
            "files": {path: _dump(md5, r, shared[r.rule]) for path, (md5, r) in sorted(self.files.items())},
            "inputs": dict(sorted(self.inputs.items())),
        }
        path = FOLDER / f"{phase}.json"
        try:
            unchanged = json.loads(path.read_text(encoding="utf-8")) == document
        except (OSError, ValueError):
            unchanged = False
        if not unchanged:
            write_json(path, document)


def read(phase: str) -> Provenance | None:
    """None where nothing is recorded; UserError for a file that is damaged or holds a merge conflict."""
    path = FOLDER / f"{phase}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["records"] != KNOWN_FORMAT:
            raise UserError(
                f"{path} was written with another Snakemake (records of format {document['records']}, "
                f"here {KNOWN_FORMAT}); install that of constraints.txt"
            )
        inputs = document["inputs"]
        files = {
            p: (f["md5"], _load(f, document["rules"][f["rule"]], inputs))
            for p, f in document["files"].items()
        }
        return Provenance(document["outs"], files, inputs)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or in conflict; 'git checkout {path}' or 'coder-clip record'"
        ) from error


def _dump(md5: str, record: Record, shared: set[str]) -> dict[str, Any]:
    return {
        "md5": md5,
        "rule": record.rule,
        "shellcmd": record.shellcmd,
        "input": sorted((Counter(record.input) - Counter(shared)).elements()),
        "params": list(record.params),
        "log": list(record.log),
    }


def _load(file: dict[str, Any], rule: dict[str, Any], inputs: dict[str, str]) -> Record:
    own = tuple(sorted([*rule["input"], *file["input"]]))
    return Record(
        file["rule"],
        rule["code"],
        file["shellcmd"],
        own,
        tuple(file["params"]),
        tuple(file["log"]),
        {p: inputs[p] for p in own if p in inputs},
    )
