"""A table as files: CSV, Markdown, LaTeX."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from ..errors import one_line
from ..foundation import terminal
from ..foundation.artifacts import write_text
from .parts.table import Cell, Table

LONG = 45  # rows; a longer LaTeX table breaks over pages
ONE_LINE = 3000  # letters; TeX sets a caption in one line of at most 16,383 points, to measure it


def write(table: Table, stem: str | Path) -> None:
    """Write ``stem``.csv (full precision), .md (rounded) and .tex (booktabs)."""
    stem = Path(stem)
    write_text(
        stem.with_name(f"{stem.name}.csv"), table.frame.to_csv(index=False, lineterminator="\n")
    )
    write_text(stem.with_name(f"{stem.name}.md"), markdown(table))
    write_text(stem.with_name(f"{stem.name}.tex"), latex(table, stem.name))


def markdown(table: Table) -> str:
    """A pipe table below its title; text cannot break out of a cell or be read as markup."""

    def cell(c: Cell) -> str:
        if c.bold:
            return f"**{_md(c.text)}**"
        return _md(c.text)

    lines = [f"**{_md(table.title)}.** {_md(table.caption)}", ""]
    lines.append("| " + " | ".join(_md(c.label) for c in table.columns) + " |")
    rules = {True: "---:", False: "---"}
    lines.append("| " + " | ".join(rules[c.numeric] for c in table.columns) + " |")
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in table.rows]
    if not table.rows:
        lines = lines[:1]
    lines += [line for note in table.notes for line in ("", _md(note))]
    return "\n".join(lines) + "\n"


def plain(text: str, width: int = 100) -> str:
    """A table as `markdown` wrote it, for a terminal: aligned columns, nothing escaped."""
    lines = text.strip().splitlines()
    # cells between bars; an escaped bar is text
    grid = [[c.strip() for c in _BAR.split(line)[1:-1]] for line in lines if line.startswith("|")]
    # the title and the notes
    texts = [
        textwrap.fill(_unescape(line), width) for line in lines if line and not line.startswith("|")
    ]
    if not grid:
        return "\n\n".join(texts)
    (head, rule), rows = grid[:2], grid[2:]
    # (row, column) of the bold cells
    bold = [(r, i) for r, row in enumerate(rows) for i, c in enumerate(row) if c.startswith("**")]
    shown = terminal.table(
        [_unescape(c) for c in head],
        [[_unescape(c) for c in row] for row in rows],
        right=[i for i, c in enumerate(rule) if c.endswith(":")],
        bold=bold,
    )
    return "\n\n".join([texts[0], "\n".join(shown), *texts[1:]])


def _unescape(markdown: str) -> str:
    """The inverse of `_md`, without the marks of bold text."""
    return re.sub(r"\\([\\`*_{}\[\]<>#|~$&])", r"\1", markdown.replace("**", ""))


def latex(table: Table, name: str) -> str:
    """A booktabs table to ``\\input``, labelled ``tab:NAME``.

    A long one is a longtable, which breaks over pages.
    """

    # A longtable cannot be inside a table environment, and needs the head to repeat on each page.
    # So short and long tables share the rows and differ in the lines around them.
    def cell(c: Cell) -> str:
        if c.bold:
            return rf"\textbf{{{_tex(c.text)}}}"
        return _tex(c.text)

    spec = "".join({True: "r", False: "l"}[c.numeric] for c in table.columns)
    head = " & ".join(_tex(c.label) for c in table.columns) + r" \\"
    about = _tex(" ".join([f"{table.title}.", table.caption, *table.notes]))
    if len(about) > ONE_LINE:
        about = rf"\parbox{{\hsize}}{{{about}}}"
    caption = rf"\caption{{{about}}}\label{{tab:{name}}}"
    body = []
    for row, starts_group in zip(table.rows, table.groups(), strict=True):
        if starts_group:
            body.append(r"\addlinespace")
        body.append(" & ".join(map(cell, row)) + r" \\")
    if len(table.rows) > LONG:
        needs = r"% \usepackage{booktabs,longtable}"
        top = [rf"\begin{{longtable}}{{{spec}}}", caption + r" \\", r"\toprule", head, r"\midrule"]
        top += [
            r"\endfirsthead",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
        ]
        lines = [
            needs,
            r"{\footnotesize\setlength{\tabcolsep}{4pt}",
            *top,
            *body,
            r"\end{longtable}",
            "}",
        ]
    else:
        needs = r"% \usepackage{booktabs}"
        top = [
            r"\begin{table}",
            r"\centering",
            caption,
            r"\footnotesize",
            r"\setlength{\tabcolsep}{4pt}",
        ]
        top += [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule"]
        lines = [needs, *top, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


# a bar that ends a cell, not an escaped one
_BAR = re.compile(r"(?<!\\)\|")
_MD = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_TEX = {
    **{c: f"\\{c}" for c in "{}$&%#_"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after \\ a bare [ would be a length
    "]": "{]}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    '"': "''",  # OT1 has no straight double quote
}


def _md(text: str) -> str:
    """Escape Markdown's characters where they would be read as markup."""
    escaped = _MD.sub(r"\\\1", one_line(text, None))
    # a bracket means nothing unless "(" follows, an underscore nothing inside a word
    escaped = re.sub(r"\\([\[\]])(?!\()", r"\1", escaped)
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", escaped)


def _tex(text: str) -> str:
    """Escape LaTeX's characters; a character without a glyph in pdfLaTeX becomes its code point."""

    def shown(c: str) -> str:
        """A character as LaTeX shows it; its code in brackets if the font has no glyph."""
        if c in _TEX:
            return _TEX[c]
        has_glyph = c.isascii() or "À" <= c <= "ÿ"
        if has_glyph:
            return c
        return f"{{[}}U+{ord(c):04X}{{]}}"

    return "".join(map(shown, one_line(text, None)))
