"""Print the sources as the table of docs/texts.md."""

from . import table

print("\n".join(table()))
