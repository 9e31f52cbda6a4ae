"""Your own photos: classify them with nothing but class names or texts, see why, and improve the texts."""

from .classifier import Classifier, Photo, Reason

__all__ = ["Classifier", "Photo", "Reason"]
