"""Features are kept by content: one more photo encodes one photo, one more text one text, and no
byte changes. Whatever happens to the files, a run is right without them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from coder_clip.datasets.folder import FolderDataset
from coder_clip.encoders import store as store_module
from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder
from coder_clip.encoders.features import ImageFeatures, extract
from coder_clip.encoders.store import FeatureStore, features_key
from coder_clip.errors import UserError
from tiny import save_tiny

CPU = torch.device("cpu")
# a process that stores rows 0.0, 1.0, … under the keys "{name}/0", "{name}/1", …: arguments folder,
# name, how many
WRITER = """
import sys
import torch
from pathlib import Path
from coder_clip.encoders.store import FeatureStore
store, name = FeatureStore(Path(sys.argv[1])), sys.argv[2]
for i in range(int(sys.argv[3])):
    store.put("e", "image", [(f"{name}/{i}", torch.full((4,), float(i)))])
    if i % 10 == 0:
        store.flush()
        print(i, flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def encoder(folder: Path) -> Encoder:
    return load_encoder(EncoderSpec(f"local-dir:{folder}", precision="fp64", device="cpu"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(cache: Path) -> FeatureStore:
    return FeatureStore(cache)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward pass had."""
    sizes: list[int] = []
    real = Encoder.forward_images
    monkeypatch.setattr(Encoder, "forward_images", lambda e, b: sizes.append(len(b)) or real(e, b))
    return sizes


def photos(root: Path, count: int) -> FolderDataset:
    for i in range(count):
        path = root / "test" / ("cat", "dog")[i % 2] / f"{i:02d}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # not of one colour, whose augmented views would all be the same
            noise = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
    return FolderDataset("photos", root)


def run(
    data: FolderDataset, encoder: Encoder, store: FeatureStore | None, **more: Any
) -> ImageFeatures:
    split = data.split("test")
    return extract(
        data, split.ids, split.labels, encoder, batch_size=4, progress=False, store=store, **more
    )


def same(a: ImageFeatures, b: ImageFeatures) -> bool:
    views = (a.kept_views, b.kept_views)
    return (
        torch.equal(a.features, b.features)
        and a.ids == b.ids
        and a.metadata == b.metadata
        and (views == (None, None) or torch.equal(*views))  # type: ignore[arg-type]
    )


def files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.npz"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("more", [{}, {"views": 3, "keep_views": 2}])
def test_one_more_photo_encodes_one_photo(
    encoder: Encoder,
    cache: Path,
    encoded: list[int],
    tmp_path: Path,
    more: dict[str, int],
    workers: int,
) -> None:
    """Also in another process: each run has a store of its own on the same folder."""
    each = more.get("views", 1)
    run(photos(tmp_path / "photos", 9), encoder, FeatureStore(cache), workers=workers, **more)
    assert sum(encoded) == 9 * each
    encoded.clear()
    data = photos(tmp_path / "photos", 10)
    with_store = run(data, encoder, FeatureStore(cache), workers=workers, **more)
    assert encoded == [each]
    assert same(with_store, run(data, encoder, None, **more)), "the same bytes as without"


def test_views_are_those_of_their_photo(
    encoder: Encoder, store: FeatureStore, tmp_path: Path
) -> None:
    """A copy under another name has other augmented views, and more views have another mean."""
    data = photos(tmp_path / "photos", 4)
    first = run(data, encoder, store, views=2)
    copy = tmp_path / "photos/test/cat/copy.png"
    copy.write_bytes((tmp_path / "photos/test/cat/00.png").read_bytes())
    data = FolderDataset("photos", tmp_path / "photos")
    second = run(data, encoder, store, views=2)
    assert same(second, run(data, encoder, None, views=2))
    assert first.ids != second.ids
    assert same(run(data, encoder, store, views=3), run(data, encoder, None, views=3))


def test_a_turned_photo_is_turned_but_not_in_a_published_data_set(
    encoder: Encoder, store: FeatureStore, tmp_path: Path
) -> None:
    """Published numbers are of images as stored: one store may not give these to own photos."""
    data = photos(tmp_path / "photos", 2)
    path = tmp_path / "photos/test/cat/00.png"
    image = Image.open(path)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter turn
    image.save(path, exif=exif)
    published = photos(tmp_path / "photos", 2)
    published.as_stored = True
    turned = ImageOps.exif_transpose(image)
    for dataset, expected in [(data, turned), (published, image), (data, turned)]:
        found = run(dataset, encoder, store).features[0]
        wanted = encoder.encode_images(encoder.preprocess(expected.convert("RGB"))[None])[0]
        torch.testing.assert_close(found, wanted.float())


def test_a_changed_photo_is_encoded_again(
    encoder: Encoder, store: FeatureStore, encoded: list[int], tmp_path: Path
) -> None:
    run(photos(tmp_path / "photos", 4), encoder, store)
    Image.new("RGB", (40, 40), "white").save(tmp_path / "photos/test/cat/00.png")
    encoded.clear()
    data = FolderDataset("photos", tmp_path / "photos")
    assert same(run(data, encoder, store), run(data, encoder, None))
    assert encoded[0] == 1


def test_a_damaged_photo_costs_only_itself(
    encoder: Encoder, cache: Path, encoded: list[int], tmp_path: Path
) -> None:
    """Once it is repaired, the images before it are not encoded again."""
    data = photos(tmp_path / "photos", 12)
    damaged = tmp_path / "photos" / data.split("test").ids[9]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:60])
    with pytest.raises(UserError, match=damaged.name):
        run(data, encoder, FeatureStore(cache), workers=1)
    damaged.write_bytes(content)
    encoded.clear()
    assert same(run(data, encoder, FeatureStore(cache)), run(data, encoder, None))
    assert encoded[:1] == [4], "two batches of four were kept"


def test_each_file_is_read_once(
    encoder: Encoder, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network file system reading takes longer than decoding."""
    data, reads = photos(tmp_path / "photos", 6), []
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.suffix == ".png":
            reads.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    run(data, encoder, store, workers=2)
    assert len(reads) == len(set(reads)) == 6
    run(data, encoder, store, workers=2)
    assert len(reads) == 12, "known images are only hashed"


def test_one_more_text_encodes_one_text(
    encoder: Encoder, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coder_clip.encoders import open_clip_towers as module

    sizes: list[int] = []
    real = module.text_features
    monkeypatch.setattr(module, "text_features", lambda m, t: sizes.append(len(t)) or real(m, t))
    texts = [f"a photo of thing number {i}" for i in range(9)]
    encoder.store = store
    encoder.encode_texts(texts)
    assert sum(sizes) == 9
    sizes.clear()
    more = ["something else entirely", *texts]
    with_store = encoder.encode_texts_report(more)
    assert sizes == [1]
    encoder.store = None
    without = encoder.encode_texts_report(more)
    assert torch.equal(with_store.features, without.features)
    assert with_store.n_unique == without.n_unique


def test_another_encoder_device_and_other_code_have_other_features(
    encoder: Encoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug that is fixed must not live on in the cache, and the last bits of a GPU's features are
    others.
    """

    def key_of(of: Encoder = encoder, device: str = "cpu") -> str:
        return features_key(of.metadata(), torch.device(device))

    key = key_of()
    assert key != key_of(device="cuda")
    assert key != key_of(load_encoder(EncoderSpec(f"local-dir:{folder}", device="cpu")))
    assert key_of(device="cuda:1") == key_of(device="cuda")
    with monkeypatch.context() as edited:  # by somebody, while weights load
        edited.setattr(Path, "read_bytes", lambda self: b"other code")
        assert key == key_of(), "that of the code that was imported"
    real = store_module.version
    for library in ("torch", "pillow", "open_clip_torch"):
        with monkeypatch.context() as updated:
            updated.setattr(
                store_module, "version", lambda name, new=library: name == new or real(name)
            )
            assert key != key_of(), library


def test_encoders_kinds_and_sizes_are_kept_apart(cache: Path) -> None:
    store = FeatureStore(cache)
    store.put("a", "text", [("k", torch.ones(3))])
    assert store.get("a", "image", ["k"], 3) == store.get("b", "text", ["k"], 3) == {}
    assert store.get("a", "text", ["k"], 4) == {}
    assert store.get("a", "text", ["k"], 3)["k"].tolist() == [1, 1, 1]


# ---- files ---


def rows(n: int) -> list[tuple[str, torch.Tensor]]:
    return [(str(i), torch.full((4,), float(i))) for i in range(n)]


def found(cache: Path, n: int) -> list[float]:
    """The first number of each row that a new process finds, by key."""
    stored = FeatureStore(cache).get("e", "image", [str(i) for i in range(n)], 4)
    return sorted(float(row[0]) for key, row in stored.items() if row.tolist() == [float(key)] * 4)


@pytest.mark.parametrize(
    "harm",
    [
        *(
            "cut",
            "emptied",
            "a bit of a feature",
            "a bit of a key",
            "no archive",
            "removed",
            "another size",
        ),
        *("a pickle", "a bomb", "fewer features than keys"),
    ],
)
def test_a_damaged_file_counts_as_absent(cache: Path, harm: str) -> None:
    """Computed again; never a wrong feature, never an end of the run."""
    store = FeatureStore(cache)
    store.put("e", "image", rows(3))
    store.flush()
    (path,) = files(cache)
    content = bytearray(path.read_bytes())
    keys = np.load(path)["keys"]
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "emptied":
        path.write_bytes(b"")
    elif harm.startswith("a bit"):
        what = np.float32(1).tobytes() if "feature" in harm else keys[1].tobytes()
        content[content.index(what)] ^= 1
        path.write_bytes(content)
    elif harm == "no archive":
        path.write_bytes(b"not an archive" * 100)
    elif harm == "removed":
        path.unlink()
    elif harm == "another size":
        np.savez(path, keys=keys, features=np.zeros((3, 5), np.float32))
    elif harm == "a pickle":
        np.savez(path, keys=keys, features=np.array([[os.system]] * 3, dtype=object))
    elif harm == "a bomb":
        np.savez_compressed(path, keys=keys, features=np.zeros((10_000_000, 4), np.float32))
    else:
        np.savez(path, keys=keys, features=np.zeros((0, 4), np.float32))
    assert found(cache, 3) == []
    again = FeatureStore(cache)
    again.put("e", "image", rows(3))
    again.flush()
    assert found(cache, 3) == [0, 1, 2], "stored again, beside the damaged file"


def test_a_file_that_goes_while_it_is_in_use_is_missed_only(cache: Path) -> None:
    """The cache can be deleted at any time, and another process may make one file of many."""
    writer = FeatureStore(cache)
    writer.put("e", "image", rows(3))
    writer.flush()
    reader = FeatureStore(cache)
    reader.get("e", "image", ["none"], 4)  # it has listed the files
    for path in files(cache):
        path.unlink()
    assert reader.get("e", "image", ["1"], 4) == {}


@pytest.mark.rest
def test_two_processes_write_at_once_and_nothing_is_lost(cache: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(cache)]
    both = [
        subprocess.Popen([*command, name, "60"], stdout=subprocess.DEVNULL, env={**os.environ})
        for name in "ab"
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    keys = [f"{name}/{i}" for name in "ab" for i in range(60)]
    stored = FeatureStore(cache).get("e", "image", keys, 4)
    assert {key: row.tolist() for key, row in stored.items()} == {
        key: [float(key.split("/")[1])] * 4 for key in keys
    }


@pytest.mark.rest
def test_a_killed_process_leaves_what_it_had_written(cache: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(cache), "a", "1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 50:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = FeatureStore(cache).get("e", "image", [f"a/{i}" for i in range(51)], 4)
    assert len(stored) == 51


def test_a_full_disk_ends_the_keeping_and_not_the_run(
    encoder: Encoder, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.np, "savez", full)
    data = photos(tmp_path / "photos", 6)
    assert same(run(data, encoder, store), run(data, encoder, None))
    assert "features are not kept" in caplog.text
    assert "No space left on device" in caplog.text
    assert files(tmp_path / "cache") == []
    monkeypatch.undo()
    run(data, encoder, store)
    assert files(tmp_path / "cache") == [], "said once, and not tried with every batch"


def test_many_small_files_become_one(cache: Path) -> None:
    """A person classifies one photo at a time, for months."""
    for i in range(store_module.FILES + 3):
        store = FeatureStore(cache)
        store.put("e", "image", [(str(i), torch.full((4,), float(i)))])
        store.flush()
    assert len(files(cache)) <= 3
    assert len(found(cache, store_module.FILES + 3)) == store_module.FILES + 3


def test_temporary_files_of_killed_processes_go_after_a_day(cache: Path) -> None:
    store = FeatureStore(cache)
    store.put("e", "image", rows(1))
    store.flush()
    (place,) = {path.parent for path in files(cache)}
    old, young = place / ".x.npz.abc.npz", place / ".y.npz.abc.npz"
    for path, age in ((old, 2 * store_module.DAY), (young, 60.0)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    store.put("e", "image", [("more", torch.zeros(4))])
    store.flush()
    assert (old.exists(), young.exists()) == (False, True)


def test_an_encoder_is_remembered_until_its_files_change(cache: Path, tmp_path: Path) -> None:
    """`classify` starts in a second where all photos are known."""
    spec, weights = EncoderSpec("local-dir:x"), tmp_path / "weights"
    weights.write_text("one")
    FeatureStore(cache).remember(spec, [weights], {"dim": "4"})
    assert FeatureStore(cache).metadata(spec) == {"dim": "4"}
    assert FeatureStore(cache).metadata(EncoderSpec("local-dir:y")) is None
    assert FeatureStore(cache).metadata(EncoderSpec("local-dir:x", precision="bf16")) is None
    (about,) = (cache / "encoders").iterdir()
    for harm in ("", "[]", json.dumps({"files": 3, "metadata": {}}), json.dumps({"files": {}})):
        kept = about.read_text()
        about.write_text(harm)
        assert FeatureStore(cache).metadata(spec) is None
        about.write_text(kept)
    weights.write_text("others")
    assert FeatureStore(cache).metadata(spec) is None


# ---- the code that makes a feature


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("encoders/preprocessing", "import torch", "# a remark\nimport torch", False),
        ("encoders/store", "SECONDS = 60.0", "SECONDS = 30.0", False),
        ("encoders/encoder", "ran out of memory", "has no memory left", False),
        ("encoders/features", "encoding images", "encoding pictures", False),
        ("encoders/proof", "SAME =", "SAME = 1 +", False),
        ("encoders/preprocessing", ".div_(255)", ".div_(256)", True),
        ("encoders/preprocessing", "0.5 + 0.5 * draw", "0.4 + 0.6 * draw", True),
        ("encoders/open_clip_features", "argmax(dim=1) + 1", "argmax(dim=1) + 2", True),
        ("datasets/decoding", "LEAST_SIDE = 512", "LEAST_SIDE = 256", True),
        ("foundation/reproducible", "STORED_BITS =", "STORED_BITS = 1 +", True),
    ],
)
def test_a_feature_holds_as_long_as_the_code_that_makes_it(
    tmp_path: Path, module: str, old: str, new: str, counts: bool
) -> None:
    """A remark threw the features of a library away, days of a GPU; another normalisation must."""
    shutil.copytree(store_module.PACKAGE, tmp_path / "src/coder_clip")
    path = tmp_path / f"src/coder_clip/{module}.py"
    code = (
        "from coder_clip.encoders.store import encoder_key; "
        "print(encoder_key({'model': 'local-dir:x'}))"
    )

    def key() -> str:
        names = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=names, capture_output=True, text=True, check=True).stdout

    before, text = key(), path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert (key() != before) == counts
