"""One settings object: every setting with its default, its bounds and its sentence, here and nowhere else.

`cli/sources.py` fills it from flags, environment variables `USHER_…` and a TOML file.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Self, get_args

from pydantic import Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from openusher.keptcounts import KEPT_COUNTS
from openusher.kepttotals import KEPT_TOTALS_BYTES
from openusher.model.limits import TIMESTAMP_WINDOW_S_MAX


class LogKind(StrEnum):
    """Where attempts are counted: in the embedded columnar log, or in the ledger alone (the small mode)."""

    CHDB = "chdb"
    LEDGER = "ledger"


class LogFormat(StrEnum):
    """How a process writes its log: `auto` is `console` on a terminal and `json` elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(BaseSettings):
    """What an operator may set. Each field's description is its line in the docs and in the help.

    A field of type bool becomes a flag --name and --no-name. A secret is no setting: a setting names its file.
    """

    model_config = SettingsConfigDict(env_prefix="USHER_", extra="forbid", frozen=True)

    data: Path = Field(
        default=Path("usher-data"), description="The data folder; made with mode 0700 where it is missing."
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(
        default=8088, ge=0, le=65535, description="The port to listen on; 0 takes a free one and prints it."
    )
    tls_cert: Path | None = Field(
        default=None,
        description="Answer over TLS, with this certificate and its chain (PEM); read anew on SIGHUP, with the key.",
    )
    tls_key: Path | None = Field(default=None, description="The key of that certificate (PEM), not encrypted.")
    log: LogKind = Field(
        default=LogKind.CHDB,
        description="Where attempts are counted: chdb (a columnar log beside the door) or ledger (SQLite alone).",
    )
    timestamp_window_s: int = Field(
        default=300,
        ge=1,
        le=TIMESTAMP_WINDOW_S_MAX,
        description="How far a command's timestamp may be from the clock, either way.",
    )
    queue_wait_ms_max: int = Field(
        default=2_000, ge=10, description="What cannot be decided within this time is answered busy at once."
    )
    request_s_max: float = Field(
        default=10.0, gt=0, description="How long a request may take to arrive, headers and body."
    )
    keep_alive_s: int = Field(default=75, ge=1, description="How long an idle connection is kept for its next request.")
    ship_rows: int = Field(
        default=20_000,
        ge=1,
        le=100_000,
        description="Ship to the attempt log when so many attempts wait in the ledger …",
    )
    ship_age_s: float = Field(default=60.0, gt=0, description="… or when the oldest has waited so long.")
    count_s_max: float = Field(
        default=10.0, gt=0, description="How long one count may run, in the ledger and in the attempt log."
    )
    kept_counts: int = Field(
        default=KEPT_COUNTS,
        ge=0,
        le=1_000_000,
        description="Keep the counts of so many questions: asked again, one counts only what came since; 0 keeps none.",
    )
    kept_totals_bytes_max: int = Field(
        default=KEPT_TOTALS_BYTES,
        ge=0,
        description="Memory for accounts' totals, which answer counts by app, video, success and reason; 0 keeps none.",
    )
    log_by_time: bool = Field(
        default=True,
        description="Keep attempts in the log once more by time: the last hour is counted ten times as fast, on twice "
        "the disk.",
    )
    keep_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Attempts older than so many days are forgotten for ever; 0 keeps them.",
    )
    anonymise_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Attempts older than so many days keep of addresses the net, and no user agent and page; 0: all.",
    )
    session_idle_s: int = Field(
        default=300, ge=10, description="A viewer who has been silent for so long does not watch."
    )
    session_resume_s: int = Field(
        default=21_600,
        ge=10,
        description="For how long one who was silent may go on without a new use of the ticket.",
    )
    session_addresses_max: int = Field(
        default=3, ge=1, description="From how many addresses one session may be used within ten minutes."
    )
    hop_grace_s: int = Field(
        default=15, ge=0, description="After so long a viewer who went to another video has left the one before."
    )
    kick_hold_s: int = Field(
        default=60, ge=0, description="For how long a kicked viewer's ticket is refused at the same address."
    )
    connection_session_s_max: int = Field(
        default=86_400, ge=60, description="How long a connection may last that its server never asks about again."
    )
    session_kept_days: int = Field(
        default=30, ge=1, description="For how many days ended sessions are kept for reports."
    )
    free_bytes_min: int = Field(
        default=200_000_000,
        ge=0,
        description="Below so many free bytes on the data folder's disk, starts and new tickets are answered busy.",
    )
    log_memory_bytes_max: int = Field(
        default=1_500_000_000, ge=600_000_000, description="Memory the attempt log's process may use."
    )
    metrics: str | None = Field(
        default=None,
        description="Where Prometheus reads metrics over TCP, as host:port; the admin socket has them anyway.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="How stderr is written: console (for people), json, or auto: console on a terminal, else json.",
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="The least that is written to stderr.")
    demo: bool = Field(
        default=False, description="Only for `usher demo`: a throw-away node with the published credentials."
    )

    @field_validator("metrics")
    @classmethod
    def _has_host_and_port(cls, text: str | None) -> str | None:
        if text is not None:
            host_and_port(text)
        return text

    @model_validator(mode="after")
    def _has_certificate_and_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert, tls_key: one of the two is given; give both, or neither")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """None but what is passed: who asks the other sources has to know which of them had a value."""
        return (init_settings,)


def host_and_port(text: str) -> tuple[str, int]:
    """What host:port names; an IPv6 address stands in brackets. Raises ValueError."""
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port[:6]) <= 65535
    if not host or not is_port or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ValueError("give host:port, such as 127.0.0.1:9188 or [::1]:9188")
    return host.strip("[]"), int(port)


def operator_settings() -> dict[str, FieldInfo]:
    """What an operator may set. `demo` is not among it: only `usher demo` sets it."""
    return {name: field for name, field in Settings.model_fields.items() if name != "demo"}


def type_of(field: FieldInfo) -> type[Any]:
    """The type of a setting's values; one that may be None is a setting without a default."""
    kinds: set[type[Any]] = set(get_args(field.annotation) or (field.annotation,)) - {NoneType}
    (kind,) = kinds
    return kind


def taken(field: FieldInfo) -> str:
    """What a setting takes, in words."""
    kind = type_of(field)
    if issubclass(kind, StrEnum):
        return " or ".join(kind)
    kinds = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path", str: "a text"}
    bounds = [
        f"{word} {getattr(limit, name):,}"
        for name, word in {"ge": "from", "gt": "above", "le": "to"}.items()
        for limit in field.metadata
        if hasattr(limit, name)
    ]
    return " ".join([kinds[kind], *bounds])
