"""The base of all other packages: files, progress, reproducible arithmetic, declarations read from
source.
"""
