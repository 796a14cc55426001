"""`cavvy receipt verify`: is this receipt what it says?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli import _output
from cavvy.cli._exits import Exit
from cavvy.cli._options import Common, client_options, without_key_option

if TYPE_CHECKING:
    from cavvy.client import Receipt
    from cavvy.client.receipt import Check

__all__ = ["app"]

app = typer.Typer(help="Check workers' signed statements.", no_args_is_help=True)

_EXITS = {"valid": Exit.OK, "invalid": Exit.FAILED, "undecidable": Exit.UNDECIDABLE}
_KEY = re.compile("[0-9a-fA-F]{64}")
_JOB_ID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@app.callback()
@client_options
def _receipt(common: Common) -> None:
    pass


@app.command("verify")
@without_key_option
def verify(
    common: Common,
    what: Annotated[str, typer.Argument(metavar="FILE|JOB", help="A receipt's file, or the id of a job.")],
    worker_key: Annotated[str | None, typer.Option("--key", help="The worker's public key, 64 hex digits.")] = None,
    result: Annotated[Path | None, typer.Option(help="The file with the result's exact bytes.")] = None,
) -> int:
    """Check a receipt: signature, the worker's key, the hash of the output."""
    if worker_key is not None and not _KEY.fullmatch(worker_key):
        raise typer.BadParameter("--key takes a worker's public key, 64 hex digits; give an API key before the command")
    from cavvy.client import Receipt

    if Path(what).is_file() or not _JOB_ID.fullmatch(what):
        receipt, output = Receipt(_read(Path(what))), None
    else:
        receipt, output = _fetch(common, what)
    output = output if result is None else _read(result)
    checks, known_since = _judge(receipt, worker_key, output)
    return _print_verdict(checks, known_since, receipt, as_json=common.json)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read ({error.strerror}), and is no job's id") from error


def _fetch(common: Common, job_id: str) -> tuple[Receipt, bytes]:
    """The receipt and the result's bytes, the worker's key noted on the way."""
    from cavvy.cli._known import remember_workers

    with common.client() as client:
        receipt, result = client.receipt(job_id), client.result(job_id)
        remember_workers(client, client.job(job_id))
    return receipt, result


def _judge(receipt: Receipt, key: str | None, result: bytes | None) -> tuple[list[Check], str | None]:
    """The checks, and since when the key is known to this account."""
    from cavvy.client import config

    signer = receipt.payload.provider_pubkey
    known = config.known_workers().get(signer)
    trusted = key or (signer if known else None)
    return receipt.checks(key=trusted, result=result), known.first_seen if known else None


def _print_verdict(checks: list[Check], known_since: str | None, receipt: Receipt, *, as_json: bool) -> int:
    from cavvy.client.receipt import verdict

    found = verdict(checks)
    if as_json:
        shown = {"verdict": found, "checks": [check._asdict() for check in checks], "key_known_since": known_since}
        _output.print_json(shown | {"payload": receipt.payload})
        return _EXITS[found]
    words = {True: "ok", False: "WRONG", None: "not checked"}
    for check in checks:
        _output.print_text(f"{check.name}: {words[check.ok]} ({_output.clean(check.detail)})")
    if known_since:
        _output.print_text(f"key known since {known_since}")
    _output.print_text(f"receipt: {found}")
    return _EXITS[found]
