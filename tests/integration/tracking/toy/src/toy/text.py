import json
from pathlib import Path

from .common import write


def run(config, inputs, outputs, command):
    words = Path(inputs[0]).read_text().split()[: config["words"]]
    write(outputs[0], json.dumps(words).encode())
