import json
import sys
from pathlib import Path

from common import write

page, metrics, table, *scores = sys.argv[1:]
values = {
    path.split("/")[-1].removesuffix(".json"): json.loads(Path(path).read_text())["accuracy"]
    for path in scores
}
write(page, f"<html>{values}</html>".encode())
write(metrics, json.dumps(values).encode())
write(table, ("set,accuracy\n" + "".join(f"{k},{v}\n" for k, v in values.items())).encode())
