"""Files of the executor that somebody or a kill has damaged, and names that nobody expects.

A run reads all that is still good, and none of it ends in a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import heads, journal, submit
from snakemake_executor_plugin_slurm_resilient.journal import Entry, Journal, Tries

KEYS = ("0123456789ab", "ba908a8b75ea")
FIRST = Entry(KEYS[0], "fit", {"a ä.txt": "x"}, {"in": "1 2"}, {"mem_mb": 5}, tries=Tries(2, 1))
SECOND = Entry(KEYS[1], "fit", {"b.txt": "x"}, {}, {})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def noted(path: Path) -> bytes:
    """A journal of two submissions, the first of which has a number and has ended."""
    file = Journal(path)
    file.intend(FIRST)
    file.note(KEYS[0], id="12", log="logs/12.log")
    file.intend(SECOND)
    file.note(KEYS[0], settled="made")
    return path.read_bytes()


def test_a_journal_that_a_kill_cut_off_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole lines count, and what is noted later is not glued to half a line."""
    path = folder / "head.jsonl"
    text = noted(path)
    ends = [i + 1 for i, byte in enumerate(text) if byte == ord("\n")]
    # each note waits for the disk, which a test of what is read need not
    monkeypatch.setattr("os.fsync", lambda _: None)
    for size in range(len(text)):
        path.write_bytes(text[:size])
        # a line without its end is whole, too
        lines = sum(end - 1 <= size for end in ends)
        found = {e.key: e for e in Journal(path).read()}
        assert len(found) == (lines > 0) + (lines > 2)
        if lines > 1:
            assert found[KEYS[0]].id == "12"
        Journal(path).intend(SECOND)
        Journal(path).note(KEYS[1], id="13")
        assert {e.key: e.id for e in Journal(path).read()}[KEYS[1]] == "13"


LINES: tuple[Any, ...] = (
    *(b"\xff\xfe\x00garbage", b"{}", b"[]", b"[1, 2]", b'"rule"', b"5", b"null", b"{" * 5),
    b"[" * 100_000,
    {"key": KEYS[0], "id": 5},
    {"key": KEYS[0], "id": "--help"},
    {"key": KEYS[0], "frob": "x"},
    {"key": KEYS[0], "makes": []},
    {"key": KEYS[0], "asked": None},
    {"key": KEYS[0], "tries": {"memory": "x", "time": 1}},
    {"key": KEYS[0], "tries": 5},
    {"key": ["a"], "id": "12"},
    {"key": "unknown", "id": "12"},
    {"key": "../../../../etc/passwd", "rule": "a", "makes": {}, "inputs": {}, "asked": {}},
    {"rule": "a"},
    {"rule": 5, "key": KEYS[1], "makes": {}, "inputs": {}, "asked": {}, "tries": {}},
)


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_no_head_has_written_is_skipped(folder: Path, line: Any) -> None:
    path = folder / "head.jsonl"
    text = noted(path)
    if not isinstance(line, bytes):
        line = json.dumps(line).encode()
    path.write_bytes(line + b"\n" + text + line + b"\n")
    found = {e.key: e for e in Journal(path).read()}
    assert found.keys() == set(KEYS)
    assert (found[KEYS[0]].id, found[KEYS[0]].settled) == ("12", "made")
    assert found[KEYS[0]].makes == FIRST.makes


def test_what_is_no_file_is_no_journal(folder: Path) -> None:
    (folder / journal.FOLDER / "folder.jsonl").mkdir(parents=True)
    os.mkfifo(folder / journal.FOLDER / "pipe.jsonl")
    noted(folder / journal.FOLDER / "head.jsonl")
    assert [e.key for file in journal.journals() for e in file.read()] == list(KEYS)
    Journal(folder / journal.FOLDER / "pipe.jsonl").shrink()
    assert (folder / journal.FOLDER / "pipe.jsonl").is_file()


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"never\n", b"--help\n", "٣\n".encode(), b"1 2"]
)
def test_a_start_that_no_job_has_written_is_none(folder: Path, text: bytes) -> None:
    (folder / journal.STARTS).mkdir(parents=True)
    (folder / journal.STARTS / KEYS[0]).write_bytes(text)
    assert journal.first_to_start(KEYS[0]) == ""
    (folder / journal.STARTS / KEYS[1]).mkdir()
    assert journal.first_to_start(KEYS[1]) == ""
    Journal(folder / "head.jsonl").settle(KEYS[1], "failed")


@pytest.mark.parametrize(
    "text",
    [
        *(b"\xff", b"[1]", b"5", b'"text"', b"{}", b"null", b"[" * 100_000),
        b'{"host": "login-2"}',
        b'{"host": "x", "pid": "1", "job": "", "since": "", "locks": 5}',
    ],
)
def test_a_record_that_no_head_has_written_is_none(folder: Path, text: bytes) -> None:
    """Its lock still says whether its head is alive."""
    (folder / heads.FOLDER).mkdir(parents=True)
    (folder / heads.FOLDER / "other.json").write_bytes(text)
    assert not heads.alive("other")
    (folder / heads.FOLDER / "folder.json").mkdir()
    assert not heads.alive("folder")


def job(*wildcards: str, group: str = "") -> Any:
    return SimpleNamespace(name=group or "fit", wildcards=wildcards, is_group=lambda: bool(group))


@pytest.mark.parametrize(
    ("wildcards", "name"),
    [
        (("a", "b"), "a_b"),
        (("a/b c",), "a_b c"),
        (("grün-日本",), "grün-日本"),
        (("50%j",), "50%j"),
        (("a\\b\nc",), "a_b_c"),
    ],
)
def test_the_folder_of_a_log(wildcards: tuple[str, ...], name: str) -> None:
    assert submit.what(job(*wildcards)) == ("rule_fit", name)
    assert submit.what(job(group="/".join(wildcards)))[0] == f"group_{name}"


def test_the_folder_of_a_log_is_no_longer_than_a_name_can_be() -> None:
    """A job with many wildcards failed: File name too long. Two of them do not share a folder."""
    _, one = submit.what(job("ä" * 200, "1"))
    _, other = submit.what(job("ä" * 200, "2"))
    assert one != other
    assert max(len(os.fsencode(name)) for name in (one, other)) <= 255
    _, odd = submit.what(job(os.fsdecode(b"\xff" * 300)))
    assert len(os.fsencode(odd)) <= 255


def test_slurm_replaces_nothing_in_the_folder_of_a_log() -> None:
    assert submit.log_option(Path("100%u/%j/12.log")) == "100%%u/%%j/%j.log"


def test_the_comment_of_a_job_is_one_word_and_its_key() -> None:
    """A line break would end the job's row in the queue before its key."""
    assert submit.comment("rule_fit", "a b\nc", KEYS[0]) == f"rule_fit_wildcards_a_b_c {KEYS[0]}"
    assert submit.comment("rule_fit", "", KEYS[0]) == f"rule_fit {KEYS[0]}"
