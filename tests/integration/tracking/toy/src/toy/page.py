import json
from pathlib import Path

from .common import write


def run(scores, out, metrics, table, title, note):
    found = {Path(path).stem: json.loads(Path(path).read_text()) for path in scores}
    values = {name: score["accuracy"] for name, score in found.items()}
    write(out, f"<html>{title}{values}</html>".encode())
    write(metrics, json.dumps(values).encode())
    rows = "".join(f"{k},{v}\n" for k, v in values.items())
    write(table, f"set,accuracy\n{rows}".encode())
