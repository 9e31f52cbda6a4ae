"""Scripts in cells as pages of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.errors import UserError
from tools.example import ABSENT, page_of

HEAD = "# %% [markdown]\n# # Title\n#\n# Words.\n\n# %%\nfrom coder_clip.errors import UserError\n"


def page(folder: Path, cells: str) -> tuple[str, dict[str, bytes]]:
    (folder / "script.py").write_text(f"{HEAD}\n{cells}")
    return page_of(folder / "script.py")


def test_a_page_has_text_code_output_and_pictures(tmp_path: Path) -> None:
    drawing = "import matplotlib.pyplot as plt\nplt.figure('A line')\nplt.plot([1, 2])\n"
    text, pictures = page(tmp_path, f"# %%\nprint(6 * 7)\n\n# %%\n{drawing}")
    assert text.startswith("# Title\n\nWords.\n")
    assert "```python\nprint(6 * 7)\n```\n\n```text\n42\n```" in text
    assert "![A line](script-1.png)" in text
    assert pictures["script-1.png"].startswith(b"\x89PNG")


def test_only_absent_data_ends_a_page_early(tmp_path: Path) -> None:
    """Published features are not in the repository, and the site is built all the same; with any
    other error a page would be shown as if its data were missing.
    """
    text, _ = page(tmp_path, "# %% [data]\nraise UserError('no file x')\n\n# %%\nprint(6 * 7)\n")
    assert f"**{ABSENT}** (no file x)" in text
    assert "print(6 * 7)" in text
    assert "42" not in text
    with pytest.raises(UserError):
        page(tmp_path, "# %%\nraise UserError('no file x')\n")
    with pytest.raises(ZeroDivisionError):
        page(tmp_path, "# %% [data]\n1 / 0\n")
