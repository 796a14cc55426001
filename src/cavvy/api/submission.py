"""From a submit body to what the core takes: the input's bytes, the parameters' bytes, the needs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from cavvy import defaults
from cavvy.api.auth import Caller
from cavvy.api.fields import checked_name, refuse
from cavvy.api.inputs import expected_tokens, job_input, job_params
from cavvy.api.problems import ProblemError
from cavvy.api.terms import parse_terms
from cavvy.core.job import Effort, JobType, Needs, PrivacyClass, Terms, needs_of, shared_needs
from cavvy.core.receipt import params_bytes
from cavvy.errors import InvalidInput
from cavvy.protocol.rest_stop import CancelBody
from cavvy.protocol.rest_submit import NOT_BUILT_FIELDS, SubmitBody

__all__ = ["Submission", "known_values", "parse_body", "parse_cancel", "parse_submission"]

T = TypeVar("T")
_ALLOWED = {
    field: [one.value for one in kind]
    for field, kind in (("job_type", JobType), ("privacy_class", PrivacyClass), ("effort", Effort))
}
ON_NO_TRUSTED = ("fail", "wait")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """`input` and `params` are hashed and sent exactly as they are here; `params` is RFC 8785."""

    user_id: str
    needs: Needs
    input: bytes
    params: bytes
    metadata: bytes | None
    effort: Effort
    thread_id: str | None
    terms: Terms
    estimated_tokens: int
    payment_ref: str | None = None
    waits_untrusted: bool = False


def parse_submission(body: dict[str, Any], caller: Caller, default_terms: Terms) -> Submission:
    """Raises InvalidInput (`not_supported`, `invalid_field`) naming the field and what is allowed; ProblemError (403)
    for a `user_id` that the caller may not give.
    """
    _known_fields(body, SubmitBody, NOT_BUILT_FIELDS)
    known_values(body)
    _known_parts(body)
    submit = _convert(body, SubmitBody)
    user_id = _user(submit, caller)
    needs = needs_of(
        tenant=caller.tenant,
        user_id=user_id,
        job_type=JobType(submit.job_type),
        privacy_class=PrivacyClass(submit.privacy_class),
        model=checked_name(submit.model, "model"),
    )
    given = job_input(submit)
    return Submission(
        user_id=user_id,
        needs=shared_needs(needs),
        input=given,
        params=params_bytes(job_params(submit)),
        metadata=_metadata(submit.metadata),
        effort=Effort(submit.effort),
        thread_id=_thread(submit.thread_id),
        terms=parse_terms(submit, default_terms),
        estimated_tokens=expected_tokens(submit, given),
        payment_ref=checked_name(submit.payment_ref, "payment_ref"),
        waits_untrusted=_waits_untrusted(submit),
    )


def parse_cancel(body: dict[str, Any]) -> str | None:
    """The reason, if one is given."""
    return checked_name(parse_body(body, CancelBody).reason, "reason")


def parse_body(body: dict[str, Any], kind: type[T], not_built: Collection[str] = ()) -> T:
    """Raises InvalidInput, also for a field that `kind` does not have."""
    _known_fields(body, kind, not_built)
    return _convert(body, kind)


def _known_fields(body: dict[str, Any], kind: type[Any], not_built: Collection[str] = ()) -> None:
    allowed: tuple[str, ...] = kind.__struct_fields__
    for name in body:
        if name in allowed:
            continue
        if name in not_built:
            raise InvalidInput("not_supported", f"{name!r} is not supported yet; leave it out.", field=name)
        listed = ", ".join(sorted(allowed))
        raise InvalidInput("invalid_field", f"There is no field {name[:80]!r}; allowed are: {listed}.", field=name[:80])


def known_values(body: dict[str, Any]) -> None:
    for field, allowed in _ALLOWED.items():
        if field in body and body[field] not in allowed:
            refuse(field, f"must be exactly one of: {', '.join(allowed)}")


def _known_parts(body: dict[str, Any]) -> None:
    """Content parts other than text are not built yet."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in ("image_url", "input_audio", "file"):
                raise InvalidInput(
                    "not_supported", f"Content parts of type {kind!r} are not supported yet.", field="messages"
                )


def _convert(body: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.strip("`.").split(".")[0].split("[")[0] or None
        where = f"Field {path.strip('`.')!r}: " if path else ""
        raise InvalidInput("invalid_field", f"{where}{text[0].lower()}{text[1:]}.", field=field) from error


def _user(submit: SubmitBody, caller: Caller) -> str:
    if submit.user_id in (None, caller.user_id):
        return caller.user_id
    if not caller.act_for_users:
        detail = (
            "This key may not act for users: leave 'user_id' out, or use a key made with"
            " `cavvy keys create --act-for-users`."
        )
        raise ProblemError("forbidden", detail, field="user_id")
    return checked_name(submit.user_id, "user_id") or ""


def _waits_untrusted(submit: SubmitBody) -> bool:
    """Who gives `on_no_trusted` believes that the job is PRIVATE: it must not go out as PUBLIC."""
    given = submit.on_no_trusted
    if given is None:
        return False
    if given not in ON_NO_TRUSTED:
        refuse("on_no_trusted", f"must be exactly one of: {', '.join(ON_NO_TRUSTED)}")
    if submit.privacy_class != PrivacyClass.PRIVATE:
        refuse("on_no_trusted", "is for PRIVATE jobs; give privacy_class PRIVATE, or leave it out")
    return given == "wait"


def _thread(thread_id: str | None) -> str | None:
    if thread_id is not None and ("/" in thread_id or thread_id in (".", "..")):
        refuse("thread_id", "must hold no '/' and not be '.' or '..': it is a part of addresses")
    return checked_name(thread_id, "thread_id")


def _metadata(metadata: dict[str, Any] | None) -> bytes | None:
    if metadata is None:
        return None
    if len(metadata) > defaults.MAX_METADATA_KEYS:
        refuse("metadata", f"must hold at most {defaults.MAX_METADATA_KEYS} keys")
    return msgspec.json.encode(metadata)
