import json
from pathlib import Path

from .common import write


def run(config, inputs, outputs, command):
    scores = {Path(path).stem: json.loads(Path(path).read_text()) for path in inputs}
    values = {name: score["accuracy"] for name, score in scores.items()}
    title = config.get("title", "")  # a key that is seldom there
    write(outputs[0], f"<html>{title}{values}</html>".encode())
    write(outputs[1], json.dumps(values).encode())
    rows = "".join(f"{k},{v}\n" for k, v in values.items())
    write(outputs[2], f"set,accuracy\n{rows}".encode())
