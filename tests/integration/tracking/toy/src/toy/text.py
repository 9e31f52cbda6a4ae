import json
from pathlib import Path

from .common import write


def run(source, out, words, note):
    found = Path(source).read_text().split()[:words]
    style = Path(__file__).with_name("style.txt").read_text()  # no job names this file
    found = [word.upper() for word in found] if style.startswith("capital") else found
    write(out, json.dumps(found).encode())
