"""Random sequences of steps by two people (world.py); after each step, what is called current must
be right.

    python tests/support/sequences.py 17                              sequence 17, step by step
    python tests/support/sequences.py "ann edit scale 1; ann touch"   these steps

Steps do not depend on each other: one that does not apply (no branch of that name, nothing to
commit) does nothing, so any of them can be left out.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from project import add_remote, make_toy
from warm import warm
from world import PEOPLE, PHASES, SLOTS, World, Wrong

SIDES = ("ours", "theirs")
BRANCHES = ("main", "x", "y")


def draw(seed: int, length: int = 9) -> list[str]:
    """Steps of a sequence. Most are what people do every day; a step comes with what makes it
    matter.
    """
    r = random.Random(seed)

    def edit() -> str:
        if r.random() < 0.1:
            return f"weights {r.randrange(256)} {r.choice(['head', 'tail'])}"
        name = r.choice(list(SLOTS))
        return f"edit {name} {r.randrange(len(SLOTS[name][1]))}"

    def other() -> str:
        return r.choice([*BRANCHES, *(f"origin/{b}" for b in BRANCHES)])

    phrases: list[tuple[int, Callable[[], list[str]]]] = [
        (8, lambda: [edit(), "run", "save"]),
        (4, lambda: [edit(), "save"]),
        (3, lambda: [edit()]),
        (3, lambda: ["run"]),
        (5, lambda: ["push"]),
        (6, lambda: ["save", f"fetch {r.choice(BRANCHES)} {r.choice(SIDES)}"]),
        (4, lambda: ["save", f"branch {r.choice(BRANCHES)}"]),
        (4, lambda: ["save", f"merge {other()} {r.choice(SIDES)}"]),
        (2, lambda: ["save", f"merge {other()} all-{r.choice(SIDES)}"]),
        (1, lambda: ["save", f"octopus {other()} {other()}"]),
        (3, lambda: ["save", f"rebase {other()} {r.choice(SIDES)}"]),
        (3, lambda: ["save", f"pick {other()} {r.choice(SIDES)}"]),
        (3, lambda: ["save", f"revert {r.randrange(2)} {r.choice(SIDES)}"]),
        (2, lambda: ["save", f"old {1 + r.randrange(2)}"]),
        (2, lambda: [edit(), "stash"]),
        (1, lambda: [edit(), "run", "stash"]),
        (2, lambda: [f"unstash {r.choice(SIDES)}"]),
        (2, lambda: [edit(), r.choice(["touch", "touch --forceall"]), "record"]),
        (2, lambda: [edit(), f"part {r.choice(list(PHASES))}"]),
        (2, lambda: [edit(), "repro"]),
        (
            2,
            lambda: [
                f"spoil {r.randrange(11)} {r.choice(['quietly', 'openly'])}",
                *r.choice([["record"], ["run"], []]),
            ],
        ),
        (2, lambda: [f"lose {r.randrange(11)}"]),
        (2, lambda: ["pull"]),
        (1, lambda: ["forget"]),
        (1, lambda: ["record"]),
        (2, lambda: [f"uncertify {r.randrange(12)}", *r.choice([["record"], ["run"], []])]),
        (2, lambda: [f"sneak {r.choice(list(SLOTS))} {r.randrange(4)}", *r.choice([["run"], []])]),
        (2, lambda: [f"future {r.choice(list(SLOTS))}", *r.choice([["run"], []])]),
        (
            2,
            lambda: [
                edit(),
                f"during {r.choice(list(SLOTS))} {r.randrange(4)} "
                f"{r.choice(['edit', 'back', 'swap'])}",
                *r.choice([["run"], []]),
            ],
        ),
        (1, lambda: [r.choice(["dvc pull", "dvc checkout", "dvc push", "dvc fetch"])]),
    ]
    weights, makers = zip(*phrases, strict=True)
    steps: list[str] = []
    while len(steps) < length:
        name = r.choice(PEOPLE)
        steps += [f"{name} {step}" for step in r.choices(makers, weights)[0]()]
    return steps


# ---- how it runs


def make_start(folder: Path, bin: Path) -> None:
    """What every sequence begins with: a toy that Ann has run, recorded and shared, and that Bob
    has pulled.
    """
    first = make_toy(folder / "first")
    add_remote(first, "../store")
    subprocess.run(["git", "clone", "-q", "--bare", first.folder, folder / "hub.git"], check=True)
    shutil.rmtree(first.folder)
    world = World(folder, bin)
    for project in world.people.values():
        project.folder.parent.mkdir(exist_ok=True)
        subprocess.run(["git", "clone", "-q", folder / "hub.git", project.folder], check=True)
        project.git("remote", "set-url", "origin", "../hub.git")  # it will be copied
    for step in ("ann run", "ann save", "ann push", "bob fetch main ours"):
        world.step(step)


@contextmanager
def started(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Where every sequence begins, and the programs to run it with."""
    with warm(folder / "bin") as bin:
        (folder / "start").mkdir()
        make_start(folder / "start", bin)
        yield folder / "start", bin


def play(
    steps: list[str], start: Path, bin: Path, folder: Path, log: Callable[[str], None]
) -> None:
    """One sequence, in a copy. Wrong with its steps where something is wrong."""
    subprocess.run(["cp", "-a", str(start), str(folder)], check=True)
    world = World(folder, bin, log)
    done: list[str] = []
    try:
        for step in steps:
            done.append(step)
            world.step(step)
        world.end()
    except AssertionError as error:
        raise Wrong(f"{error}\npython {__file__} '{'; '.join(done)}'") from error
    finally:
        shutil.rmtree(folder)


def main(given: str) -> None:
    steps = draw(int(given)) if given.isdecimal() else [step.strip() for step in given.split(";")]
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as (start, bin):
        play(steps, start, bin, Path(folder) / "world", print)


if __name__ == "__main__":
    main(sys.argv[1])
