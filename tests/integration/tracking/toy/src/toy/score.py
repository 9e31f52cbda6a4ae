import json
import zlib
from pathlib import Path

from .common import write


def run(feature, out, rows, threshold, plus, note):
    value = zlib.crc32(Path(feature).read_bytes()) % 100 + threshold + plus
    write(out, json.dumps({"accuracy": value}).encode())
    write(rows, f"accuracy\n{value}\n".encode())
