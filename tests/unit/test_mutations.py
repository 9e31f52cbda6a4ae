"""The list of deliberate bugs of benchmarks/mutations.py stays in step with the source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.mutations import PHASES, Mutation, Number, Outcome, furthest, mutations, numbers


@pytest.mark.parametrize("m", mutations(), ids=lambda m: m.name)
def test_every_bug_can_be_put_in(m: Mutation, repo: Path) -> None:
    """An edited line would take its bug out of the benchmark."""
    text = (repo / "src/coder_clip" / m.file).read_text(encoding="utf-8")
    assert text.count(m.old) == 1
    compile(text.replace(m.old, m.new), m.file, "exec")
    assert m.tests
    assert all((repo / "tests/unit" / file).is_file() for file in m.tests)
    assert m.phases
    assert set(m.phases) <= set(PHASES)


def test_there_are_enough_bugs_and_no_two_of_a_name() -> None:
    names = [m.name for m in mutations()]
    assert len(names) == len(set(names)) >= 15


def test_a_bug_whose_line_is_gone_stops_the_benchmark(tmp_path: Path) -> None:
    (tmp_path / "coder_clip").mkdir()
    (tmp_path / "coder_clip/a.py").write_text("x = 1\ny = 1\n")
    bug = Mutation("n", "b", "a.py", "= 1", "= 2", [], [])
    with pytest.raises(SystemExit, match="2 times"):
        bug.apply(tmp_path)
    Mutation("n", "b", "a.py", "x = 1", "x = 2", [], []).apply(tmp_path)
    assert (tmp_path / "coder_clip/a.py").read_text() == "x = 2\ny = 1\n"


def test_a_number_has_to_leave_its_interval() -> None:
    wide, narrow, flat = Number(0.5, 0.4, 0.6), Number(0.5, 0.49, 0.51), Number(0.0, 0.0, 0.0)
    recorded = {("a",): wide, ("b",): narrow, ("c",): flat, ("methods", "d"): narrow}
    same = dict(recorded)
    assert furthest(recorded, same) is None
    assert furthest(recorded, same | {("a",): Number(0.6, 0.5, 0.7), ("c",): Number(0.3, 0.2, 0.4)}) is None
    near = same | {("a",): Number(0.59, 0.5, 0.7), ("b",): Number(0.48, 0.4, 0.5)}
    assert furthest(recorded, near) == "b: 50.0 [49.0, 51.0] → 48.0"
    far = near | {("a",): Number(0.3, 0.2, 0.4)}
    assert furthest(recorded, far) == "a: 50.0 [40.0, 60.0] → 30.0"
    shown = far | {("methods", "d"): Number(0.52, 0.5, 0.6)}
    assert furthest(recorded, shown) == "d: 50.0 [49.0, 51.0] → 52.0"


def test_a_bug_survives_that_nobody_notices_or_that_is_excused_wrongly() -> None:
    bug = Mutation("n", "b", "a.py", "x", "y", [], [])
    excused = Mutation("n", "b", "a.py", "x", "y", [], [], unmoved="the default has none of these")
    assert Outcome("t", "a: 1 → 2").survives(bug) is None
    assert Outcome("t", None).survives(excused) is None
    assert Outcome(None, "a: 1 → 2").survives(bug) == "no unit test fails"
    assert Outcome("t", None).survives(bug) == "no number leaves its interval"
    assert Outcome("t", "a: 1 → 2").survives(excused) == "'unmoved' is wrong: a: 1 → 2"


def test_numbers_are_found_by_what_they_are_of(tmp_path: Path) -> None:
    e = {"value": 0.5, "low": 0.4, "high": 0.6}
    document = {
        "dataset": "d",
        "model": "m",
        "classes": ["a", "b"],
        "methods": [
            {"method": "coder", "setting": "clean", "accuracy": e, "against_clip": {"difference": e}},
            {"method": "clip", "setting": "any", "accuracy": e, "against_clip": None},
        ],
    }
    (tmp_path / "zero_shot/m").mkdir(parents=True)
    (tmp_path / "zero_shot/m/d.json").write_text(json.dumps(document))
    assert set(numbers(tmp_path)) == {
        ("zero_shot", "d", "m", "methods", "coder", "clean", "accuracy"),
        ("zero_shot", "d", "m", "methods", "coder", "clean", "against_clip", "difference"),
        ("zero_shot", "d", "m", "methods", "clip", "any", "accuracy"),
    }
