"""Certificates of results, and DVC.

Which jobs must run, what is recorded, pushed and pulled.

The processes of a job note what decides its result, and certificates.py writes it down. One judge
(judge.py) decides which certificates hold in a working tree, and rerun.py has Snakemake run the
other jobs. `record` commits whole phases to DVC, certificates included (docs/sharing.md).
"""
