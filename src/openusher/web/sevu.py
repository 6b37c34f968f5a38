"""The SEVU endpoint: a signed command in a form field, answered in the protocol's own form, always with status 200."""

from __future__ import annotations

import asyncio
import time

from openusher.errors import Busy, CommandRefused, CommitUnknown, CountUnavailable, StoreError, UsherError
from openusher.logs import event_log
from openusher.settings import Settings
from openusher.sevu import codes
from openusher.sevu.attempts import (
    CountAttempts,
    GroupAttempts,
    ListAttempts,
    attempts_members,
    count_members,
    groups_members,
)
from openusher.sevu.command import VerifiedCommand, read_command, understand, verify
from openusher.sevu.envelope import Reply, encode, failure, media_type, success
from openusher.sevu.form import ReplyForm, read_form
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.refusal import refusal_of, refused
from openusher.sevu.registry import Ask, CommandKind
from openusher.sevu.sessions import KickSessions, ListSessions, kick_members, sessions_members
from openusher.sevu.tickets import IssueTicket, RevokeTicket, ShowTicket, issued_members, status_members
from openusher.usher import Usher
from openusher.web.asgi import (
    CLOSE,
    Answered,
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    Headers,
    Receive,
    Respond,
    Scope,
    Send,
    after_too_large,
    header,
    read_body,
    send_answer,
)
from openusher.web.observed import Commanded, Observed, observed_of

_FOLDERS = ("", "/stable", "/dev", "/cp/api/0.8")
PATHS = frozenset(path or "/" for folder in _FOLDERS for path in (folder, f"{folder}/"))

_CONTENT_TYPES = {form: (b"content-type", media_type(form).encode()) for form in ReplyForm}

log = event_log()


class SevuEndpoint:
    """The endpoint. Clients decide on `status` in a reply that must be 2xx (SEVU facts, 1.6)."""

    method = "POST"

    def __init__(self, usher: Usher, settings: Settings) -> None:
        self._usher = usher
        self._window_s = settings.timestamp_window_s
        self._request_s_max = settings.request_s_max

    def ask(
        self, target: str, headers: Headers, body: bytes, answer: Respond, observed: Observed
    ) -> asyncio.Future[None]:
        """Carry out the command in `body`, and answer it when that is done, or given up: by the server, at its end."""
        observed.route = route_of(target)

        async def carry_out() -> None:
            answer(*await self._answer(headers, body, observed.began))

        return asyncio.get_running_loop().create_task(carry_out())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The way of all that did not come whole, or is no command."""
        observed = observed_of(scope)
        began = observed.began
        try:
            if scope["method"] != "POST":
                raise refused(codes.POST_NEEDED)
            body = await read_body(scope, receive, seconds_max=self._request_s_max)
        except CommandRefused as refusal:
            answered = _refused(refusal, began)
        except BodyTooLarge:
            answered = _refused(refused(codes.TOO_LARGE), began, *after_too_large(scope))
        except BodyTooSlow:
            answered = _refused(refused(codes.TOO_SLOW), began, CLOSE)
        except ClientGone:
            return
        else:
            answered = await self._answer(scope["headers"], body, began)
        status, text, headers, observed.learnt = answered
        await send_answer(send, status, text, *headers)

    async def _answer(self, headers: Headers, body: bytes, began: float) -> Answered:
        """What a request is answered that came whole."""
        try:
            field = read_form(body, header(headers, b"content-type").decode("latin-1"))
        except CommandRefused as refusal:
            return _refused(refusal, began)
        commanded = Commanded()
        return _answered(await self._reply(field.text, began, commanded), commanded, field.reply_form)

    async def _reply(self, text: bytes, began: float, commanded: Commanded) -> Reply:
        """What a command is answered."""
        kind: CommandKind | None = None
        try:
            signed = read_command(text)
            kind = signed.kind
            commanded.command, commanded.cdn = kind.name, signed.cdn
            key = self._usher.api_key(signed.api_key, cdn=signed.cdn)
            # Not before: what is no key of ours may be anything that was put in its place.
            commanded.api_key = key.api_key
            now_ms = self._usher.wall_ms
            verified = verify(signed, secret=key.secret, now_ms=now_ms, window_s=self._window_s)
            self._usher.key_has_signed(key)
            # What is created lives by the clock that will decide it.
            understood = understand(verified, now_ms=self._usher.clock_ms if kind.creates else now_ms)
            try:
                data = await self._carry_out(verified, understood.ask)
            except asyncio.CancelledError:
                # By the server, which ends and has waited for it. Whoever asked is told so in the protocol's form.
                raise _unfinished(understood.ask) from None
        except UsherError as error:
            return _failure(refusal_of(error, kind.codes if kind else None), began, commanded, error)
        except Exception as error:
            # The protocol's own "unexpected error": these clients read nothing else than a reply in its form.
            log.exception("command.failed")
            return _failure(refused(codes.UNEXPECTED_ERROR), began, commanded, error)
        commanded.code = kind.codes.success.number
        return success(kind.codes.success, data, ignored=understood.ignored, spent_s=time.perf_counter() - began)

    async def _carry_out(self, command: VerifiedCommand, ask: Ask) -> dict[str, JsonValue]:
        usher, cdn = self._usher, command.cdn
        match ask:
            case IssueTicket():
                ticket = await usher.issue_ticket(
                    ask.ticket,
                    api_key=command.api_key,
                    replay_digest=command.replay_digest,
                    replay_until_ms=command.replay_until_ms,
                )
                return issued_members(ticket)
            case ShowTicket():
                return status_members(await usher.ticket(cdn, ask.key))
            case RevokeTicket():
                await usher.revoke_ticket(cdn, ask.key)
                return {}
            case ListAttempts():
                return attempts_members(await usher.searching.newest(cdn, ask.search, seek=ask.seek, limit=ask.limit))
            case CountAttempts():
                return count_members(ask, await usher.searching.count(cdn, ask.search))
            case GroupAttempts():
                found = await usher.searching.group(cdn, ask.search, ask.by, seek=ask.seek, limit=ask.limit)
                return groups_members(ask, found.groups, group_count=found.group_count, total=found.total)
            case ListSessions():
                live = usher.sessions(cdn, ask.search)
                return sessions_members(live[ask.seek : ask.seek + ask.limit], total=len(live))
            case KickSessions():
                return kick_members(await usher.kick(cdn, ask.search))


def route_of(path: str) -> str:
    """The path as logs and metrics name it: without the last slash."""
    return path.rstrip("/") or "/"


def _answered(
    reply: Reply, commanded: Commanded, form: ReplyForm = ReplyForm.JSON, *headers: tuple[bytes, bytes]
) -> Answered:
    return 200, encode(reply, form), [_CONTENT_TYPES[form], *headers], commanded


def _refused(refusal: CommandRefused, began: float, *headers: tuple[bytes, bytes]) -> Answered:
    """How a request is answered that names no command: in JSON, since it asks for no other form either."""
    commanded = Commanded()
    return _answered(_failure(refusal, began, commanded), commanded, ReplyForm.JSON, *headers)


def _failure(refusal: CommandRefused, began: float, commanded: Commanded, error: Exception | None = None) -> Reply:
    """`error` is what it is refused for, where that says more."""
    commanded.code, commanded.error = refusal.code, error or refusal
    return failure(refusal, spent_s=time.perf_counter() - began)


def _unfinished(ask: Ask) -> StoreError:
    """What is known of a command that is given up."""
    match ask:
        case IssueTicket() | RevokeTicket() | KickSessions():
            return CommitUnknown("the node is stopping; it may have been written")
        case ListAttempts() | CountAttempts() | GroupAttempts():
            return CountUnavailable("the node is stopping")
        case ShowTicket() | ListSessions():
            return Busy("the node is stopping")
