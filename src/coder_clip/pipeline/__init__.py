"""Shared parts of the phases: configuration, list of phases, sources, resources."""
