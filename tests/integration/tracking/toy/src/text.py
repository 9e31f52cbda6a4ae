import json
import sys

from common import write

words = open(sys.argv[1]).read().split()[: int(sys.argv[3])]
write(sys.argv[2], json.dumps(words).encode())
