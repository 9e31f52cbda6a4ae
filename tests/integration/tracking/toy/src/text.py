import json
import sys
from pathlib import Path

from common import write

words = Path(sys.argv[1]).read_text().split()[: int(sys.argv[3])]
write(sys.argv[2], json.dumps(words).encode())
