"""Exact search for hyper-parameters."""
