"""Texts: sets with provenance (`sets`), and the sentences made of them for the encoder
(`sentences`).
"""
