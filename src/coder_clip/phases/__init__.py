"""One module per phase: read artefacts, call the library, write artefacts. The library does no input or output.

A phase imports only what its result depends on, because the Snakefile lists exactly these files as inputs. So the
configuration is imported for its type alone: its values reach Snakemake as params.
"""
