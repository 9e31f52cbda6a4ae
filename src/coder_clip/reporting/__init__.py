"""What people look at: tables, figures and the page, all read from the artefacts of the phases before.

`results` reads artefacts, ``exhibits/`` holds one file for each table or figure, `parts` what several of them are made
of, `formats` writes tables, `page` the report.
"""
