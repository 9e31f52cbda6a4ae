import json
import sys

from common import write

weights = open("data/weights.bin", "rb").read(16)
words = json.load(open(sys.argv[1]))
seed = (weights + " ".join(words).encode() + sys.argv[3].encode() + b"\n") * 60000
write(sys.argv[2], seed[:1_500_000])  # more than Snakemake hashes
