"""Everything that takes tensors takes them on a GPU: nothing stays on the CPU by mistake, and the
method's results are the same to the bit. Machines without a GPU run it on a pretended device
(other_device.py)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from torch.utils import backend_registration

from coder_clip.baselines.methods import ABLATIONS, FEW_SHOT
from fixtures import REPO

pytestmark = [
    pytest.mark.rest,
    pytest.mark.skipif(
        not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this release of PyTorch has no devices written in Python",
    ),
]
NARROW = {
    "fp32": 1e-5,
    "bf16": 2e-2,
    "fp64": 1e-9,
}  # attention has another kernel where the device is not the CPU


@pytest.fixture(scope="module")
def differences() -> dict[str, float | str]:
    program = REPO / "tests/support/other_device.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("texts", ["", ", texts here"])
@pytest.mark.parametrize(
    "part",
    [
        *(
            "class_scores",
            "encode",
            "compact",
            "state of texts",
            "rerank",
            "rerank_scores",
            "state of pairs",
        ),
        *("affinity", "logits", "search"),
    ],
)
def test_an_idea_gives_the_same_bits_on_another_device(
    differences: dict[str, float | str], part: str, texts: str
) -> None:
    assert differences[part + texts] == 0


@pytest.mark.parametrize("part", ["predict", "top_k", "softmax_gap", "views"])
def test_scores_and_views_give_the_same_bits(
    differences: dict[str, float | str], part: str
) -> None:
    assert differences[part] == 0


@pytest.mark.parametrize("name", [*FEW_SHOT, *ABLATIONS])
def test_a_few_shot_method_finds_the_same_and_gives_the_same_bits(
    differences: dict[str, float | str], name: str
) -> None:
    assert differences[f"method {name}"] == 0


@pytest.mark.parametrize("what", ["images, 0 views", "images, 3 views", "texts"])
@pytest.mark.parametrize("encoder", ["plain fp32", "plain fp64", "plain bf16", "siglip fp32"])
def test_an_encoder_works_on_another_device(
    differences: dict[str, float | str], encoder: str, what: str
) -> None:
    found = differences[f"{encoder}, {what}"]
    assert isinstance(found, float), found
    assert found <= NARROW[encoder.split()[1]]
