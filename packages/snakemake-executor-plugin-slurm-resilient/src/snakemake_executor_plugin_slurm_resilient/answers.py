"""Tell Slurm's final refusals from answers that pass, by its own words (slurm_errno, 24.11).

What is in neither list waits, too, but not for ever (option patience)."""

from __future__ import annotations

# Wrong partition, account, QOS, permission, request or option: the same call gets the same answer.
FINAL = (
    "Invalid partition name specified",
    "No partition specified or system default partition",
    "Access/permission denied",
    "User's group not permitted to use this partition",
    "Requested nodes not in this partition",
    "More processors requested than permitted",
    "Node count specification invalid",
    "Job size specification needs to be provided",
    "Job script not specified",
    "Invalid user id",
    "Pathname of a file, directory or other parameter too long",
    "Requested node configuration is not available",
    "Invalid node name specified",
    "Task distribution specification invalid",
    "Task count specification invalid",
    "Invalid feature specification",
    "Requested operation not supported on this system",
    "Only batch jobs are accepted or processed",
    "Memory required by task is not available",
    "Invalid account or account/partition combination specified",
    "Invalid license specification",
    "Job violates accounting/QOS policy",
    "Requested time limit is invalid",
    "Access denied to requested reservation",
    "Requested reservation is invalid",
    "Invalid time specified",
    "Invalid wckey specification",
    "Requires more ports than can be reserved",
    "Job cannot be submitted without the current working directory",
    "Invalid qos specification",
    "CPU count specification invalid",
    "Circular job dependency",
    "Invalid generic resource (gres) specification",
    "Invalid job array specification",
    "Burst Buffer permission denied",
    "Burst Buffer request invalid",
    "Invalid mcs_label specified",
    "Duplicate generic resource (gres) specification",
    "Invalid group id",
    "Job --batch option is invalid",
    "Invalid Trackable RESource (TRES) specification",
    "Invalid GRES specification",
    "Multiple KNL NUMA and/or MCDRAM constraints",
    "Requested GRES option unsupported",
    "Invalid --nice value",
    "Invalid time-min specification",
    "Environment is missing in job",
    "Multiple partition job request not supported",
    "Cannot request more threads per core",
    "Invalid preferred feature specification",
    "Invalid container id specified",
    "Unable to resolve group ID",
    "Unable to resolve user ID",
    "Invalid or unknown association",
    "Invalid QOS specification, relative QOS",
    "Invalid extra constraints specification",
    "RestrictedCoresPerGPU",
    "Requested topology configuration is not available",
    "Container runtime not configured or invalid",
    "Time limit specification required",
    "Invalid KNL configuration",
    "Invalid cluster name",
    "Invalid cluster feature specification",
    "Container support is not configured",
    # of the program sbatch itself
    "unrecognized option",
    "invalid option",
    "option requires an argument",
    "is ambiguous",
    "Invalid --",
    "Invalid numeric value",
    "Invalid directive",
    "does not look like a batch script",
    "invalid number of",
)
# The controller is away, a partition is closed, a limit on submitted jobs is used up: it can last
# for days, and passes. (Of every limit Slurm also says "violates accounting/QOS policy".)
PASSES = (
    "no answer in",
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "backup controller in standby",
    "Controller is in standby",
    "SubmitJobsLimit",
    "SubmitJobLimit",
    "SubmitJobPer",
    "Required partition not available (inactive or drain)",
    "Partition in DOWN state",
    "Required node not available (down, drained or reserved)",
    "maintenance reservation",
    "System submissions disabled",
)


def _says(said: str, messages: tuple[str, ...]) -> bool:
    """True if Slurm's words have one of the messages, in any case."""
    words = said.lower()
    return any(message.lower() in words for message in messages)


def passes(said: str) -> bool:
    """True if the fault passes, however long it takes."""
    return _says(said, PASSES)


def final(said: str) -> bool:
    """True if Slurm would give the same answer again."""
    return not passes(said) and _says(said, FINAL)
