import json
import sys
import zlib
from pathlib import Path

from common import write

value = zlib.crc32(Path(sys.argv[1]).read_bytes()) % 100 + int(sys.argv[4])
write(sys.argv[2], json.dumps({"accuracy": value}).encode())
write(sys.argv[3], f"accuracy\n{value}\n".encode())
