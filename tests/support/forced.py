"""What a plan names, and what every job makes when it is forced: each job in a process of its own.

    python forced.py CONFIG REPORT [KNOWN [EDITED]]

Run in a working copy with results and records. First the plan is made. Then every job of it
runs, after those that make its inputs, with an empty store of features; just before, it is judged
like a job of a run, so with the inputs that the jobs before it made. REPORT: a file
for what was found, as JSON.

Without EDITED, a source that was edited, KNOWN is written: what each job executes and opens, noted
by Python's own hooks and not by this program. With it, the jobs are left out whose command and
inputs are those of KNOWN, and whose processes never opened the source: nothing that they see is
another than before.

Each process imports this program anew, from its sources, and is forked from one that has imported
other libraries alone. Python's start is all that is saved. Without KNOWN no source was edited: then
the first process imports the program of this copy, once for all.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from json import dumps  # an edit can put another function into the module
from pathlib import Path
from typing import Any

SECONDS = 40  # of CPU, after which a job is called crashed: an edit can make it endless
MEMORY = 24 << 30
STORES = (".cache", ".cache-forced")  # of features: from before the edit, and an empty one
ENCODES = ("encode_images", "encode_texts", "encode_pairs")
LIBRARIES = (
    *("torch", "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn", "PIL.Image"),
    *("matplotlib.pyplot", "safetensors.torch", "pydantic", "jinja2", "yaml", "open_clip"),
)
Document = dict[str, Any]


def main(config: str, report: str, known: str = "", edited: str = "") -> None:
    sys.dont_write_bytecode = bool(edited)
    os.environ.update(CODER_CLIP_CONFIG=config, OMP_NUM_THREADS="1")
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if not known:
        sys.path.insert(0, f"{os.getcwd()}/src")
        for file in sorted(Path("src/coder_clip/phases").glob("*.py")):
            importlib.import_module(f"coder_clip.phases.{file.stem}")
    planned = child(lambda say: make_plan(config, say))
    found: Document = {
        "refused": planned["crash"],
        "named": planned.get("named", {}),
        "seconds": planned["seconds"],
        "jobs": [],
    }
    if not planned["crash"]:
        empty_store()
        before: dict[str, Document] = {}
        if edited:
            before = json.loads(Path(known).read_text())
        failed: set[str] = set()  # files that were not made
        notes: dict[str, Document] = {}
        for job in in_order(planned["jobs"]):
            if failed & {*job["inputs"]}:
                failed |= {*job["outputs"]}
                continue
            seen = {"job": job["job"], "inputs": {p: sha(p) for p in job["inputs"]}}
            then = before.get(job["name"])
            if then and edited not in then["opened"] and seen == then["seen"]:
                continue
            done = force(job, config, bool(known) and not edited)
            found["jobs"].append(done)
            failed |= {path for path, made in done["outputs"].items() if not made}
            notes[job["name"]] = {"seen": seen, **done.pop("notes")}
        if known and not edited:
            Path(known).write_text(dumps(notes))
    Path(report).write_text(dumps(found))


def force(job: Document, config: str, trace: bool) -> Document:
    """Judge a job, then run it. Its outputs from before are there when it is judged, no later."""
    before = {path: sha(path) for path in job["outputs"]}
    done = child(lambda say: work(job, config, trace, STORES[1], say))
    made = {path: sha(path) for path in job["outputs"]}
    if not done["crash"] and not all(made.values()):
        done["crash"] = "not all outputs were written"
    stale = ""
    if job["rule"] in ENCODES and made != before and not done["crash"]:
        # a real run finds the store from before the edit
        kept = {path: Path(path).read_bytes() for path in made}
        again = child(lambda say: work(job, config, False, STORES[0], say))
        if again["crash"] or {path: sha(path) for path in made} != made:
            stale = again["crash"] or "other features from the store"
        for path, data in kept.items():
            Path(path).write_bytes(data)
    return {
        "name": job["name"],
        "why": done.get("why", done["crash"]),
        "before": before,
        "outputs": made,
        "crash": done["crash"],
        "stale": stale,
        "notes": done.get("notes", {}),
        "seconds": done["seconds"],
    }


# ---- in a process of its own ---------------------------------------------------------------------


def child(act: Callable[[Callable[[Document], None]], None]) -> Document:
    """What an act says, from a fork; ``crash``: how it failed, or ""."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        become(act, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    _, status, used = os.wait4(process, 0)
    said: Document = {"crash": "" if status == 0 else f"ended with status {status}"}
    said["seconds"] = used.ru_utime + used.ru_stime
    for line in lines:
        said.update(json.loads(line))
    return said


def become(act: Callable[[Callable[[Document], None]], None], writing: int) -> None:
    """Act, with the end of a usual process. Does not return."""
    os.set_inheritable(writing, False)
    signal.alarm(10 * SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    log = os.open(".forced.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    gc.disable()

    def say(document: Document) -> None:
        os.write(writing, f"{dumps(document)}\n".encode())

    code = 0
    try:
        act(say)
    except BaseException as error:
        code = 1
        lines = traceback.format_exception(error)
        say({"crash": "".join(lines)[-1500:] or repr(error)})
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        importlib.import_module("atexit")._run_exitfuncs()
    os._exit(code)


def make_plan(config: str, say: Callable[[Document], None]) -> None:
    from coder_clip.jobs import RECORDS
    from coder_clip.jobs import jobs as jobs_of
    from coder_clip.pipeline.config import load_config
    from coder_clip.rerun.judge import Judge

    loaded = load_config(config)
    every = jobs_of(loaded)
    named = Judge(loaded.results / RECORDS, every).must_run()
    jobs = [
        {
            "name": job.name,
            "rule": job.name.split("/")[1],
            "inputs": job.inputs,
            "outputs": job.outputs,
            "job": dumps(vars(job)),
            "records": str(loaded.results / RECORDS),
        }
        for job in every
    ]
    say({"named": named, "jobs": jobs})


def work(
    job: Document, config: str, trace: bool, store: str, say: Callable[[Document], None]
) -> None:
    """What the process of a job does, without a record, and whatever the judge says."""
    opened: set[str] = set()
    functions: dict[str, set[int]] = {}
    root = f"{os.getcwd()}/"
    if trace:
        note_everything(root, opened, functions)
    from coder_clip.rerun.judge import Judge
    from coder_clip.rerun.record import Job

    here = Job(**json.loads(job["job"]))
    say({"why": Judge(job["records"], [here]).reason_to_run(here)})
    for path in job["outputs"]:
        Path(path).unlink(missing_ok=True)
    if here.here.get("store") and store == STORES[1]:
        here.here["store"] = os.path.abspath(store)
    module, _, name = here.call.partition(":")
    function = getattr(importlib.import_module(module), name)
    function(**here.reads, **here.makes, **here.settings, **here.here)
    if trace:
        sys.settrace(None)
        files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
        opened |= {file.removeprefix(root) for file in files if file.startswith(root)}
        executed = {path: sorted(lines) for path, lines in functions.items()}
        say({"notes": {"opened": sorted(opened), "executed": executed}})


def note_everything(root: str, opened: set[str], functions: dict[str, set[int]]) -> None:
    """Note the files of the clone that are opened, and the functions that are executed: path ->
    first lines.
    """

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = os.path.abspath(os.fsdecode(arguments[0])).removeprefix(root)
            # compiled modules
            path = re.sub(r"__pycache__/(\w+)\.cpython-\d+\.pyc", r"\1.py", path)
            opened.add(path)

    def call(frame: Any, *_: Any) -> None:
        if frame.f_code.co_filename.startswith(f"{root}src/"):
            path = frame.f_code.co_filename.removeprefix(root)
            functions.setdefault(path, set()).add(frame.f_code.co_firstlineno)

    sys.addaudithook(audit)
    threading.settrace(call)
    sys.settrace(call)


# ---- files ---------------------------------------------------------------------------------------


def in_order(jobs: list[Document]) -> list[Document]:
    """Each job after those that make its inputs."""
    makers = {path: job for job in jobs for path in job["outputs"]}
    ordered: dict[str, Document] = {}

    def add(job: Document) -> None:
        if job["name"] not in ordered:
            for path in job["inputs"]:
                if path in makers and makers[path] is not job:
                    add(makers[path])
            ordered[job["name"]] = job

    for job in jobs:
        add(job)
    return list(ordered.values())


def empty_store() -> None:
    """A folder without features."""
    shutil.rmtree(STORES[1], ignore_errors=True)


def sha(path: str) -> str:
    """sha256 of a file; "" if it is not there."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
