"""One module per command of a phase: read artefacts, call the library, write artefacts.

The library does no input or output. `common`, `encoder`, `predictions` and `shots` hold what
several phases share.

A phase imports only what its result depends on, because a change of any file that a job executes
makes it run again (tracking). So the configuration is imported for its type alone.
"""
