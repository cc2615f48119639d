"""`simlora serve`: an OpenAI-compatible server with simulated timing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simlora.errors import UserError
from simlora.scenario.loading import load_scenario, parse_setting, with_place
from simlora.scenario.schema import Scenario

# Without a scenario: ten tenants on an H100.
_DEFAULT = {
    "name": "serve",
    "model": "llama-3.1-8b",
    "fleet": [{"gpu": "h100-80gb"}],
    "tenants": [{"name": "tenant", "count": 10, "adapter": {"rank": 16}}],
    "workload": {"rate_rps": 1.0},
}


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path), required=False)
@click.option(
    "--engine",
    type=click.Choice(("simulated",)),
    default="simulated",
    help="What answers: nothing but the timing model (the default), with made-up words.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--api-keys",
    type=click.Path(path_type=Path),
    help="YAML or JSON file: a tenant's name to the hash of its API key (or to several).",
)
@click.option(
    "--new-key", metavar="TENANT", help='Print a new API key and its hash ("*": for all).'
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=0, max=86_400),
    default=30.0,
    show_default=True,
    help="Seconds that requests under way have after SIGTERM.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a field, for example --set engine.max_num_seqs=64 (may be repeated).",
)
def serve(
    scenario: Path | None,
    engine: str,
    host: str,
    port: int,
    api_keys: Path | None,
    new_key: str | None,
    grace_s: float,
    settings: tuple[str, ...],
) -> int:
    """Answer OpenAI's API as a replica of SCENARIO would, as fast as it would.

    No GPU is needed: batches, memory and adapters are decided on as in a simulation, and every
    token comes when it would. A stand-in for load tests of gateways and clients. Without a
    tokenizer, a token is a word of up to four letters or four letters of a longer one; answers are
    made-up words.
    """
    if new_key is not None:
        return _print_key(new_key)
    overrides = dict(map(parse_setting, settings))
    loaded = _load(scenario, overrides)

    try:
        from simlora.serve import run
        from simlora.serve.keys import load_keys
        from simlora.serve.limits import one_replica
    except ModuleNotFoundError as error:
        raise UserError(
            f"serve needs the package {error.name}; pip install 'simlora[serve]'"
        ) from None
    if api_keys is None and not run.is_loopback(host):
        raise UserError(
            f"--host {host}: others could ask in anybody's name; give --api-keys FILE, or listen "
            "on 127.0.0.1"
        )
    from simlora.scenario.deployment import expand

    def note(sentence: str) -> None:
        click.echo(f"note: {sentence}", err=True)

    try:
        served, notes = one_replica(loaded)
        for sentence in notes:
            note(sentence)
        keys = None if api_keys is None else load_keys(api_keys, expand(served))
        service = run.Service(served, keys)
    except UserError as error:
        if scenario is None:
            raise
        raise with_place(error, scenario, overrides) from None
    with run.listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        click.echo(f"serving {loaded.name} at {url} (Ctrl-C ends it)", err=True)
        run.serve(service, listener, grace_s=grace_s, note=note)
    return 0


def _load(path: Path | None, overrides: dict[str, Any]) -> Scenario:
    if path is not None:
        return load_scenario(path, overrides, option="--set ")
    return Scenario.model_validate(_DEFAULT).with_overrides(overrides)


def _print_key(tenant: str) -> int:
    from simlora.serve.keys import new_key

    key, hashed = new_key()
    click.echo(f"API key of {tenant}, told only once: {key}", err=True)
    click.echo(f'"{tenant}": "{hashed}"')
    return 0
