"""The fixtures of the executor's package, whose tests have the test cluster."""

try:
    from slurm_fixtures import accounting, cluster, shared_folder, tight  # noqa: F401
except ModuleNotFoundError:  # without its package there is nothing to test here
    collect_ignore_glob = ["test_*.py"]
