"""A small workflow with the package `rerun`, whose jobs take milliseconds."""

from __future__ import annotations

from pathlib import Path

PROGRAM = """
from pathlib import Path


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path + '.part').write_text(text)
    Path(path + '.part').rename(path)
"""
UPPER = """
import time
from pathlib import Path

from toy.program import write


def run(text, out, more, wait=0):
    time.sleep(wait)
    write(out, Path(text).read_text().upper())
    write(more, 'of ' + text)
"""
JOIN = """
from pathlib import Path

from toy.program import write


def run(parts, out, separator):
    write(out, separator.join(Path(p).read_text() for p in parts))
"""
SNAKEFILE = """
import json, os, sys
from dataclasses import asdict
sys.path.insert(0, os.getcwd())
from coder_clip.rerun import mark
from coder_clip.rerun.judge import Judge
from coder_clip.rerun.record import Job

os.environ['PYTHONPATH'] = os.pathsep.join([{sources!r}, os.getcwd()])
SETS = json.load(open('sets.json'))
SETTINGS = json.load(open('settings.json'))


def upper(name):
    makes = {{'out': f'results/{{name}}.txt', 'more': f'results/{{name}}.more'}}
    return Job(f'upper/upper/{{name}}', 'toy.upper:run', {{'text': f'data/{{name}}.txt'}}, makes,
               here={{'wait': float(os.getenv('WAIT', 0))}}, ignore={{'variables': ['WAIT']}})


def join():
    return Job('join/join', 'toy.join:run', {{'parts': [f'results/{{n}}.txt' for n in SETS]}},
               {{'out': 'results/all.txt'}}, SETTINGS)


JOBS = [*map(upper, SETS), join()]
MARKS = mark.Marks(Judge('results/records', JOBS), workflow)


onstart:
    mark.start(workflow)


rule all:
    default_target: True
    input: 'results/all.txt'


rule uppers:
    input: [path for n in SETS for path in upper(n).outputs]


rule upper:
    input: lambda w: MARKS.inputs(upper(w.name))
    output: update('results/{{name}}.txt'), update('results/{{name}}.more')
    params: job=lambda w: json.dumps(asdict(upper(w.name)))
    shell: 'python -m coder_clip.rerun.run results/records {{params.job:q}}'


rule join:
    input: lambda w: MARKS.inputs(join())
    output: update('results/all.txt')
    params: job=lambda w: json.dumps(asdict(join()))
    shell: 'python -m coder_clip.rerun.run results/records {{params.job:q}}'
"""


def make(folder: Path, sources: Path) -> None:
    """Write the workflow, its program and its data."""
    files = {
        "Snakefile": SNAKEFILE.format(sources=str(sources)),
        "toy/__init__.py": "",
        "toy/program.py": PROGRAM,
        "toy/upper.py": UPPER,
        "toy/join.py": JOIN,
        "data/a.txt": "a",
        "data/b.txt": "b",
        "sets.json": '["a", "b"]',
        "settings.json": '{"separator": " "}',
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
