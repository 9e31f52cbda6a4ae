"""Encoders of images and texts: their interface, their families, and the cache of features."""
