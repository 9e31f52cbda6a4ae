"""Data sets that the project draws itself, and how their pictures are drawn.

No download is needed.
"""
