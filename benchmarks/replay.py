"""What an edit reruns: commits to the code, replayed against the records of the embedded default.

    make reproduce
    python benchmarks/replay.py --end 16af6c9b

A commit touches a module if it changes its syntax tree without comments and layout. Where code has
moved since, names are followed: a changed function, class or constant counts where the name is
defined today, in the same file if it is still there, else in every file that defines it. So a name
that many files define counts for all of them; a name that is gone counts nowhere, and its share is
printed.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from coder_clip.encoders import families, store

CODE = "src/coder_clip"
RECORDS = Path("results/certificates")
REST = ""  # the name of what a module has beside definitions, such as imports


def main() -> None:
    """Print the table of a window of commits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--end", default="HEAD", help="the last commit of the window")
    parser.add_argument("--commits", type=int, default=125, help="how many that change the code")
    options = parser.parse_args()
    today = {str(path): parts(path.read_text()) for path in Path(CODE).rglob("*.py")}
    records = {str(path): json.loads(path.read_text()) for path in sorted(RECORDS.rglob("*.json"))}
    cost = {path: seconds(path) for path in records}
    kinds: dict[str, set[str]] = {"stored features of images": makers()}
    for path, record in records.items():
        phase = Path(path).relative_to(RECORDS).parts[0]
        kinds.setdefault(phase, set()).update(record["modules"])
    touched = dict.fromkeys(kinds, 0)
    shares, names, lost = [], 0, 0
    for commit in commits(options.end, options.commits):
        modules = set[str]()
        for file, name in changed(commit):
            found = now(today, file, name)
            names, lost = names + 1, lost + (not found)
            modules |= found
        for kind, of_kind in kinds.items():
            touched[kind] += not modules.isdisjoint(of_kind)
        rerun = [path for path, record in records.items() if modules & record["modules"].keys()]
        shares.append(100 * sum(cost[path] for path in rerun) / sum(cost.values()))
    print(f"| jobs | modules | commits of {len(shares)} that touch them |\n| --- | ---: | ---: |")
    for kind, count in touched.items():
        print(f"| {kind} | {len(kinds[kind])} | {count} |")
    print(
        f"\nOf {sum(cost.values()):.0f} CPU seconds, a commit reruns "
        f"{statistics.median(shares):.0f} % in the median, {statistics.mean(shares):.0f} % in the "
        f"mean and {statistics.quantiles(shares, n=10)[-1]:.0f} % at the 90th percentile; "
        f"{shares.count(0)} commits rerun nothing. Of {names:,} changed names {lost:,} are gone."
    )


def makers() -> set[str]:
    """The modules whose code is in the key of stored features of images."""
    names = {*store.MAKERS, *families.of("local-dir:").makers}
    return {f"{CODE}/{name}.py" for name in names}


def seconds(path: str) -> float:
    """CPU seconds of the job of a record, from Snakemake's benchmark of its run."""
    job = Path(path).relative_to(RECORDS).parts[1:]  # without the phase
    with RECORDS.with_name("benchmarks").joinpath(*job).with_suffix(".tsv").open() as lines:
        return float(next(csv.DictReader(lines, delimiter="\t"))["cpu_time"])


def commits(end: str, count: int) -> Iterator[str]:
    """The last commits that change the code, merges left out."""
    listed = git("log", "--no-merges", f"-{count}", "--format=%H", end, "--", CODE)
    yield from listed.split()


def changed(commit: str) -> Iterator[tuple[str, str]]:
    """File and name of each definition that a commit changes, adds or removes."""
    files = git("diff-tree", "-r", "--no-commit-id", "--name-only", commit, "--", CODE)
    for file in files.split():
        if file.endswith(".py"):
            before, after = shown(f"{commit}~", file), shown(commit, file)
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name):
                    yield file, name


def now(today: dict[str, dict[str, str]], file: str, name: str) -> set[str]:
    """The files that define a name today."""
    if name in today.get(file, {}):
        return {file}
    return {path for path, of_file in today.items() if name != REST and name in of_file}


def shown(commit: str, file: str) -> dict[str, str]:
    """The parts of a file at a commit; {} if it is not there."""
    try:
        return parts(git("show", f"{commit}:{file}"))
    except subprocess.CalledProcessError:
        return {}


def parts(source: str) -> dict[str, str]:
    """Name of each definition at the top of a module -> its syntax tree, without docstrings."""
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        name = REST
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        for inner in ast.walk(node):
            body = getattr(inner, "body", None)
            if isinstance(body, list) and body and _is_text(body[0]):
                inner.body = body[1:]  # type: ignore[attr-defined]
        if not _is_text(node):
            found[name] = found.get(name, "") + ast.dump(node)
    return found


def _is_text(node: ast.AST) -> bool:
    """True for a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def git(*arguments: str) -> str:
    """Output of git; CalledProcessError if it fails."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
