from slurm_fixtures import accounting, cluster, shared_folder, tight  # noqa: F401
