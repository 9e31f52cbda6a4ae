"""One module a phase: read artefacts, call the library, write artefacts. The library does no input or output.

A phase's module imports only what its result depends on: the Snakefile lists exactly these files as inputs.
"""
