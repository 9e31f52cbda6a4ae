"""Texts: sets with provenance (`sets`), and their sentences for the encoder (`sentences`)."""
