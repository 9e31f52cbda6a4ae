"""Run a script in cells as a page: text, code, and what the code printed and drew.

A line `# %% [markdown]` begins a cell of text, `# %%` one of code, as editors know them.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

CELL = re.compile(r"^# %%( \[markdown\])?\n", flags=re.M)


def page_of(script: Path) -> tuple[str, dict[str, bytes]]:
    """The page in Markdown, and its pictures: name -> PNG.

    The script runs in this process and folder. An exception of it ends the build.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    _, *parts = CELL.split(script.read_text(encoding="utf-8"))
    lines: list[str] = []
    pictures: dict[str, bytes] = {}
    names: dict[str, Any] = {"__name__": "__main__"}
    for is_text, cell in zip(parts[::2], parts[1::2], strict=True):
        if is_text:
            lines += [line.removeprefix("#").removeprefix(" ") for line in cell.splitlines()]
            continue
        lines += ["```python", cell.strip(), "```", ""]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(cell, str(script), "exec"), names)
        if said.getvalue():
            lines += ["```text", said.getvalue().strip(), "```", ""]
        for number in plt.get_fignums():
            drawn = io.BytesIO()
            plt.figure(number).savefig(drawn, format="png", bbox_inches="tight")
            name = f"{script.stem}-{len(pictures) + 1}.png"
            pictures[name] = drawn.getvalue()
            lines += [f"![What the code above draws]({name})", ""]
        plt.close("all")
    return "\n".join(lines), pictures
