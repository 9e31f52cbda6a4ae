import json
import sys
import zlib

from common import write

value = zlib.crc32(open(sys.argv[1], "rb").read()) % 100 + int(sys.argv[4])
write(sys.argv[2], json.dumps({"accuracy": value}).encode())
write(sys.argv[3], f"accuracy\n{value}\n".encode())
