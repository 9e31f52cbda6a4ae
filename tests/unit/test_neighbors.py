from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import reference
from coder_clip.errors import UserError
from coder_clip.neighbors import TextNeighbors
from coder_clip.zero_shot import predict, softmax_gap, top_k

torch.set_num_threads(1)

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def double(tensors: list[Tensor]) -> list[np.ndarray]:
    return [t.double().numpy() for t in tensors]


def problem(
    seed: int, n_classes: int, images: int, width: int, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Texts and images of random lengths; classes without attributes, with one name, with eleven."""
    rng = np.random.default_rng(seed)

    def features(n: int) -> Tensor:
        rows = rng.normal(size=(n, width)) * rng.choice([0.1, 1, 10], size=(n, 1))
        return torch.tensor(rows).to(dtype)

    mean_texts = [features(int(rng.choice([0, 0, 1, 3, 8]))) for _ in range(n_classes)]
    max_texts = [features(int(rng.choice([1, 1, 2, 11]))) for _ in range(n_classes)]
    if n_classes > 1 and rng.random() < 0.3:  # two classes of one name, as in ImageNet
        mean_texts[-1], max_texts[-1] = mean_texts[0].clone(), max_texts[0].clone()
    if rng.random() < 0.3 and len(mean_texts[0]):
        mean_texts[0] = torch.cat([mean_texts[0], mean_texts[0][:1]])
    return mean_texts, max_texts, features(images)


PROBLEMS = st.builds(
    problem,
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 4, 9]),
    st.sampled_from([1, 2, 7]),
    st.sampled_from([2, 5, 24]),
    st.sampled_from(DTYPES),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(PROBLEMS)
def test_class_scores_are_the_paper_s(texts: tuple[list[Tensor], list[Tensor], Tensor]) -> None:
    """Zero-shot accuracy would be another method's."""
    mean_texts, max_texts, x = texts
    scores = TextNeighbors(mean_texts, max_texts).class_scores(x)
    expected = reference.class_scores(x.double().numpy(), double(mean_texts), double(max_texts))
    error = 100 * reference.grid_error(
        x.shape[1], rows=3
    )  # images, texts, and the means of a class's texts
    assert np.abs(scores.double().numpy() - expected).max() <= error
    order = np.sort(expected, axis=1)
    clear = (
        np.ones(len(x), dtype=bool) if order.shape[1] == 1 else order[:, -1] - order[:, -2] > 1e-3
    )
    assert (predict(scores).numpy() == expected.argmax(axis=1))[clear].all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(PROBLEMS)
def test_compact_has_coder_s_inner_products(
    texts: tuple[list[Tensor], list[Tensor], Tensor],
) -> None:
    """k-NN, retrieval and t-SNE on the compact form would show another space than CODER's."""
    mean_texts, max_texts, x = texts
    n = TextNeighbors(mean_texts, max_texts)
    rows = [
        row
        for pair in zip(double(mean_texts), double(max_texts), strict=True)
        for part in pair
        for row in part
    ]
    expected = np.array([reference.coder(image, rows) for image in x.double().numpy()])
    error = reference.grid_error(x.shape[1])
    assert np.abs(n.encode(x).double().numpy() - expected).max() <= error
    compact = n.compact(x)
    assert compact.shape[1] <= x.shape[1]
    products = (compact.double() @ compact.double().T).numpy()
    assert np.abs(products - expected @ expected.T).max() <= 4 * error * max(
        1, len(rows)
    )  # two CODERs and the factor


def test_fewer_texts_than_dimensions() -> None:
    """A small text set would give NaN, or a compact form wider than its rank."""
    torch.manual_seed(0)
    names = torch.randn(3, 16, dtype=torch.float64)
    n = TextNeighbors([names[:0]] * 4, [names[:1], names[1:2], names[2:3], names[:1]])
    x = torch.randn(5, 16, dtype=torch.float64)
    compact, full = n.compact(x), n.encode(x)
    assert compact.shape == (5, 3)
    error = 3 * 4 * reference.grid_error(16)
    torch.testing.assert_close(compact @ compact.T, full @ full.T, rtol=0, atol=error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_state_survives_a_file(tmp_path: Path, dtype: torch.dtype) -> None:
    """Another machine's scores would differ from the ones the artefact was made with."""
    mean_texts, max_texts, x = problem(3, 9, 7, 24, dtype)
    n = TextNeighbors(mean_texts, max_texts)
    save_file(n.state(), tmp_path / "coder.safetensors")
    again = TextNeighbors.from_state(load_file(tmp_path / "coder.safetensors"))
    assert torch.equal(again.class_scores(x), n.class_scores(x))
    assert torch.equal(again.compact(x), n.compact(x))
    assert again.state().keys() == n.state().keys()
    with pytest.raises(UserError, match="no single texts"):
        again.encode(x)


def test_state_with_a_part_missing() -> None:
    state = TextNeighbors([torch.zeros(0, 4)], [torch.randn(1, 4)]).state()
    del state["gram"]
    with pytest.raises(UserError, match="'gram' is missing"):
        TextNeighbors.from_state(state)


def test_many_images_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images after the first block would get no scores."""
    mean_texts, max_texts, _ = problem(5, 9, 1, 24, torch.float64)
    x = torch.randn(23, 24, dtype=torch.float64)
    whole = TextNeighbors(mean_texts, max_texts).class_scores(x)
    top = top_k(whole)[1]
    monkeypatch.setattr("coder_clip.neighbors.CHUNK", 40)
    blocks = TextNeighbors(mean_texts, max_texts).class_scores(x)
    torch.testing.assert_close(blocks, whole, rtol=0, atol=1e-10)
    monkeypatch.setattr("coder_clip.zero_shot.CHUNK", 40)
    assert torch.equal(top_k(whole)[1], top)
    assert TextNeighbors(mean_texts, max_texts).class_scores(x[:0]).shape == (0, 9)


def test_texts_as_one_tensor() -> None:
    """Classes with equally many texts; a tensor has no truth value."""
    averaged, names = torch.randn(3, 2, 4), torch.randn(3, 1, 4)
    images = torch.randn(5, 4)
    as_lists = TextNeighbors(mean_texts=list(averaged), max_texts=list(names))
    assert torch.equal(
        TextNeighbors(mean_texts=averaged, max_texts=names).class_scores(images),
        as_lists.class_scores(images),
    )


def test_class_without_a_name() -> None:
    texts = [torch.randn(2, 4), torch.randn(2, 4)]
    with pytest.raises(UserError, match="class 1 has no name"):
        TextNeighbors(texts, [torch.randn(1, 4), torch.zeros(0, 4)])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_refused(bad: float, dtype: torch.dtype) -> None:
    """One broken image would poison every table after it."""
    names = [torch.ones(1, 4, dtype=dtype), torch.ones(1, 4, dtype=dtype)]
    x = torch.ones(3, 4, dtype=dtype)
    x[1, 2] = bad
    with pytest.raises(UserError, match="row 1 holds NaN or infinity"):
        TextNeighbors(names, names).class_scores(x)
    names[1] = names[1] * bad
    with pytest.raises(UserError, match="class 1: NaN or infinity"):
        TextNeighbors(names[:1] * 2, names)


def test_numpy_features_are_refused_with_what_to_do() -> None:
    """An AttributeError from inside would not say that torch tensors are needed."""
    images, names = np.zeros((2, 4), np.float32), [torch.eye(4)[:1], torch.eye(4)[1:2]]
    with pytest.raises(UserError, match=r"not ndarray; convert .*torch.from_numpy"):
        TextNeighbors([t[:0] for t in names], names).class_scores(images)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not ndarray"):
        TextNeighbors([images, images], [images, images])  # type: ignore[list-item]
    with pytest.raises(UserError, match="not list"):
        TextNeighbors([t[:0] for t in names], names).class_scores([[0.0] * 4])  # type: ignore[arg-type]


def test_images_of_another_model() -> None:
    names = [torch.ones(1, 4)]
    with pytest.raises(UserError, match="same model"):
        TextNeighbors(names, names).class_scores(torch.ones(3, 5))
    with pytest.raises(UserError, match="class 0"):
        TextNeighbors([torch.ones(1, 5)], names)


def test_large_half_features_do_not_overflow() -> None:
    """Raw float16 features of some models are long: their squares exceed what float16 holds."""
    x = torch.full((1, 8), 3e4, dtype=torch.float16)
    scores = TextNeighbors([x[:0]], [x]).class_scores(x)
    assert scores.item() == pytest.approx(100, abs=1e-4)


# ---- zero_shot


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4, 9]), st.sampled_from([1, 5]), st.booleans())
def test_top_and_gap(seed: int, n_classes: int, images: int, ties: bool) -> None:
    """Ties broken differently would send other images and other classes to the rerank."""
    rng = np.random.default_rng(seed)
    raw = (
        rng.integers(0, 3, (images, n_classes))
        if ties
        else 5 * rng.normal(size=(images, n_classes))
    )
    scores = torch.tensor(raw, dtype=torch.float32)
    values, classes = top_k(scores)
    for i in range(images):
        row = scores[i].double().numpy()
        assert classes[i].tolist() == reference.candidates(row, min(5, n_classes))
        assert values[i].tolist() == [row[c] for c in classes[i].tolist()]
        assert predict(scores)[i] == classes[i, 0]
        assert softmax_gap(scores)[i].item() == pytest.approx(reference.gap(row), abs=1e-5)


def test_scores_with_nan_are_refused() -> None:
    with pytest.raises(UserError, match="row 1"):
        predict(torch.tensor([[1.0, 2.0], [float("nan"), 1.0]]))
    with pytest.raises(UserError, match="C at least 1"):
        predict(torch.zeros(3, 0))


@pytest.mark.rest
def test_building_needs_little_more_than_a_copy_of_the_texts() -> None:
    """21,000 classes with 20 texts each took 4.9 GB for 0.9 GB of texts: a laptop cannot build
    them.
    """
    code = (
        "import resource, torch; from coder_clip.neighbors import TextNeighbors\n"
        "texts = torch.ones(100_000, 256).normal_(); names = torch.ones(1000, 256).normal_()\n"
        "size = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "TextNeighbors([texts[:10]], [names[:1]]); before = size()\n"
        "TextNeighbors(list(texts.split(100)), list(names.split(1)))\n"
        "print((size() - before) * 1024 / texts.nbytes)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    assert float(run.stdout) < (
        2 if sys.platform == "linux" else 2 * 1024
    )  # of the texts, beside them


def test_predictions_are_the_best_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties have to go to the lowest class, and blocks must change nothing."""
    rng = np.random.default_rng(3)
    names = [torch.from_numpy(rng.standard_normal((1 + c % 2, 6))) for c in range(5)]
    texts = [torch.from_numpy(rng.standard_normal((c, 6))) for c in range(5)]
    names[3], texts[3] = names[1], texts[1]
    n = TextNeighbors(texts, names)
    x = torch.from_numpy(rng.standard_normal((50, 6)))
    expected = n.class_scores(x).argmax(dim=1)
    assert 3 not in expected.tolist()
    monkeypatch.setattr("coder_clip.neighbors.CHUNK", 20)
    assert torch.equal(n.predict(x), expected)
    assert n.predict(x[:0]).tolist() == []


def test_many_texts_are_taken_block_by_block_without_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large data set would have other numbers than a small one."""
    rng = np.random.default_rng(4)
    texts = [torch.from_numpy(rng.standard_normal((c, 6))).float() for c in range(5)]
    names = [torch.from_numpy(rng.standard_normal((1 + c % 2, 6))).float() for c in range(5)]
    x = torch.from_numpy(rng.standard_normal((9, 6)))
    whole = TextNeighbors(texts, names)
    monkeypatch.setattr("coder_clip.neighbors.GRAM_ROWS", 2)
    cut = TextNeighbors(texts, names)
    assert torch.equal(whole.class_scores(x), cut.class_scores(x))
    assert torch.equal(whole.encode(x), cut.encode(x))
    state, of_blocks = whole.state(), cut.state()
    for key in ("mean_sums", "mean_counts", "max_texts", "max_class"):
        assert torch.equal(state[key], of_blocks[key])
