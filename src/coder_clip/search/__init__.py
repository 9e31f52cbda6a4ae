"""Exact search of hyper-parameters."""
