"""`cavvy trust`: create, claim, pair, list, confirm, revoke."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cavvy import defaults
from cavvy.cli import _output
from cavvy.cli._exits import Exit
from cavvy.cli._limits import time_limit
from cavvy.cli._options import Common, client_options, server_options
from cavvy.cli.workers import find_worker
from cavvy.errors import ClientError, JobTimeout, RequestRefused

if TYPE_CHECKING:
    from cavvy.client import Cavvy
    from cavvy.protocol.rest_trust import NewTrustCode, TrustView

__all__ = ["app"]

app = typer.Typer(
    help="Say which workers you trust with your PRIVATE jobs. Everybody trusts for themselves.", no_args_is_help=True
)

WITHDRAW_WAIT_S = 2.0  # how long Ctrl-C waits for a code to be withdrawn


def _not_empty(value: str) -> str:
    if not value:
        raise typer.BadParameter("it is empty")
    return value


TrustId = Annotated[
    str, typer.Argument(metavar="ID", help="The id, as `cavvy trust list` shows it.", callback=_not_empty)
]
User = Annotated[
    str | None, typer.Option("--user", help="Whose trust, with a key that may act for users.", show_default="yours")
]
Operator = Annotated[
    bool, typer.Option("--operator", help="Of a user of Dispatch's clients, who send no key, with the operator's key.")
]


class _Whose(NamedTuple):
    """Whose trust a command is about."""

    user: str | None
    operator: bool

    @property
    def options(self) -> str:
        """What another command needs to be about the same user."""
        user = "" if self.user is None else f" --user {shlex.quote(self.user)}"
        return user + (" --operator" if self.operator else "")


@app.callback()
@client_options
def _trust(common: Common) -> None:
    pass


@app.command("create")
@client_options
def create(
    common: Common,
    detach: Annotated[bool, typer.Option("--detach", help="Print the code and leave; confirm later.")] = False,
    user: User = None,
    operator: Operator = False,
) -> Exit:
    """Make a code for one worker, wait until it is claimed, and ask whether you trust who claimed it."""
    whose = _Whose(user, operator)
    with _client(common, user, operator=operator) as client:
        made = client.create_trust_code(user=user)
        if common.json:
            _output.print_json(made)
            return Exit.OK
        _output.print_text(f"code {made.pairing_code}, until {made.expires_at}: on the worker's machine type")
        _output.print_text(f"  cavvy trust claim {made.pairing_code}")
        if detach or not sys.stdin.isatty():
            _note_how_to_confirm(made, whose)
            return Exit.OK
        try:
            claim = _claimed(client, made, whose)
        except KeyboardInterrupt:
            _withdraw(client, made, whose)
            return Exit.INTERRUPTED
        return _ask(common, client, claim, whose)


@app.command("claim")
@server_options
def claim(
    common: Common,
    code: Annotated[str, typer.Argument(metavar="CODE", help="What `cavvy trust create` printed.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the worker keeps its data.", show_default="the user's data directory")
    ] = None,
) -> None:
    """On the worker's machine: ask for the trust of whoever made this code. The worker may run meanwhile."""
    import asyncio

    from cavvy.cli import _config
    from cavvy.client.config import config_file
    from cavvy.protocol.fingerprint import worker_fingerprint
    from cavvy.worker.claiming import claim_trust
    from cavvy.worker.identity import WorkerHome

    home = WorkerHome(_config.worker_data_dir(config_file(common.config), data_dir) / "worker")
    result = asyncio.run(claim_trust(home, code))
    fingerprint = worker_fingerprint(home.identity().key)
    if common.json:
        _output.print_json({"status": result.status, "fingerprint": fingerprint})
        return
    _output.print_text(f"this worker's fingerprint is {fingerprint}")
    _output.note("its user is asked to confirm; read the fingerprint to them")


@app.command("pair")
@client_options
def pair(
    common: Common,
    worker: Annotated[
        str,
        typer.Argument(metavar="WORKER", help="The worker's id, or its name if only one has it.", callback=_not_empty),
    ],
    user: User = None,
    operator: Operator = False,
) -> None:
    """Trust a worker that was let in, without a code."""
    with _client(common, user, operator=operator) as client:
        paired = client.pair_worker(_worker_id(common, worker, operator=operator), user=user)
    _show(common, paired, "is paired")


@app.command("list")
@client_options
def list_trust(common: Common, user: User = None, operator: Operator = False) -> None:
    """List whom you trust, who asks for it, and which codes nobody has claimed."""
    with _client(common, user, operator=operator) as client:
        found = client.trust(user=user)
    if common.json:
        _output.print_json(found)
        return
    rows = [
        (each.id, each.status, each.name or each.worker_id, each.fingerprint, each.paired_at or each.created_at)
        for each in (*found.providers, *found.waiting)
    ]
    _output.print_table(("ID", "IS", "WORKER", "FINGERPRINT", "SINCE"), rows)


@app.command("confirm")
@client_options
def confirm(
    common: Common,
    trust_id: TrustId,
    fingerprint: Annotated[
        str | None, typer.Option(help="What the worker shows; without it you are asked.", show_default=False)
    ] = None,
    user: User = None,
    operator: Operator = False,
) -> Exit:
    """Trust the worker that has claimed a code of yours."""
    with _client(common, user, operator=operator) as client:
        waiting = {} if fingerprint is not None else {each.id: each for each in client.trust(user=user).waiting}
        if trust_id in waiting:
            return _ask(common, client, waiting[trust_id], _Whose(user, operator))
        _show(common, client.confirm_trust(trust_id, fingerprint or "", user=user), "is paired")
        return Exit.OK


@app.command("revoke")
@client_options
def revoke(common: Common, trust_id: TrustId, user: User = None, operator: Operator = False) -> None:
    """Trust a worker no more, at once; or refuse a claim, or withdraw a code."""
    with _client(common, user, operator=operator) as client:
        ended = client.end_trust(trust_id, user=user)
    _show(common, ended, "is not trusted any more" if ended.status == "paired" else "has ended")


@contextmanager
def _client(common: Common, user: str | None, *, operator: bool) -> Iterator[Cavvy]:
    if operator and user is None:
        raise typer.BadParameter("--operator is for users who send no key: say which one with --user")
    with common.client(operator=operator) as client:
        yield client


def _worker_id(common: Common, worker: str, *, operator: bool) -> str:
    """By name, too. The operator's key pairs workers of tenants that it does not see: this account's own key does."""
    try:
        with common.client() as client:
            return find_worker(client, worker).id
    except RequestRefused:
        if not operator:
            raise
        return worker


def _claimed(client: Cavvy, made: NewTrustCode, whose: _Whose) -> TrustView | None:
    """Waits for a worker to claim the code; None when it has ended without."""
    while True:
        try:
            waiting = client.trust(user=whose.user).waiting
        except ClientError:
            _note_how_to_confirm(made, whose)
            raise
        found = next((each for each in waiting if each.id == made.id), None)
        if found is None or found.fingerprint is not None:
            return found
        time.sleep(defaults.TRUST_POLL_S)


def _note_how_to_confirm(made: NewTrustCode, whose: _Whose) -> None:
    _output.note(f"when it is claimed: cavvy trust confirm {made.id}{whose.options}")


def _withdraw(client: Cavvy, made: NewTrustCode, whose: _Whose) -> None:
    """Ends a code that nobody waits for any more, and says so."""
    try:
        with time_limit(WITHDRAW_WAIT_S, JobTimeout("no answer", made.id)):
            client.end_trust(made.id, user=whose.user)
    except ClientError as error:
        _output.note(f"the code may still be claimed ({error}); cavvy trust revoke {made.id}{whose.options}")
    else:
        _output.note("the code is withdrawn")


def _ask(common: Common, client: Cavvy, claim: TrustView | None, whose: _Whose) -> Exit:
    """Shows who has claimed, asks, and does as the answer says."""
    if claim is None or claim.fingerprint is None:
        raise ClientError("no worker has claimed this code; `cavvy trust list` shows what there is")
    if common.json:
        _output.print_json(claim)
    else:
        where = f" at {claim.address}" if claim.address else ""
        _output.print_text(_output.clean(f"{_name(claim)}{where} asks for your trust"))
        _output.print_text(f"its fingerprint is {claim.fingerprint}")
    if common.json or not sys.stdin.isatty():
        raise ClientError(
            f"it is not confirmed yet: if the worker shows the same, cavvy trust confirm {claim.id}"
            f" --fingerprint {claim.fingerprint}{whose.options}"
        )
    if typer.confirm("Does the worker show the same?", err=True):
        client.confirm_trust(claim.id, claim.fingerprint, user=whose.user)
        _output.print_text("it is paired: it is given your PRIVATE jobs from now on")
        return Exit.OK
    client.end_trust(claim.id, user=whose.user)
    _output.note("it is refused, and the code is worth nothing any more")
    return Exit.FAILED


def _show(common: Common, trust: TrustView, what: str) -> None:
    if common.json:
        _output.print_json(trust)
        return
    shown = f"{_name(trust)} {what}" if trust.provider_pubkey else f"{trust.id} {what}"
    _output.print_text(_output.clean(shown))
    if trust.fingerprint is not None:
        _output.note(f"its fingerprint is {trust.fingerprint}")


def _name(trust: TrustView) -> str:
    if trust.worker_id:
        return f"{trust.name} ({trust.worker_id})"
    return f"the worker with the key {(trust.provider_pubkey or '')[:16]}…"
