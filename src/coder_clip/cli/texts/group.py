"""The group `coder-clip texts`, and the phase that it stands for without a command."""

from __future__ import annotations

import typer

from ...errors import UserError
from ...jobs import work
from ...pipeline.config import load_config
from ..options import DEFAULT_CONFIG, App, CommandGroup, ConfigOption, DatasetOption, chosen

app = App(
    cls=CommandGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def texts(
    context: typer.Context, config: ConfigOption = DEFAULT_CONFIG, dataset: DatasetOption = None
) -> None:
    """Text sets.

    Name, attribute, analogous and synonym texts per class, checked against the data set.
    """
    command = context.invoked_subcommand
    if command:
        # an option before the subcommand would be read here and then ignored
        sources = (
            getattr(context.get_parameter_source(name), "name", "") for name in context.params
        )
        if "COMMANDLINE" in sources:
            raise UserError(f"put options after the command: coder-clip texts {command} --config …")
        return
    c = load_config(config)
    for d in chosen("data set", dataset, c.datasets):
        work(c, "text_set", dataset=d)
