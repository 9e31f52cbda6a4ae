"""The list of phases, workflow/phases.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from coder_clip.errors import UserError
from coder_clip.pipeline.phase_list import FILE, phases


def test_dvc_reads_the_list_of_phases_as_we_do(repo: Path) -> None:
    """Its YAML is stricter: a duplicate section stops every dvc command."""
    from dvc.utils.serialize import parse_yaml

    text = (repo / FILE).read_text(encoding="utf-8")
    assert parse_yaml(text, FILE.as_posix()) == yaml.safe_load(text)


def test_a_rule_of_the_head_asks_for_itself(repo: Path) -> None:
    """With another rule's name it would go to the queue, or stay on the head, as that one does."""
    asked = []
    for file in (repo / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"^rule ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            asked += [
                (rule.partition(":")[0], name) for name in re.findall(r'on_head\("(.*)"', rule)
            ]
    assert len(asked) >= 4
    assert all(name == rule for rule, name in asked), asked


@pytest.mark.parametrize("text", ["", "phases: [", "phases: {texts: {}}", "phases: 3"])
def test_a_damaged_list_of_phases_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no workflow/phases\.yaml here"):
        phases(Path("none.yaml"))
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(
        UserError, match=r"p\.yaml (cannot be read: '?\S|is not valid YAML: while parsing)"
    ):
        phases(file)
