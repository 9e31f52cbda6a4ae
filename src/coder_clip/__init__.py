"""CODER: cross-modal neighbor representation for CLIP (CVPR 2024), reproduced."""

__version__ = "0.1.0"
