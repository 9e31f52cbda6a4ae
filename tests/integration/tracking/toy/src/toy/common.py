"""Write beside the target, rename; hang, wait or fail where a test asks for it."""

import os
import time
from pathlib import Path

from coder_clip.foundation.artifacts import write_bytes


def write(path: str, data: bytes) -> None:
    if os.path.exists("hang") and Path("hang").read_text() in path:
        Path(path).write_bytes(data[: len(data) // 2])  # as a program that does not rename would
        Path("hang").with_name("hanging").write_text(str(os.getpid()))
        time.sleep(600)
    if os.path.exists("pause") and Path("pause").read_text() in path:
        Path("hanging").write_text(str(os.getpid()))
        while os.path.exists("pause"):
            time.sleep(0.05)
    if os.path.exists("fail") and Path("fail").read_text() in path:
        raise SystemExit(f"asked to fail on {path}")
    write_bytes(path, data)  # and rename;
