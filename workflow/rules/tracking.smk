# Results and DVC agree (docs/sharing.md): what was pulled counts as made here, what was made is recorded.
from coder_clip import tracking

if workflow.is_main_process:
    tracking.follow(workflow, CONFIG_FILE)
