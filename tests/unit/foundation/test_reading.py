"""Files that a job reads are noted, with whatever library it reads them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import coder_clip
from coder_clip.foundation import evidence

PACKAGE = Path(coder_clip.__file__).parent
# As cli/job.py does it; each line of READ reads a file of its own, named as the key.
SCRIPT = """
import json, multiprocessing, os, sqlite3, sys
from pathlib import Path

if __name__ in ("__main__", "__mp_main__"):
    from coder_clip.foundation import artifacts, evidence

    evidence.watch()
    if evidence.NOTES in os.environ:
        evidence.attach()


def worker(name):
    Path(name).read_bytes()


def behind_the_door(name, read):
    evidence.reading(name)
    return read(name)


def in_process(kind, name):
    process = multiprocessing.get_context(kind).Process(target=worker, args=[name])
    process.start()
    process.join()


if __name__ == "__main__":
    import numpy, pandas, pyarrow.parquet, safetensors.torch, torch
    from PIL import Image
    from torchvision.io import read_file

    table, tensor = pandas.DataFrame({"x": [1]}), torch.ones(2)
    for name in sys.argv[1:]:
        Path(name).write_bytes(b"bytes")
    for name in ("pandas.parquet", "artifacts.parquet", "arrow.parquet"):
        table.to_parquet(name)
    for name in ("pandas.csv", "numpy.csv"):
        table.to_csv(name, index=False)
    for name in ("tensors.safetensors", "metadata.safetensors"):
        artifacts.write_tensors(Path(name), {"x": tensor}, {})
    safetensors.torch.save_file({"x": tensor}, "library.safetensors")
    for name in ("torch.pt", "mapped.pt"):
        torch.save(tensor, name)
    for name in ("numpy.npy", "mapped.npy"):
        numpy.save(name, tensor.numpy())
    Path("artifacts.json").write_text("{}")
    Image.new("RGB", (2, 2)).save("pillow.png")
    sqlite3.connect("sqlite.db").execute("create table t (x)").connection.close()
    evidence.begin([])
    READ
    print(json.dumps(evidence.end()))
"""
READ = {
    # our own functions
    "artifacts.json": "artifacts.read_json('artifacts.json')",
    "artifacts.parquet": "artifacts.read_parquet('artifacts.parquet')",
    "tensors.safetensors": "artifacts.read_tensors('tensors.safetensors')",
    "metadata.safetensors": "artifacts.read_metadata('metadata.safetensors')",
    # compiled code that opens files itself, behind the door
    "pandas.parquet": "behind_the_door('pandas.parquet', pandas.read_parquet)",
    "arrow.parquet": "behind_the_door('arrow.parquet', pyarrow.parquet.read_table)",
    "library.safetensors": "behind_the_door('library.safetensors', safetensors.torch.load_file)",
    "torchvision.bin": "behind_the_door('torchvision.bin', read_file)",
    "mapped.pt": "behind_the_door('mapped.pt', lambda name: torch.load(name, mmap=True))",
    # what Python sees anyway
    "pandas.csv": "pandas.read_csv('pandas.csv')",
    "numpy.csv": "numpy.loadtxt('numpy.csv', skiprows=1)",
    "torch.pt": "torch.load('torch.pt')",
    "numpy.npy": "numpy.load('numpy.npy')",
    "mapped.npy": "numpy.load('mapped.npy', mmap_mode='r')",
    "pillow.png": "Image.open('pillow.png').load()",
    "sqlite.db": "sqlite3.connect('sqlite.db').execute('select * from t').fetchall()",
    "update.bin": "open('update.bin', 'r+b').close()",
    "descriptor.bin": "os.close(os.open('descriptor.bin', os.O_RDONLY))",
    # other processes
    "fork.bin": "in_process('fork', 'fork.bin')",
    "spawn.bin": "in_process('spawn', 'spawn.bin')",
    "forkserver.bin": "in_process('forkserver', 'forkserver.bin')",
}
# Names of functions that read a file in compiled code, where Python does not see it.
COMPILED = {
    *("read_parquet", "read_feather", "read_orc", "read_hdf", "read_table"),  # pandas, pyarrow
    *("ParquetFile", "ParquetDataset", "memory_map", "OSFile", "open_file", "open_csv"),  # pyarrow
    *("safe_open", "load_file", "load_model"),  # safetensors
    *(
        "load_checkpoint",
        "create_model_and_transforms",
        "create_model_from_pretrained",
    ),  # open_clip
    *("get_tokenizer", "from_pretrained", "AutoTokenizer", "Tokenizer"),  # tokenizers
    *("read_file", "read_image", "decode_image", "read_video", "VideoReader"),  # torchvision
    *("truetype", "FT2Font", "imread", "from_file"),  # fonts, OpenCV, tensors
}
BEHIND = "evidence.reading(…) before it"
# call in a module -> why it may be there
ALLOWED = {
    "foundation/artifacts.py: pd.read_parquet": BEHIND,
    "foundation/artifacts.py: safe_open": BEHIND,
    "foundation/dvc_config.py: Config.load_file": "of DVC, in Python",
    "foundation/artifacts.py: pyarrow.parquet.ParquetFile": "of bytes in memory",
}
# what loads a model: `load_encoder` notes the files of its towers
LOADERS = ("encoders/open_clip_towers.py", "encoders/families/")


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> list[list[object]]:
    """Notes of one process that reads a file in every way."""
    folder = tmp_path_factory.mktemp("reading")
    (folder / "script.py").write_text(SCRIPT.replace("READ", "\n    ".join(READ.values())))
    plain = [name for name in READ if name.endswith(".bin")]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    environment.pop(evidence.NOTES, None)
    done = subprocess.run(
        [sys.executable, "script.py", *plain],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", READ)
def test_a_file_is_noted_however_it_is_read(notes: list[list[object]], name: str) -> None:
    """Else the results stay as they are when the file changes."""
    assert name in {note[1] for note in notes if note[0] == "read"}, READ[name]


def test_no_module_reads_files_in_compiled_code_outside_of_the_door() -> None:
    """Such a file would be in no certificate, and nobody would notice."""
    found = {place for path in sorted(PACKAGE.rglob("*.py")) for place in _compiled(path)}
    found = {place for place in found if not place.startswith(LOADERS)}
    assert found - ALLOWED.keys() == set(), "call evidence.reading(path) before, or read_…"
    assert ALLOWED.keys() - found == set(), "allowed, and not there any more"


def _compiled(path: Path) -> Iterator[str]:
    """The calls in a module whose names are in COMPILED and not of this program."""
    nodes = list(ast.walk(ast.parse(path.read_bytes())))
    own = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        if node.level or str(node.module).startswith("coder_clip")
        for alias in node.names
    }
    for name in (_name(node.func) for node in nodes if isinstance(node, ast.Call)):
        if name.rpartition(".")[2] in COMPILED - own:
            yield f"{path.relative_to(PACKAGE).as_posix()}: {name}"


def _name(node: ast.expr) -> str:
    """``a.b`` of a name or an attribute; "" for others."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
