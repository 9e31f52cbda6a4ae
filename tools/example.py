"""Run a script in cells as a page: text, code, and what the code printed and drew.

A line `# %% [markdown]` begins a cell of text, `# %%` one of code, as editors know them.
`# %% [data]` begins code that opens files which are not in the repository. Where they are not here
(UserError), the page shows the code alone and says so. The name of a figure is its text for readers
who cannot see it.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

# said below the code that opens them
ABSENT = (
    "This page was built without these files, so it shows no output; `make true-clip` fetches them."
)
CELL = re.compile(r"^# %%(?: \[(markdown|data)\])?\n", flags=re.M)


def page_of(script: Path) -> tuple[str, dict[str, bytes]]:
    """The page in Markdown, and its pictures: name -> PNG.

    The script runs in this process and folder. An exception of it ends the build.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from coder_clip.errors import UserError

    _, *parts = CELL.split(script.read_text(encoding="utf-8"))
    lines: list[str] = []
    pictures: dict[str, bytes] = {}
    names: dict[str, Any] = {"__name__": "__main__"}
    runs = True
    for kind, cell in zip(parts[::2], parts[1::2], strict=True):
        if kind == "markdown":
            lines += [line.removeprefix("#").removeprefix(" ") for line in cell.splitlines()]
            continue
        lines += ["```python", cell.strip(), "```", ""]
        said = io.StringIO()
        if not runs:
            continue
        try:
            with contextlib.redirect_stdout(said):
                exec(compile(cell, str(script), "exec"), names)
        except UserError as error:
            if kind != "data":
                raise
            runs = False
            lines += [f"**{ABSENT}** ({error})", ""]
            continue
        if said.getvalue():
            lines += ["```text", said.getvalue().strip(), "```", ""]
        for number in plt.get_fignums():
            drawn = io.BytesIO()
            figure = plt.figure(number)
            figure.savefig(drawn, format="png", bbox_inches="tight")
            name = f"{script.stem}-{len(pictures) + 1}.png"
            pictures[name] = drawn.getvalue()
            lines += [f"![{figure.get_label()}]({name})", ""]
        plt.close("all")
    return "\n".join(lines), pictures
