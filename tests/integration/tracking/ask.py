"""Run in a clone: make one change after the other, ask Snakemake and DVC what it means, take it back.

Reads changes from stdin (JSON: name -> {path: new text}), prints name -> {"dvc": phases that `dvc status` names, "own":
phases of which Snakemake makes something again for a reason of its own, "rerun": those and what follows from them,
"left": phases that hold a file which nothing makes any more}.
A process for each change, forked from one that has imported both tools: 90 changes in the time of a few commands.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import snakemake.api
from dvc.repo import Repo
from snakemake.settings.types import ConfigSettings, Quietness, ResourceSettings

CONFIG = Path("config/reproduce.yaml")


def snakemake_says() -> list[tuple[str, str, bool]]:
    """Path, reason and whether it is made again, of every output; what `snakemake --summary` prints."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        snakemake.api.SnakemakeApi(snakemake.api.OutputSettings(quiet={Quietness.ALL})) as api,
    ):
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[CONFIG]),
            snakefile=Path("Snakefile"),
        )
        workflow.dag().summary()
    rows = [line.split("\t") for line in printed.getvalue().splitlines()]
    assert rows[0][0] == "output_file"
    return [(row[0], row[-2], row[-1] != "no update") for row in rows[1:]]


def dvc_says() -> list[str]:
    return sorted(name for name, what in Repo().status().items() if what)


def ask() -> dict[str, list[str]]:
    every = {str(out): stage.name for stage in Repo().index.stages for out in stage.outs}
    outs = {out: name for out, name in every.items() if "/provenance/" not in out}  # which no job makes

    def phases(paths: list[str]) -> list[str]:
        return sorted(
            {name for p in paths for out, name in outs.items() if p == out or p.startswith(f"{out}/")}
        )

    said = snakemake_says()
    rerun = [path for path, _, again in said if again]
    own = [path for path, reason, again in said if again and reason != "ok"]
    made = {path for path, _, _ in said}
    there = [
        str(p)
        for out in outs
        for p in ([Path(out)] if Path(out).is_file() else Path(out).rglob("*"))
        if p.is_file()
    ]
    left = phases([path for path in there if path not in made])
    return {"dvc": dvc_says(), "own": phases(own), "rerun": phases(rerun), "left": left}


def in_a_fork() -> Any:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            answer: Any = ask()
        except BaseException as error:
            answer = {"error": repr(error)}
        with os.fdopen(write, "w") as stream:
            json.dump(answer, stream)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        answer = json.load(stream)
    os.waitpid(child, 0)
    return answer


def main() -> None:
    os.environ["CODER_CLIP_TRACKING"] = "off"
    snakemake_says()  # what it imports and parses is there in every fork
    answers = {}
    for name, edits in json.load(sys.stdin).items():
        before = {path: (Path(path).read_bytes(), os.stat(path).st_mtime_ns) for path in edits}
        for path, text in edits.items():
            Path(path).write_text(text)
        answers[name] = in_a_fork()
        for path, (data, mtime) in before.items():
            Path(path).write_bytes(data)
            os.utime(path, ns=(mtime, mtime))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
