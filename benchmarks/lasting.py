"""What an edit reruns.

Past commits, replayed by name against the blocks of code that the certificates of the present
default name.

    python benchmarks/lasting.py [--config config/reproduce.yaml] [--end COMMIT] [--blocks 10]

A commit touches a job if it changes a block (foundation/blocks.py) that the job's certificate
names. A block that got another name since then, or whose module did, does not count. For comparison
"by modules": a job as touched by every change of a module of which it names a block.

A commit reruns the jobs that it touches and all that depend on them, of which some would find the
same inputs and end at once. Their share is of the CPU seconds in results/benchmarks. Run `make
reproduce` before, without results and with an empty cache of features (XDG_CACHE_HOME), because a
job that finds nothing to do takes no time.

Prints Markdown tables. --blocks also prints the blocks that cause the most touches.
"""

from __future__ import annotations

import argparse
import ast
import csv
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coder_clip.encoders import store
from coder_clip.foundation.blocks import Code, Found, parse
from coder_clip.pipeline.config import load_config
from coder_clip.tracking.certificates import FOLDER, Certificate, read

ROOT = Path(__file__).parents[1]
SOURCE = "src/coder_clip"
# The last commit whose certificates named whole modules. Fixed, so that rows are comparable.
END = "512f55fb9a321011dde50cf2e78cce4012474c28"
COMMITS = 125
# kind of job -> its rule, and the goal
KINDS = {
    "encoding of images": ("encode_images", 15),
    "text features": ("encode_texts", None),
    "CODER's matrices": ("build_coder", None),
    "zero-shot": ("classify", None),
    "rerank": ("rerank_top", None),
    "adapters": ("fit_adapters", None),
    "evaluation": ("evaluate", None),
    "tables": ("tables", None),
    "report": ("page", None),
}
GOAL_ALL, GOAL_STORED, GOAL_SHARE = 6, 8, 0.1
Block = tuple[str, str]  # path of the module, name of the block


@dataclass
class Commit:
    """What a commit changes of the source: modules, and blocks in them."""

    name: str
    modules: set[str]
    blocks: set[Block]


@dataclass
class Job:
    """A job of the default. seconds: of CPU."""

    certificate: Certificate
    blocks: set[Block]
    seconds: float

    @property
    def modules(self) -> set[str]:
        return {path for path, _ in self.blocks}


def git(*arguments: str, stdin: str | None = None) -> bytes:
    done = subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        input=None if stdin is None else stdin.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


# ---- the past ------------------------------------------------------------------------------------


def commits(end: str, count: int) -> list[Commit]:
    """The last commits before and with ``end`` that change a module, without merges."""
    wanted = ["--no-merges", "--full-history", "--no-renames", f"-{count}", "--format=@%H"]
    listed = git("log", *wanted, "--name-only", end, "--", f"{SOURCE}/*.py").decode()
    files = {}
    for entry in listed.split("@")[1:]:
        commit, *paths = entry.split()
        files[commit] = paths
    # "commit:path" of each version that is compared
    versions = {
        f"{commit}{parent}:{path}"
        for commit, paths in files.items()
        for path in paths
        for parent in ("", "~")
    }
    blocks = _blocks(sorted(versions))
    found = []
    for commit, paths in files.items():
        changed: set[Block] = set()
        for path in paths:
            before, after = blocks[f"{commit}~:{path}"], blocks[f"{commit}:{path}"]
            changed |= {(path, key) for key, _ in before.items() ^ after.items()}
        found.append(Commit(commit, set(paths), changed))
    return found


def _blocks(versions: list[str]) -> dict[str, dict[str, str]]:
    """The blocks and their hashes of versions of modules; {} for one that is not there."""
    output = git("cat-file", "--batch", stdin="".join(f"{version}\n" for version in versions))
    found, at = {}, 0
    for version in versions:
        # "hash blob size", the bytes and an end of line; or "version missing"
        end = output.index(b"\n", at)
        head, at = output[at:end], end + 1
        found[version] = {}
        if not head.endswith(b" missing"):
            size = int(head.rpartition(b" ")[2])
            source, at = output[at : at + size], at + size + 1
            path = PurePosixPath(version.partition(":")[2])
            module = parse(source, ".".join(path.parts[1:-1]))
            found[version] = {key: block.hash for key, block in module.blocks.items()}
    return found


# ---- the present ---------------------------------------------------------------------------------


def jobs(results: Path) -> list[Job]:
    """The jobs of a complete run."""
    seconds = {}
    for path in results.joinpath("benchmarks").rglob("*.tsv"):
        with path.open(encoding="utf-8", newline="") as stream:
            # of several attempts the last one made the files
            *_, row = csv.DictReader(stream, delimiter="\t")
        wildcards = tuple(sorted(ast.literal_eval(row["wildcards"]).values()))
        seconds[row["rule_name"], wildcards] = float(row["cpu_time"])
    found = []
    for path in sorted(results.joinpath(FOLDER).rglob("*.json")):
        certificate = read(path)
        if certificate is None:
            sys.exit(f"{path} is of another version of coder-clip: make reproduce")
        # {results}/certificates/{phase}/{rule}/{wildcards}.json
        _, *parts = path.relative_to(results / FOLDER).with_suffix("").parts
        spent = seconds.get((parts[0], tuple(sorted(parts[1:]))))
        if spent is None:
            sys.exit(f"{results}/benchmarks has no time of {'/'.join(parts)}: make reproduce")
        found.append(Job(certificate, _pairs(certificate.blocks), spent))
    if not found:
        sys.exit(f"no certificates in {results}: make reproduce")
    return found


def _pairs(blocks: Found) -> set[Block]:
    return {(path, key) for path, keys in blocks.items() for key in keys}


def share(run: list[Job], touched: Callable[[Job], bool]) -> float:
    """The part of all CPU seconds that runs again: of touched jobs and all that depend on them."""
    again = [job for job in run if touched(job)]
    for job in again:  # the list grows in the loop
        outputs = job.certificate.outputs.keys()
        again += [
            other
            for other in run
            if other not in again and outputs & other.certificate.inputs.keys()
        ]
    return sum(job.seconds for job in again) / sum(job.seconds for job in run)


# ---- tables --------------------------------------------------------------------------------------


def counted(past: list[Commit], run: list[Job]) -> list[tuple[str, set[Block], int | None]]:
    """What is counted: its name, its blocks, and the goal."""
    rows: list[tuple[str, set[Block], int | None]] = []
    rows.append(("all jobs", set.intersection(*(job.blocks for job in run)), GOAL_ALL))
    for kind, goal in (("image", GOAL_STORED), ("text", None)):
        rows.append((f"stored features of {kind}s", _pairs(store._CODE["open_clip", kind]), goal))
    for name, (rule, goal) in KINDS.items():
        of_rule = [job.blocks for job in run if job.certificate.rule == rule]
        if of_rule:
            rows.append((name, set.union(*of_rule), goal))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="config/reproduce.yaml")
    parser.add_argument("--end", default=END, help="the last commit")
    parser.add_argument("--commits", type=int, default=COMMITS)
    parser.add_argument("--blocks", type=int, default=0, help="blocks to print per kind")
    options = parser.parse_args()
    run = jobs(ROOT / load_config(options.config).results)
    past = commits(options.end, options.commits)
    rows = counted(past, run)
    print(
        f"The last {len(past)} commits to `{SOURCE}` until {options.end[:8]}, replayed by name "
        f"against the certificates of\nthe {len(run)} jobs of {options.config}. A job of a kind "
        "counts as touched if one of them is.\n"
    )
    print(f"| commits that touch | blocks | of {len(past)} | goal | by modules |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, blocks, goal in rows:
        modules = {path for path, _ in blocks}
        touched = sum(bool(commit.blocks & blocks) for commit in past)
        by_modules = sum(bool(commit.modules & modules) for commit in past)
        wanted = f"≤ {goal}" if goal else ""
        print(f"| {name} | {len(blocks)} | {touched} | {wanted} | {by_modules} |")
    shares = [share(run, lambda job, c=c: bool(c.blocks & job.blocks)) for c in past]
    by_modules = [share(run, lambda job, c=c: bool(c.modules & job.modules)) for c in past]
    total = sum(job.seconds for job in run)
    print(f"\n| of {total:.0f} CPU seconds a commit reruns | blocks | goal | by modules |")
    print("| --- | ---: | ---: | ---: |")
    median, mean = statistics.median, statistics.mean
    print(f"| median | {median(shares):.0%} | ≤ {GOAL_SHARE:.0%} | {median(by_modules):.0%} |")
    print(f"| mean | {mean(shares):.0%} | | {mean(by_modules):.0%} |")
    print(
        f"\n{shares.count(0)} commits rerun nothing; by modules {by_modules.count(0)}.",
        _renamed(past),
    )
    if options.blocks:
        _print_blocks(past, rows, options.blocks)


def _renamed(past: list[Commit]) -> str:
    """How many of the changed blocks cannot match, because they have no block of today."""
    code = Code(ROOT / "src")
    changed = [block for commit in past for block in commit.blocks]
    gone = sum(key not in code.module(path).blocks for path, key in changed)
    return f"Of {len(changed):,} changed blocks {gone:,} do not exist today under their name."


def _print_blocks(
    past: list[Commit], rows: list[tuple[str, set[Block], int | None]], count: int
) -> None:
    """The blocks that cause the most touches, and how many commits touch nothing else of a kind."""
    for name, blocks, _ in rows:
        hits = [commit.blocks & blocks for commit in past if commit.blocks & blocks]
        by_block = Counter(block for hit in hits for block in hit)
        alone = Counter(block for hit in hits if len(hit) == 1 for block in hit)
        print(f"\n| {name}: {len(hits)} commits | commits | alone |\n| --- | ---: | ---: |")
        for (path, key), n in by_block.most_common(count):
            print(f"| {path.removeprefix(f'{SOURCE}/')}: {key} | {n} | {alone[path, key]} |")


if __name__ == "__main__":
    main()
