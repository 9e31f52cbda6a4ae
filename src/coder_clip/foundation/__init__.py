"""The base of all other packages: files, progress, arithmetic, declarations."""
