"""python -m benchmarks.mutations: break the method on purpose, one bug at a time, and check that it is noticed.

Each bug of mutations.yaml is applied to a copy of src/, never to the tree. It must fail a unit test, and move a number
of the default out of its recorded 95 % interval; if no number can move, the list says why, and this is checked, too.
First the same tests and phases run without a bug: all tests must pass, and every number must be the recorded one. This
needs the recorded run (`make reproduce`), whose features are read.

Exit status 1 if a bug survives, an explanation is wrong, or the run without a bug differs from the record.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parents[1]
LIST = REPO / "benchmarks" / "mutations.yaml"
PAGE = REPO / "docs" / "mutations.md"
CONFIG = REPO / "config" / "reproduce.yaml"

INPUTS = ("manifests", "texts", "image_features", "text_features", "coder", "zero_shot", "one_to_one")
MEASURED = ("zero_shot", "rerank", "adapter", "evaluation")  # phases whose documents hold numbers
PHASES = ("text_features", "coder", "zero_shot", "one_to_one", "rerank", "adapter", "evaluation")  # in order
MAIN = {"methods", "summary", "feature_quality"}  # lists in them that the main tables show
NAMES = ("dataset", "model", "shots", "method", "setting", "flaw", "features", "top_k", "gate", "kinds")
# Few-shot methods that a bug reaches, and the ablations that it would make equal to them.
METHODS = ["coder_adapter", "raw_adapter", "coder_no_minmax"]
WITHIN = 1e-9  # rounding of a share

Name = tuple[str, ...]


@dataclass(frozen=True)
class Mutation:
    """One deliberate bug; mutations.yaml explains the fields."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: list[str]
    phases: list[str]
    unmoved: str | None = None

    def apply(self, source: Path) -> None:
        """Apply the bug to a copy of the package. SystemExit unless ``old`` is there exactly once."""
        path = source / "coder_clip" / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (count := text.count(self.old)) != 1:
            raise SystemExit(
                f"{LIST}: '{self.name}': its text is {count} times in {self.file}, not once; the source has moved "
                f"on, so write the mutation again: {self.old}"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Number:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Outcome:
    """Effect of one bug: the test that failed, and the number that moved most; None for nothing."""

    test: str | None
    moved: str | None

    def survives(self, m: Mutation) -> str | None:
        """Why the bug counts as unnoticed; None if it was noticed."""
        if self.test is None:
            return "no unit test fails"
        if self.moved is None and m.unmoved is None:
            return "no number leaves its interval"
        if self.moved is not None and m.unmoved is not None:
            return f"'unmoved' is wrong: {self.moved}"
        return None


def mutations() -> list[Mutation]:
    return [Mutation(**entry) for entry in yaml.safe_load(LIST.read_text(encoding="utf-8"))]


# ---- numbers


def numbers(results: Path) -> dict[Name, Number]:
    """Every number with an interval in the documents below a results folder, by name.

    Of several with one name, the second and later ones have their place in it.
    """
    found: dict[Name, Number] = {}
    for phase in MEASURED:
        for path in sorted((results / phase).rglob("*.json")):
            seen: Counter[Name] = Counter()
            for name, number in _numbers(json.loads(path.read_text(encoding="utf-8")), (phase,)):
                seen[name] += 1
                found[name if seen[name] == 1 else (*name, str(seen[name]))] = number
    return found


def _numbers(node: Any, name: Name) -> Iterator[tuple[Name, Number]]:
    if isinstance(node, list):
        for child in node:
            yield from _numbers(child, name)
    elif isinstance(node, dict) and "low" in node:
        yield name, Number(node["value" if "value" in node else "mean"], node["low"], node["high"])
    elif isinstance(node, dict):
        here = [node[key] for key in NAMES if isinstance(node.get(key), str | int | list)]
        here = [" + ".join(h) if isinstance(h, list) else str(h) for h in here]
        for key, child in node.items():
            if isinstance(child, dict | list):
                yield from _numbers(child, (*name, *here, key))


def furthest(recorded: dict[Name, Number], now: dict[Name, Number]) -> str | None:
    """The number that moved most of those that left their interval, with both values; None if none did.

    A number of the main tables, where one of these did. An interval without a width (two methods that never differ)
    says nothing and does not count.
    """
    moved = {
        name: abs(n.value - r.value)
        for name, n in now.items()
        if (r := recorded.get(name)) and r.low < r.high and not r.low - WITHIN <= n.value <= r.high + WITHIN
    }
    if not moved:
        return None
    name = max(moved, key=lambda name: (not MAIN.isdisjoint(name), moved[name]))
    said = ", ".join(part for part in name if part not in MAIN)
    return f"{said}: {recorded[name]} → {100 * now[name].value:.1f}"


# ---- running


@dataclass(frozen=True)
class Run:
    """Folders and configuration of a run. config: its document; results: folder of the recorded run."""

    config: dict[str, Any]
    results: Path
    scratch: Path

    def source(self, name: str) -> Path:
        """A fresh copy of src/."""
        return Path(shutil.copytree(REPO / "src", self.scratch / name / "src", ignore=_compiled))

    def failing(self, source: Path, files: list[str]) -> str | None:
        """Run unit tests on a copy of src/; return the first that fails, None if all pass.

        SystemExit where pytest ends without a verdict: a copy that cannot be imported proves nothing.
        """
        options = ["-x", "-q", "-m", "not rest", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
        done = _python(source, "-m", "pytest", *options, *(f"tests/unit/{file}" for file in files))
        if done.returncode == 0:
            return None
        failed = re.search(r"^(?:FAILED|ERROR) tests/unit/\S+\.py::(\w+)", done.stdout, flags=re.M)
        if done.returncode != 1 or failed is None:
            raise SystemExit(
                f"{source}: pytest {' '.join(files)} gave no verdict\n{done.stdout}{done.stderr}"
            )
        return f"`{failed[1]}`"

    def measure(self, source: Path, phases: list[str]) -> dict[Name, Number] | str:
        """Run phases with a copy of src/; return the numbers, or the error that stopped the run."""
        results = source.parent / "results"
        for folder in INPUTS:
            shutil.copytree(
                self.results / folder, results / folder, copy_function=os.symlink, ignore=_numbers_of
            )
        config = source.parent / "config.yaml"
        config.write_text(yaml.safe_dump(self._smaller(results)), encoding="utf-8")
        done = _python(source, __file__, "--measure", str(config), *sorted(phases, key=PHASES.index))
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        return numbers(results)

    def _smaller(self, results: Path) -> dict[str, Any]:
        """The configuration, without parts of phases that make no number of interest."""
        adapter = {**self.config.get("adapter", {}), "methods": METHODS}
        if shots := adapter.get("shots"):
            adapter["shots"] = sorted({min(shots), max(shots)})
        quick = {
            "template_ensemble": False,
            "text_counts": [1],
            "draws": 1,
            "tsne_images": 10,
            "corrections": 1,
        }
        return {
            **self.config,
            "results": str(results),
            "rerank": {**self.config.get("rerank", {}), "top_ks": [2]},
            "adapter": adapter,
            "evaluation": {**self.config.get("evaluation", {}), **quick},
        }


def _compiled(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _numbers_of(folder: str, names: list[str]) -> set[str]:
    """Documents of the recorded run that hold its numbers, and must not be mistaken for new ones."""
    return {n for n in names if n.endswith(".json") and f"{os.sep}zero_shot{os.sep}" in f"{folder}{os.sep}"}


def _python(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(source), str(REPO)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPO, env=environment, capture_output=True, text=True, check=False
    )


def _measure(config_file: str, phases: list[str]) -> None:
    """Run phases of all models and data sets, in a separate process with the copy of src/ beside this file."""
    import coder_clip
    from coder_clip.pipeline.config import load_config

    assert Path(coder_clip.__file__).is_relative_to(Path(config_file).parent), coder_clip.__file__
    config = load_config(config_file)
    for model in config.models:  # one after the other: each is loaded once
        for phase in phases:
            run = import_module(f"coder_clip.phases.{phase}").run
            for dataset in config.datasets:
                if phase != "adapter":
                    run(config, model, dataset)
                elif config.few_shot(dataset):
                    for shots in config.adapter.shots:
                        run(config, model, dataset, shots)


def control(run: Run, todo: list[Mutation], pool: ThreadPoolExecutor) -> dict[Name, Number]:
    """The recorded numbers, after tests and phases without a bug have passed and reproduced them."""
    source = run.source("control")
    recorded = numbers(run.results)
    if missing := [name for name in (*INPUTS, *MEASURED) if not (run.results / name).is_dir()]:
        raise SystemExit(f"{run.results / missing[0]} is missing: make reproduce first")
    failing = pool.submit(run.failing, source, sorted({file for m in todo for file in m.tests}))
    now = run.measure(source, sorted({phase for m in todo for phase in m.phases}))
    if isinstance(now, str):
        raise SystemExit(f"without a bug the phases fail: {now}")
    for name, number in now.items():
        was = recorded.get(name)
        if was is None or any(
            abs(a - b) > WITHIN for a, b in zip(astuple(number), astuple(was), strict=True)
        ):
            raise SystemExit(
                f"'{name}': {run.results} holds {was}, the source gives {number}; make reproduce first"
            )
    if failed := failing.result():
        raise SystemExit(f"without a bug a unit test fails: {failed}")
    return {name: recorded[name] for name in now}


def outcome(run: Run, m: Mutation, recorded: dict[Name, Number]) -> Outcome:
    """Apply a bug to a copy of src/; run its tests, then its phases."""
    source = run.source(re.sub(r"\W+", "-", m.name))
    m.apply(source)
    test = run.failing(source, m.tests)
    now = run.measure(source, m.phases)
    moved = f"the run stops: {now}" if isinstance(now, str) else furthest(recorded, now)
    shutil.rmtree(source.parent)
    return Outcome(test, moved)


def page(found: dict[str, tuple[Mutation, Outcome]]) -> str:
    """The table of docs/mutations.md."""
    head = (
        "# Deliberate bugs\n\n"
        "Which mistakes in the method the tests and the results would show. Each line is one deliberate bug, applied\n"
        "alone to a copy of the source (`benchmarks/mutations.yaml` has the edits). It must fail a unit test and move\n"
        "a number of the embedded default out of its 95 % interval. The last column shows the number that moves most,\n"
        "in points, with the interval of the recorded run, or says why no number can move. Without a bug the same\n"
        "tests pass and the same phases give the recorded numbers. Adapters: at the fewest and the most shots.\n"
        "`python -m benchmarks.mutations --write` writes this page.\n\n"
        "| bug | what it does | unit test that fails | number that moves most |\n| --- | --- | --- | --- |\n"
    )
    return head + "".join(
        f"| {m.name} | {m.breaks} | {o.test or 'none'} | {o.moved or m.unmoved or 'none'} |\n"
        for m, o in found.values()
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument(
        "--results",
        type=lambda p: Path(p).resolve(),
        help="folder of the recorded run; else what the configuration says",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the bugs, by name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="bugs at a time")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(REPO)}")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        _measure(given.measure[0], given.measure[1:])
        return 0
    todo = [m for m in mutations() if not given.only or m.name in given.only]
    config = yaml.safe_load(given.config.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="coder-clip-") as scratch, ThreadPoolExecutor(given.jobs) as pool:
        run = Run(config, given.results or REPO / config.get("results", "results"), Path(scratch))
        print(f"without a bug: {len({p for m in todo for p in m.phases})} phases and the tests", flush=True)
        recorded = control(run, todo, pool)
        print(f"  {len(recorded)} numbers as recorded", flush=True)
        found: dict[str, tuple[Mutation, Outcome]] = {}
        for m, o in zip(todo, pool.map(lambda m: outcome(run, m, recorded), todo), strict=True):
            found[m.name] = m, o
            print(f"{m.name}\n  test: {o.test}\n  number: {o.moved or m.unmoved}", flush=True)
            if why := o.survives(m):
                print(f"  SURVIVES: {why}", flush=True)
    surviving = [m.name for m, o in found.values() if o.survives(m)]
    print(
        f"{len(todo) - len(surviving)} of {len(todo)} bugs noticed"
        + "".join(f"\n  not: {n}" for n in surviving)
    )
    if given.write:
        PAGE.write_text(page(found), encoding="utf-8")
    return bool(surviving)


if __name__ == "__main__":
    sys.exit(main())
