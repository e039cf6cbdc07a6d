"""`codec`: keys for what Temporal keeps, and the server that makes it readable in Temporal's UI."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

import typer

from sagakit.cli.output import runs, stderr, stdout
from sagakit.cli.session import session_of
from sagakit.errors import InvalidInput
from sagakit.runtime import stop_on_signals

app = typer.Typer(help="Encryption of what Temporal keeps: make keys, decrypt for the UI.", no_args_is_help=True)
_UI = "http://127.0.0.1:8233"


@app.command("new-key")
@runs
async def new_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="Its name, like 2026-11.")]) -> None:
    """Print a new key, as SAGAKIT_CODEC_KEYS takes it. Put it first to write with it; keep the older ones to read."""
    from sagakit.temporal import keyring  # noqa: PLC0415 heavy, and only wanted here

    stdout.print(keyring.new_key(key_id), markup=False, soft_wrap=True)


@app.command()
@runs
async def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8234,
    origin: Annotated[list[str] | None, typer.Option(help=f"Where the UI is, repeatable; {_UI} when left out.")] = None,
) -> None:
    """Decrypt for Temporal's UI until ^C: give it this address as its codec endpoint."""
    settings = session_of(context).settings
    if settings.codec_keys is None:
        raise InvalidInput("nothing is encrypted: SAGAKIT_CODEC_KEYS holds no key; `codec new-key ID` makes one")
    if not _is_loopback(host) and settings.codec_token is None:
        raise InvalidInput(f"whoever reaches {host} could read everything: set SAGAKIT_CODEC_TOKEN, or listen on 127.0.0.1")
    from aiohttp import web  # noqa: PLC0415 heavy, and only wanted here

    from sagakit.temporal.codec_server import application  # noqa: PLC0415 heavy, and only wanted here
    from sagakit.temporal.keyring import Keyring  # noqa: PLC0415 heavy, and only wanted here

    keys = Keyring.parse(settings.codec_keys.get_secret_value())
    token = settings.codec_token.get_secret_value() if settings.codec_token else None
    stop = stop_on_signals()
    runner = web.AppRunner(application(keys, settings.temporal_namespace, origin or [_UI], token), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise InvalidInput(f"port {port} of {host} cannot be used: {error.strerror}") from None
        stderr.print(f"Decrypting at http://{host}:{runner.addresses[0][1]} until ^C.", soft_wrap=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
