"""`simlora schema`: the JSON Schema of a scenario."""

from __future__ import annotations

import json

import click

from simlora.scenario.loading import json_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of a scenario file, for editors.

    Save it and name it in the first line of a scenario:
    # yaml-language-server: $schema=scenario.schema.json
    """
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
