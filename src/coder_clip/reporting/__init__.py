"""Tables, figures and the report page, all from the artefacts of earlier phases.

`results` reads artefacts, ``exhibits/`` holds one file for each table or figure, `parts` what
several of them share, `formats` writes tables, `page` the report.
"""
