"""Write beside the target, rename; hang, wait or fail where a test asks for it."""

import os
import time
from pathlib import Path

from coder_clip.foundation import evidence
from coder_clip.foundation.artifacts import write_bytes


def asked(name: str, path: str) -> bool:
    with evidence.unseen():  # a test asks, and no result depends on it
        return os.path.exists(name) and Path(name).read_text() in path


def write(path: str, data: bytes) -> None:
    if asked("hang", path):
        Path(path).write_bytes(data[: len(data) // 2])  # as a program that does not rename would
        Path("hang").with_name("hanging").write_text(str(os.getpid()))
        time.sleep(600)
    if asked("pause", path):
        Path("hanging").write_text(str(os.getpid()))
        while asked("pause", path):
            time.sleep(0.05)
    if asked("fail", path):
        raise SystemExit(f"asked to fail on {path}")
    write_bytes(path, data)  # and rename;
