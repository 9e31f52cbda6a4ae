"""Does a job's result still hold? Four concepts, and nothing about what the jobs do.

*note*: the process of a job notes what decides its result, while it works: modules, variables,
files. *record*: these notes with their hashes, and those of inputs and outputs, in one file beside
the result. *judge*: compares records with a working tree. *mark*: lets Snakemake start the jobs
whose records do not hold.
"""
