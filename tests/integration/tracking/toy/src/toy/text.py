import json
from pathlib import Path

from .common import write


def run(config, inputs, outputs, command):
    words = Path(inputs[0]).read_text().split()[: config["words"]]
    style = Path(__file__).with_name("style.txt").read_text()  # no rule names this file
    words = [word.upper() for word in words] if style.startswith("capital") else words
    write(outputs[0], json.dumps(words).encode())
