import json
from pathlib import Path

from .common import write


def run(config, inputs, outputs, command):
    weights = Path("data/weights.bin").read_bytes()[:16]
    words = json.loads(Path(inputs[0]).read_text())
    seed = (weights + " ".join(words).encode() + str(config["scale"]).encode() + b"\n") * 60000
    write(outputs[0], seed[:1_500_000])  # more than Snakemake hashes
