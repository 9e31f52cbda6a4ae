"""Measure how well the code reads: ``python -m tools.reading``, a part of ``make check``.

Prints a table of the rooms, and a line for each place over a limit; exit status 1 if there is one.

Limits of a room: conditional expressions per 1,000 lines, and the share of docstrings whose first
paragraph needs more than a line. Limits of a place: lines of a file and of a function, complexity
of a function. Debris is what an automatic change of the width leaves behind: a docstring whose
first paragraph ends on one or two words, a string that ends early although the next word fits on
its line, and a literal in a literal (``*("a", "b")``), which outwits the formatter. A test whose
name is too short to be a sentence needs a docstring.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

WIDTH = 100
CONDITIONALS = 10  # per 1,000 lines of a room
LONG = 0.10  # share of a room's docstrings whose first paragraph needs more than a line
FEWEST = 200  # lines of a room from which on its shares say something
FILE_LINES, FUNCTION_LINES, COMPLEXITY = 600, 80, 20
NAME = 4  # words of a test's name from which on it says what users have
ROOTS = ("src", "packages", "tools", "benchmarks", "tests")

Function = ast.FunctionDef | ast.AsyncFunctionDef
LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
BRANCHES = (ast.If, ast.IfExp, ast.ExceptHandler, ast.Assert, ast.match_case)


def main() -> int:
    """Print the table and the places; 1 if there are any."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    found = []
    for path in sorted(p for root in ROOTS for p in Path(root).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if "tests" in path.parts:
            found += [f"{path}:{line}: {what}" for line, what in unclear_tests(tree)]
            continue
        counts[room(path)] += room_counts(text, tree)
        found += [f"{path}:{line}: {what}" for line, what in places(text, tree)]
    print(f"{'room':42} {'lines':>6} {'conditionals':>12} {'long':>6}")
    for name, count in sorted(counts.items()):
        conditionals = 1000 * count["conditionals"] / count["lines"]
        long = count["long"] / max(1, count["docstrings"])
        print(f"{name:42} {count['lines']:6} {conditionals:12.1f} {long:6.0%}")
        if count["lines"] < FEWEST:
            continue
        if conditionals > CONDITIONALS:
            found.append(f"{name}: {conditionals:.1f} conditional expressions per 1,000 lines")
        if long > LONG:
            found.append(f"{name}: the first paragraph of {long:.0%} of docstrings is long")
    print(*found, sep="\n")
    return int(bool(found))


def unclear_tests(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, what is wrong) for tests that neither name nor docstring explain."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and node.name.startswith("test_"):
            words = node.name.split("_")[1:]
            if len(words) < NAME and not first_paragraph(node):
                yield node.lineno, f"{node.name} needs a docstring: what would break for a user?"


def room(path: Path) -> str:
    """A package of coder_clip, its modules at the top, another distribution, or a folder."""
    root, *folders = path.parent.parts
    if root == "src":
        return ".".join(folders[:2])
    if root == "packages":
        return folders[0]
    return root


def room_counts(text: str, tree: ast.Module) -> Counter[str]:
    """Lines, conditional expressions, docstrings, and docstrings with a long first paragraph."""
    docstrings = [first_paragraph(node) for node in ast.walk(tree)]
    return Counter(
        lines=text.count("\n"),
        conditionals=sum(isinstance(node, ast.IfExp) for node in ast.walk(tree)),
        docstrings=sum(bool(lines) for lines in docstrings),
        long=sum(len(lines) > 1 for lines in docstrings),
    )


def first_paragraph(node: ast.AST) -> list[str]:
    """The lines of the first paragraph of a node's docstring; [] if the node has none."""
    if not isinstance(node, ast.Module | ast.ClassDef | Function):
        return []
    return (ast.get_docstring(node) or "").partition("\n\n")[0].splitlines()


def places(text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, what is wrong) for each place of a file that is over a limit, or is debris."""
    if text.count("\n") > FILE_LINES:
        yield 1, f"the file has {text.count(chr(10))} lines, more than {FILE_LINES}"
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)  # a module has none
        if isinstance(node, Function):
            size = (node.end_lineno or 0) - line + 1
            if size > FUNCTION_LINES:
                yield line, f"{node.name} has {size} lines, more than {FUNCTION_LINES}"
            if complexity(node) > COMPLEXITY:
                yield line, f"{node.name} has complexity {complexity(node)}"
        paragraph = first_paragraph(node)
        if len(paragraph) > 1 and len(paragraph[-1].split()) <= 2:
            yield line, f"the first paragraph ends on {paragraph[-1].strip()!r}"
        if _literal_in_literal(node):
            yield line, "a literal in a literal"
    yield from early_ends(text)


def complexity(function: Function) -> int:
    """1 for a function, and 1 for each branch, loop, comprehension, handler and `and` or `or`."""
    nodes = list(ast.walk(function))
    operators = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    filters = sum(len(node.ifs) for node in nodes if isinstance(node, ast.comprehension))
    return 1 + sum(isinstance(node, BRANCHES + LOOPS) for node in nodes) + operators + filters


def _literal_in_literal(node: ast.AST) -> bool:
    if isinstance(node, ast.Starred):
        return isinstance(node.value, ast.Tuple | ast.List)
    if isinstance(node, ast.Dict):
        return any(
            key is None and isinstance(value, ast.Dict)
            for key, value in zip(node.keys, node.values, strict=True)
        )
    return False


def early_ends(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, what is wrong) for strings in several lines that leave room for the next word.

    Only a break between words counts: a line break of the string, or the parts of a pattern, may
    end a line anywhere.
    """
    lines = text.splitlines()
    ended: int | None = None  # the line that a string was the last on
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT):
            continue
        row = token.start[0]
        if token.type in STARTS and ended == row - 1:
            word = _word_that_fits(lines[ended - 1], lines[row - 1].strip())
            if word:
                yield ended, f"the string ends early: {word!r} fits on its line"
        ended = None
        if token.type in ENDS:
            ended = token.end[0]


def _word_that_fits(line: str, following: str) -> str:
    """The first word of the string on the following line, if this line has room for it, else ""."""
    parts = re.fullmatch(r'(f?)"( ?(?:\{[^}]*\}|[^\s{])+ ?)(.*)', following)
    if parts is None or not (line.endswith(' "') or parts[2].startswith(" ")):
        return ""
    word = parts[2]
    if word.count("{") != word.count("}"):  # braces in braces
        return ""
    if not parts[3].strip('")],;:}'):
        word = word[:-1] + parts[3]  # the last word, with the quote that this line has already
    needs_f = bool(parts[1]) and "{" in word and not line.strip().startswith("f")
    if len(line) + len(word) + needs_f > WIDTH:
        return ""
    return word.strip()


# Python has tokens of their own for f-strings from 3.12 on
STARTS = {tokenize.STRING, getattr(tokenize, "FSTRING_START", tokenize.STRING)}
ENDS = {tokenize.STRING, getattr(tokenize, "FSTRING_END", tokenize.STRING)}


if __name__ == "__main__":
    sys.exit(main())
