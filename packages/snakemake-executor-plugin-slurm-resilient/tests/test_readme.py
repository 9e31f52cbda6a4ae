"""Each line of the table in README.md has a test, and its version of the official plugin is the one
in use.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snakemake_executor_plugin_slurm_resilient import reasons

HERE = Path(__file__).parents[1]
README = (HERE / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| .* \| `(test_\w+)` \|$", README, flags=re.M)
REPO = HERE.parents[1]


@pytest.mark.parametrize(("name"), ROWS)
def test_each_line_of_the_table_has_a_test(name: str) -> None:
    files = HERE.glob("tests/**/*.py")
    assert any(f"def {name}(" in file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        *(
            ("FAILED", "1:0"),
            ("FAILED", "0:9"),
            ("OUT_OF_MEMORY", ""),
            ("TIMEOUT", ""),
            ("CANCELLED", ""),
        ),
        *(("PREEMPTED", ""), ("NODE_FAIL", "")),
    ],
)
def test_the_guide_to_clusters_quotes_what_a_run_says(state: str, code: str) -> None:
    """People search a page for the words before their eyes."""
    file = REPO / "docs/slurm.md"
    if not file.is_file():
        pytest.skip("the package alone, without the guide of coder-clip")
    page = " ".join(file.read_text(encoding="utf-8").split())  # whatever the line breaks
    said = reasons.ended(state, code, "n1", "00:30:00", {"mem_mb": 4000})
    assert said.split(" than the" if code == "0:9" else "\n")[0] in page
