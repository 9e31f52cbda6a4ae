"""The base of all other packages: files, progress, exact arithmetic, declarations read from source."""
