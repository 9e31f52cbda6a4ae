"""Stage one as an ONNX file: image features in, scores out, for programs that have no PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import UserError
from ..foundation.artifacts import write_bytes

if TYPE_CHECKING:
    from .classifier import Classifier

OPSET = 17  # what onnxruntime 1.12 of 2022 reads


def write_onnx(path: str | Path, classifier: Classifier) -> None:
    """Write the compact class weights. Metadata: classes, encoder with the hash of its weights, preprocessing.

    Input ``features`` (N, d) float32, of any length; outputs ``scores`` (N, C), 100 × mean cosine, and ``label`` (N,).

    UserError if the package onnx is missing, or the method is more than stage one.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError:
        raise UserError("an ONNX file needs the package onnx: pip install 'coder-clip[onnx]'") from None
    stages = classifier.stages
    if stages.score is not None or (stages.pairs is not None and stages.threshold > 0):
        raise UserError("an ONNX file holds stage one alone: choose the method clip or coder")
    state = classifier.neighbors.state()
    sums, counts, names, owner = (state[k] for k in ("mean_sums", "mean_counts", "max_texts", "max_class"))
    n_classes, width = sums.shape
    # the names of a class in columns, its first one again where it has fewer than others: a maximum takes no notice
    of = [(owner == c).nonzero()[:, 0].tolist() for c in range(n_classes)]
    most = max(map(len, of))
    places = torch.tensor([rows + rows[:1] * (most - len(rows)) for rows in of])  # (C, most)
    constants = {
        "sums": sums.T.float(),  # (d, C)
        "names": names[places.T.flatten()].T.float(),  # (d, most · C), a block of C for each name
        "blocks": torch.tensor([-1, most, n_classes]),
        "weight": 100 / (counts + 1).float(),
    }
    nodes = [
        helper.make_node("LpNormalization", ["features"], ["unit"], axis=-1, p=2),
        helper.make_node("MatMul", ["unit", "sums"], ["of_means"]),
        helper.make_node("MatMul", ["unit", "names"], ["of_names"]),
        helper.make_node("Reshape", ["of_names", "blocks"], ["by_class"]),
        helper.make_node("ReduceMax", ["by_class"], ["best"], axes=[1], keepdims=0),
        helper.make_node("Add", ["of_means", "best"], ["total"]),
        helper.make_node("Mul", ["total", "weight"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "coder-clip",
        [values("features", TensorProto.FLOAT, ["N", int(width)])],
        [
            values("scores", TensorProto.FLOAT, ["N", int(n_classes)]),
            values("label", TensorProto.INT64, ["N"]),
        ],
        [numpy_helper.from_array(t.contiguous().numpy(), name) for name, t in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="coder-clip"
    )
    model.ir_version = 8  # of this opset
    about = {"classes": classifier.classes, "encoder": classifier.encoder.metadata}
    helper.set_model_props(model, {k: json.dumps(v, ensure_ascii=False) for k, v in about.items()})
    checker.check_model(model)
    write_bytes(path, model.SerializeToString(deterministic=True))
