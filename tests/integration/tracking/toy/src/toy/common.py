"""Write beside the target, rename; hang, wait or fail where a test asks for it."""

import os
import time
from pathlib import Path

from coder_clip.foundation.artifacts import write_bytes


def asked(name: str, path: str) -> bool:
    if not os.path.exists(name):
        return False
    with open(name, "r+") as stream:  # for writing, too: then it is nothing that the job read
        return stream.read() in path


def write(path: str, data: bytes) -> None:
    if asked("hang", path):
        Path(path).write_bytes(data[: len(data) // 2])  # as a program that does not rename would
        Path("hang").with_name("hanging").write_text(str(os.getpid()))
        time.sleep(600)
    if asked("pause", path):
        Path("hanging").write_text(str(os.getpid()))
        while os.path.exists("pause"):
            time.sleep(0.05)
    if asked("fail", path):
        raise SystemExit(f"asked to fail on {path}")
    write_bytes(path, data)  # and rename;
