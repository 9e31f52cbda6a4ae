"""One module per kind of job: read artefacts, call the library, write artefacts.

The library does no input or output. `common`, `text_inputs`, `encoder`, `predictions` and `shots`
hold what several phases share. A phase imports only what its result depends on: a job runs again
after an edit of any module that it imports.
"""
