"""Write beside the target, rename; hang, wait or fail where a test asks for it."""

import os
import time
from pathlib import Path


def asked(name: str, path: str) -> bool:
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
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    part = Path(path).with_name(f".{Path(path).name}.part")
    part.write_bytes(data)
    part.rename(path)  # and rename;
