"""More code than the limit ends ``make check``; denser lines do not lower the count."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import weight


def test_dense_code_weighs_as_much_as_plain_code() -> None:
    plain = "if a:\n    b = 1  # why\n"
    assert weight.nodes(plain) == weight.nodes("if a: b=1") == 6


@pytest.mark.parametrize(("limit", "status"), [(6, 0), (5, 1)])
def test_a_sum_above_its_limit_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: int,
    status: int,
) -> None:
    for name in ("src/coder_clip/a/b.py", "tests/test_b.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("if a:\n    b = 1\n")
    (tmp_path / "pyproject.toml").write_text(f"[tool.weight]\ncode = {limit}\ntests = 6\n")
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, check=True)
    assert weight.main() == status
    printed = capsys.readouterr()
    assert "6  coder_clip/a" in printed.out
    assert ("more code than" in printed.err) == bool(status)
