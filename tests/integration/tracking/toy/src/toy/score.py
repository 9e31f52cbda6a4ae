import json
import zlib
from pathlib import Path

from .common import write


def run(config, inputs, outputs, command):
    value = zlib.crc32(Path(inputs[0]).read_bytes()) % 100 + config["threshold"] + int(command[-1])
    write(outputs[0], json.dumps({"accuracy": value}).encode())
    write(outputs[1], f"accuracy\n{value}\n".encode())
