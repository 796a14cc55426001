"""What `--help` says below the options: what a command prints, its exit codes, examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import typer
from typer.models import DefaultPlaceholder

from cavvy.cli._exits import Exit

__all__ = ["PAGES", "Page", "add_pages"]

_MEANS = {
    Exit.OK: "all is well",
    Exit.FAILED: "something broke",
    Exit.USAGE: "wrong usage",
    Exit.NO_COORDINATOR: "no coordinator answers",
    Exit.REFUSED: "refused: the key, its role, or the request",
    Exit.UNDECIDABLE: "undecidable",
    Exit.CANNOT_START: "it cannot start: port, data, schema, model or key file",
    Exit.START_AGAIN: "the outcome of a commit is unknown; start it again",
    Exit.TIMEOUT: "--timeout was reached; the job goes on",
    Exit.INTERRUPTED: "interrupted",
}
_CLIENT = (Exit.OK, Exit.FAILED, Exit.USAGE, Exit.NO_COORDINATOR, Exit.REFUSED)
_WRITING = (*_CLIENT, Exit.START_AGAIN, Exit.INTERRUPTED)
_SERVER = (Exit.OK, Exit.FAILED, Exit.USAGE, Exit.CANNOT_START)


class Page(NamedTuple):
    """`means` replaces the usual words for an exit code."""

    prints: str
    exits: tuple[Exit, ...]
    examples: tuple[str, ...]
    means: Mapping[Exit, str] = MappingProxyType({})


#: By the command's full name.
PAGES: dict[str, Page] = {
    "backup": Page(
        "The directory it made; with --json the path and what is in it. A coordinator may run meanwhile.",
        (Exit.OK, Exit.FAILED, Exit.USAGE),
        ("cavvy backup /backups/cavvy-monday", "cavvy backup --data-dir ./data /backups/cavvy-1 --json"),
        {Exit.FAILED: "no backup was made, and nothing is left of the try: DEST is there already, or the disk is full"},
    ),
    "coordinator": Page(
        'Says on stderr where it listens; with --json prints {"url", "pid"} once it does. Ctrl-C or TERM stops it in'
        " order, a second one at once.",
        (*_SERVER, Exit.START_AGAIN),
        ("cavvy coordinator", "cavvy coordinator --port 0 --data-dir ./data --json"),
        {Exit.START_AGAIN: "the outcome of a commit is unknown, or another coordinator rules the data; start it again"},
    ),
    "demo": Page(
        "The answer on stdout, what happens on stderr. Nothing is left on the machine.",
        (*_SERVER, Exit.INTERRUPTED),
        ("cavvy demo", "cavvy demo --model model.gguf"),
    ),
    "doctor": Page(
        "A line for each thing it looked at: what is wrong, why it matters, what to do.",
        (Exit.OK, Exit.FAILED, Exit.USAGE),
        ("cavvy doctor", "cavvy --json doctor --port 4010"),
        {Exit.FAILED: "something is wrong"},
    ),
    "jobs batch": Page(
        'The ids in the order of the file; with --json a line each, {"line", "job"} or {"line", "problem"}. Up to 1,000'
        " jobs are one commit. A refused job spoils no other: stderr names its line.",
        _WRITING,
        ("cavvy jobs batch jobs.jsonl", "cavvy jobs batch - --idempotency-key monday"),
        {Exit.REFUSED: "refused: the key, its role, or at least one job; the others were taken"},
    ),
    "jobs cancel": Page(
        "What has become of the job; with --json the job. A running one ends a little later.",
        _WRITING,
        ("cavvy jobs cancel 01a200a6-4389-7f89-95ed-d356f6d8e82d --reason 'no longer needed'",),
    ),
    "jobs erase": Page(
        "The job and when its texts were erased; with --json the job. It cannot be undone.",
        _WRITING,
        ("cavvy jobs erase 01a200a6-4389-7f89-95ed-d356f6d8e82d",),
    ),
    "jobs list": Page(
        "A line a job: id, status, model, when it was made, why it is where it is. With --json the page. A filtered"
        " page may be short and not be the last: stderr says how to go on.",
        _CLIENT,
        ("cavvy jobs list --status failed --limit 20", "cavvy jobs list --q rivers --json"),
    ),
    "jobs retry": Page(
        "What becomes of the job; with --json the job. `cavvy jobs watch` follows it.",
        _WRITING,
        ("cavvy jobs retry 01a200a6-4389-7f89-95ed-d356f6d8e82d",),
    ),
    "jobs show": Page(
        "Status, usage, what happened when, and the output; with --json all fields of the API.",
        _CLIENT,
        ("cavvy jobs show 01a200a6-4389-7f89-95ed-d356f6d8e82d",),
    ),
    "jobs watch": Page(
        "Of a job the output as it comes; with --json a line an event: job, delta, end. Why it waits is said on stderr."
        " Of all jobs a line a change, first those that run or wait, until Ctrl-C; with --json a line an event: cursor,"
        " job, worker.",
        (*_CLIENT, Exit.INTERRUPTED),
        ("cavvy jobs watch 01a200a6-4389-7f89-95ed-d356f6d8e82d", "cavvy jobs watch"),
        {Exit.FAILED: "the job failed"},
    ),
    "keys create": Page(
        "The key on stdout, this once; all about it with --json.",
        _WRITING,
        ("cavvy keys create --role submit --name ci --expires 90d",),
    ),
    "keys list": Page(
        "A line a key, never its secret; with --json all that is known of them.",
        _CLIENT,
        ("cavvy keys list",),
    ),
    "keys revoke": Page(
        "What became of the key. It ends at once, with the streams it has open.",
        _WRITING,
        ("cavvy keys revoke kX3yfB2a9QpL",),
    ),
    "keys rotate": Page(
        "The new secret on stdout, this once; with --json all about the key.",
        _WRITING,
        ("cavvy keys rotate kX3yfB2a9QpL --grace 1h",),
    ),
    "login": Page(
        "Where the address and the key are kept now. The key is asked for without being shown.",
        (*_CLIENT, Exit.INTERRUPTED),
        ("cavvy login https://coordinator.example:4010",),
    ),
    "receipt verify": Page(
        "Each check, and the verdict: valid, invalid or undecidable.",
        (*_CLIENT, Exit.UNDECIDABLE),
        (
            "cavvy receipt verify 01a200a6-4389-7f89-95ed-d356f6d8e82d",
            f"cavvy receipt verify receipt.json --key {'d7' * 32} --result result.json",
        ),
        {Exit.FAILED: "the receipt is invalid", Exit.UNDECIDABLE: "undecidable: the worker's key is not known"},
    ),
    "restore": Page(
        "The directory it filled, and what to know before the next start; with --json the same.",
        (Exit.OK, Exit.FAILED, Exit.USAGE, Exit.CANNOT_START),
        ("cavvy restore /backups/cavvy-monday", "cavvy restore /backups/cavvy-monday --data-dir ./new"),
        {
            Exit.FAILED: "nothing was restored: SRC is damaged, or the data directory is not empty",
            Exit.CANNOT_START: "a process has the data directory, or the backup is of a newer Cavvy",
        },
    ),
    "run": Page(
        "The answer: token by token on a terminal; into a pipe or a file once, when it is whole, or with --live as it"
        " comes. With --json the completed job, with --live --json a line an event. Why the job waits is said on"
        " stderr. Ctrl-C stops the job, waits up to 2 s and says what it had used; a second one leaves at once. HUP and"
        " TERM leave it running.",
        (*_WRITING[:-1], Exit.TIMEOUT, Exit.INTERRUPTED),
        (
            "cavvy run 'What is the capital of France?' --temperature 0",
            "cavvy run - --max-tokens 200 --json",
            "cavvy run 'Write a long story' --detach",
            "cavvy run 'Tidy up' --effort trivial --not-before 2030-01-31T22:00:00Z --detach",
        ),
        {Exit.FAILED: "the job failed", Exit.START_AGAIN: "whether the job was taken is unknown"},
    ),
    "stop": Page(
        "What was found and told to stop, or whether everything is stopped; with --json what the API answers, a line a"
        " job. What runs ends a little later. It holds also while the coordinator's disk takes no writes.",
        _WRITING,
        (
            "cavvy stop 01a200a6-4389-7f89-95ed-d356f6d8e82d",
            "cavvy stop --thread chat-7",
            "cavvy stop --all --reason 'it went wild'",
            "cavvy stop --release",
        ),
        {Exit.REFUSED: "refused: the key, its role, or at least one job; the others were stopped"},
    ),
    "tenants create": Page(
        "The tenant's first key, this once. Takes the operator's key.",
        _WRITING,
        ("cavvy tenants create acme",),
    ),
    "tenants list": Page(
        "A line a tenant. Takes the operator's key.",
        _CLIENT,
        ("cavvy tenants list --json",),
    ),
    "trust claim": Page(
        "This worker's fingerprint, for its user to compare; with --json that and the status.",
        (Exit.OK, Exit.FAILED, Exit.USAGE, Exit.NO_COORDINATOR, Exit.REFUSED, Exit.CANNOT_START),
        ("cavvy trust claim 3FA9C1",),
        {Exit.REFUSED: "refused: the code, or the worker", Exit.CANNOT_START: "no worker here has joined"},
    ),
    "trust confirm": Page(
        "Which worker asks, where from, and its fingerprint; then it asks you. With --fingerprint what holds from now"
        " on. With --json, and no fingerprint, all that is known of who asks.",
        _WRITING,
        (
            "cavvy trust confirm tru_5d1f0c9a37be42e68817",
            "cavvy trust confirm tru_5d1f0c9a37be42e68817 --fingerprint K8PV-5RHZ-2M2C-T1B6-0SAK",
        ),
        {Exit.FAILED: "you said no, or there was nobody to ask"},
    ),
    "trust create": Page(
        "The code; then, on a terminal, which worker has claimed it, and it asks you. With --json the code, without"
        " waiting.",
        _WRITING,
        ("cavvy trust create", "cavvy trust create --detach"),
        {
            Exit.FAILED: "you said no, or nobody claimed the code in time",
            Exit.INTERRUPTED: "interrupted; a code that nobody has claimed is withdrawn",
        },
    ),
    "trust list": Page(
        "A line a worker that you trust or that asks for it, and a line a code; with --json all that is known of them.",
        _CLIENT,
        ("cavvy trust list", "cavvy trust list --user alice --operator"),
    ),
    "trust pair": Page(
        "What holds from now on, and the worker's fingerprint; with --json all that is known of it.",
        _WRITING,
        ("cavvy trust pair laptop",),
    ),
    "trust revoke": Page(
        "What has ended; with --json all that was known of it.",
        _WRITING,
        ("cavvy trust revoke tru_5d1f0c9a37be42e68817",),
    ),
    "up": Page(
        'What it found and where it listens, on stderr; with --json {"url", "pid"} once it does. Ctrl-C or TERM stops'
        " it in order, a second one at once.",
        (*_SERVER, Exit.START_AGAIN),
        ("cavvy up", "cavvy up --model model.gguf --slots 4"),
        {Exit.START_AGAIN: "the outcome of a commit is unknown, or another coordinator rules the data; start it again"},
    ),
    "worker": Page(
        "What it connects to, on stderr. Ctrl-C or TERM stops it in order, a second one at once.",
        (*_SERVER, Exit.REFUSED),
        ("cavvy worker", "cavvy worker --data-dir ./second --slots 4"),
        {Exit.REFUSED: "refused: the coordinator does not accept this worker"},
    ),
    "workers approve": Page(
        "What holds for the worker from now on; with --json all that is known of it.",
        _WRITING,
        ("cavvy workers approve wrk_5e0b135c002eab7228e2",),
    ),
    "workers drain": Page(
        "What holds for the worker from now on; with --json all that is known of it.",
        _WRITING,
        ("cavvy workers drain wrk_5e0b135c002eab7228e2",),
    ),
    "workers list": Page(
        "A line a worker, online or not; with --json all that is known of them.",
        _CLIENT,
        ("cavvy workers list",),
    ),
    "workers pause": Page(
        "What holds for the worker from now on; with --json all that is known of it.",
        _WRITING,
        ("cavvy workers pause wrk_5e0b135c002eab7228e2",),
    ),
    "workers resume": Page(
        "What holds for the worker from now on; with --json all that is known of it.",
        _WRITING,
        ("cavvy workers resume wrk_5e0b135c002eab7228e2",),
    ),
    "workers revoke": Page(
        "What holds for the worker from now on; with --json all that is known of it.",
        _WRITING,
        ("cavvy workers revoke wrk_5e0b135c002eab7228e2",),
    ),
    "workers show": Page(
        "All that is known of it, a line a field; with --json as JSON.",
        _CLIENT,
        ("cavvy workers show wrk_5e0b135c002eab7228e2",),
    ),
    "workers token": Page(
        "The command for the new worker on stdout; until when it works on stderr.",
        _WRITING,
        ("cavvy workers token", "cavvy workers token --private"),
    ),
}  # fmt: skip


def add_pages(app: typer.Typer) -> None:
    """Gives every command of the program its page."""
    for name, command in _commands(app, ""):
        if name in PAGES:
            command.epilog = _epilog(PAGES[name])


def _commands(app: typer.Typer, path: str) -> Iterator[tuple[str, typer.models.CommandInfo]]:
    for command in app.registered_commands:
        yield f"{path}{command.name}", command
    for group in app.registered_groups:
        if group.typer_instance is not None and not isinstance(group.name, DefaultPlaceholder):
            yield from _commands(group.typer_instance, f"{path}{group.name} ")


def _epilog(page: Page) -> str:
    """Paragraphs; behind a \\b the lines stay as they are."""
    means = {**_MEANS, **page.means}
    codes = "\n".join(f"  {int(code):>3}  {means[code]}" for code in sorted(page.exits))
    examples = "\n".join(f"  {example}" for example in page.examples)
    return f"Prints: {page.prints}\n\n\b\nExit codes:\n{codes}\n\n\b\nExamples:\n{examples}"
