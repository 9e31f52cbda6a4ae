"""Artefacts: the same bytes everywhere, whole or not at all, and one clear line where that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from coder_clip.errors import UserError
from coder_clip.foundation import artifacts
from coder_clip.foundation.artifacts import Paths

TABLE = pd.DataFrame({"image_id": ["b", "ä"], "label": [1, 0], "score1": [0.5, float("nan")]})


def test_no_library_signs_what_it_writes(tmp_path: Path) -> None:
    """A new version would change the bytes of results that it did not change."""
    import pyarrow.parquet

    artifacts.write_parquet(tmp_path / "t.parquet", TABLE)
    data = (tmp_path / "t.parquet").read_bytes()
    assert not any(name in data for name in (b"arrow", b"pandas", b"version"))
    found = pyarrow.parquet.ParquetFile(tmp_path / "t.parquet").metadata
    assert (found.created_by, found.metadata, found.num_rows) == ("", None, len(TABLE))
    pd.testing.assert_frame_equal(artifacts.read_parquet(tmp_path / "t.parquet"), TABLE)


def test_documents_hold_no_digit_that_libraries_round_in_two_ways(tmp_path: Path) -> None:
    for name, p in (("a", 0.1 + 0.2), ("b", 0.3)):
        artifacts.write_json(
            tmp_path / name,
            {
                "p": [p, {"q": p * 1e-12}],
                "n": 123456789012,
                "d": (0.123456789, 0.1 + 0.2),
                "yes": True,
            },
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert artifacts.read_json(tmp_path / "a") == {
        "p": [0.3, {"q": 3e-13}],
        "n": 123456789012,
        "d": [0.123456789, 0.3],
        "yes": True,
    }


def test_what_was_written_is_read(tmp_path: Path) -> None:
    artifacts.write_tensors(
        tmp_path / "t.safetensors", {"x": torch.arange(4).view(2, 2).T}, {"ids": ["ä"]}
    )
    tensors, meta = artifacts.read_tensors(tmp_path / "t.safetensors")
    assert tensors["x"].tolist() == [[0, 2], [1, 3]]
    assert meta == {"ids": ["ä"]}
    artifacts.write_parquet(tmp_path / "t.parquet", TABLE)
    pd.testing.assert_frame_equal(artifacts.read_parquet(tmp_path / "t.parquet"), TABLE)
    artifacts.write_json(tmp_path / "t.json", {"a": "ä"})
    assert artifacts.read_json(tmp_path / "t.json") == {"a": "ä"}


def test_files_can_be_read_by_colleagues(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        artifacts.write_json(tmp_path / "t.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "t.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("what", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, what: type[BaseException]
) -> None:
    target = tmp_path / "t.json"
    target.write_text("old")
    with pytest.raises(what), artifacts.atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise what
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("t.json", "old")]


def test_a_kill_leaves_no_half_file_and_the_next_run_clears_up(tmp_path: Path) -> None:
    """The next phase would read half a file; and stray files would be shared with colleagues."""
    target = tmp_path / "t.safetensors"
    code = """
import sys, time
from coder_clip.foundation.artifacts import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not target.exists()
    artifacts.write_bytes(target, b"whole")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("t.safetensors", b"whole")]


def test_two_processes_may_write_the_same_file(tmp_path: Path) -> None:
    """One would sweep up what the other is writing, and that one would fail."""
    target = tmp_path / "t.json"
    code = """
import sys
from coder_clip.foundation.artifacts import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("theirs")
    print("writing", flush=True)
    sys.stdin.readline()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(target)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    artifacts.write_bytes(target, b"ours")
    assert target.read_text() == "ours"
    child.communicate("go on\n")
    assert child.returncode == 0
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("t.json", "theirs")]


def test_a_reader_sees_the_old_or_the_new_file(tmp_path: Path) -> None:
    target = tmp_path / "t.txt"
    target.write_text("old")
    with artifacts.atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_nan_in_documents(tmp_path: Path, value: float) -> None:
    """Other JSON readers refuse the whole file."""
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write_json(tmp_path / "t.json", {"accuracy": value})
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write_tensors(tmp_path / "t.safetensors", {}, {"accuracy": value})
    assert not list(tmp_path.iterdir())


def write_each(folder: Path) -> list[tuple[str, object]]:
    return [
        ("json", lambda: artifacts.write_json(folder / "t.json", list(range(100_000)))),
        ("parquet", lambda: artifacts.write_parquet(folder / "t.parquet", pd.DataFrame({"x": torch.rand(100_000)}))),
        ("safetensors", lambda: artifacts.write_tensors(folder / "t.safetensors", {"x": torch.rand(100_000)}, {})),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", range(3), ids=["json", "parquet", "safetensors"])
def test_a_target_that_cannot_be_written_is_named(tmp_path: Path, kind: int) -> None:
    """Root may write everywhere, so a file stands where a folder must be."""
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*results/sub/t\..*; check permissions"):
        write_each(tmp_path / "results/sub")[kind][1]()  # type: ignore[operator]
    assert [p.name for p in tmp_path.iterdir()] == ["results"]


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.json").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*t\.json"):
        artifacts.write_json(tmp_path / "t.json", {})
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a full disk needs a mount command")
    if done.returncode:
        pytest.skip(f"a full disk needs the right to mount: {done.stderr.strip()}")
    yield folder
    for _ in range(50):
        if subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0:
            break
        time.sleep(0.1)


@pytest.mark.parametrize("kind", range(3), ids=["json", "parquet", "safetensors"])
def test_a_full_disk_is_named_and_nothing_is_left(tiny_disk: Path, kind: int) -> None:
    with pytest.raises(
        UserError, match=r"cannot write .*t\..*: No space left on device; check .*free space"
    ):
        write_each(tiny_disk)[kind][1]()  # type: ignore[operator]
    assert not list(tiny_disk.iterdir())


# ---- reading ---

READERS = [artifacts.read_json, artifacts.read_parquet, artifacts.read_tensors]
NAMES = ["t.json", "t.parquet", "t.safetensors"]


@pytest.mark.parametrize("kind", range(3), ids=NAMES)
@pytest.mark.parametrize("keep", [0, 1, 7, 20, -1])
def test_a_truncated_file_is_named_with_what_to_do(tmp_path: Path, kind: int, keep: int) -> None:
    """A copy that broke off would end in a traceback of another library."""
    path = tmp_path / NAMES[kind]
    write_each(tmp_path)[kind][1]()  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[: keep if keep >= 0 else -2])
    with pytest.raises(UserError, match=rf"{path.name}.*run again") as caught:
        READERS[kind](path)  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", range(3), ids=NAMES)
def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path, kind: int) -> None:
    with pytest.raises(
        UserError,
        match=rf"{NAMES[kind]} is missing; 'snakemake .*{NAMES[kind]} --configfile FILE' ",
    ):
        READERS[kind](tmp_path / NAMES[kind])  # type: ignore[operator]


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_another_type_where_an_object_belongs_is_named(tmp_path: Path, text: str) -> None:
    from safetensors.torch import save

    (tmp_path / "t.json").write_text(text)
    (tmp_path / "t.safetensors").write_bytes(save({"x": torch.zeros(1)}, {"coder_clip": text}))
    for read, name in ((artifacts.read_json, "t.json"), (artifacts.read_metadata, "t.safetensors")):
        with pytest.raises(UserError, match=rf"{name} .*it must hold an object.*run again"):
            read(tmp_path / name)


def test_what_a_file_lacks_is_named(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "t.json", {"a": 1})
    document = artifacts.read_json(tmp_path / "t.json")
    artifacts.write_tensors(tmp_path / "t.safetensors", {"x": torch.zeros(1)}, {"a": 1})
    tensors, metadata = artifacts.read_tensors(tmp_path / "t.safetensors")
    for lacks, name in (
        (document, "t.json"),
        (tensors, "t.saf"),
        (metadata, "t.saf"),
    ):
        assert lacks.get("c") is None
        with pytest.raises(
            UserError, match=rf"{name}.* has no 'c'; delete or restore it and run again"
        ):
            lacks["c"]
    artifacts.write_parquet(tmp_path / "t.parquet", TABLE)
    with pytest.raises(UserError, match=r"t\.parquet .*nowhere.*run again"):
        artifacts.read_parquet(tmp_path / "t.parquet", ["nowhere"])


def test_documents_name_what_they_were_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No machine's paths: the same documents everywhere."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    made = artifacts.made_by("coder-clip zero-shot", [tmp_path / "in/x.json"])
    assert made["inputs"] == {"in/x.json": artifacts.sha256(tmp_path / "in/x.json")}
    monkeypatch.chdir(tmp_path / "in")
    elsewhere = artifacts.made_by("coder-clip zero-shot", [tmp_path / "in/x.json"])
    assert list(elsewhere["inputs"]) == ["x.json"]


def test_paths_are_those_of_the_documentation(repo: Path) -> None:
    """Colleagues look for files where docs/artifacts.md says."""
    told = (repo / "docs/artifacts.md").read_text(encoding="utf-8")
    p = Paths("")
    for path in (
        p.texts("{dataset}"),
        p.image_features("{model}", "{dataset}", "{split}"),
        p.text_features("{model}", "{dataset}"),
        p.coder("{model}", "{dataset}"),
        p.zero_shot("{model}", "{dataset}"),
        p.one_to_one_texts("{dataset}"),
        p.one_to_one("{model}", "{dataset}"),
        p.rerank("{model}", "{dataset}"),
        p.adapter("{model}", "{dataset}", "{shots}"),
        p.evaluation("{model}", "{dataset}").with_suffix(".json"),
        p.report,
        p.metrics,
    ):
        assert f"`{path}`" in told, path
