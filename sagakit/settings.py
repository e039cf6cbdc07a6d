"""Every setting, once: its default, its unit and its variable. The only file that reads the environment.

The names are ``SAGAKIT_<FIELD>``; Temporal's and OpenTelemetry's standard variables keep their own names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sagakit.errors import WrongSettings

_DEPLOYMENT = re.compile(r"(?=.{1,200}$)(\{service\}|[A-Za-z0-9])(\{service\}|[A-Za-z0-9_-])*")
_BUILD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_WEB_URL = re.compile(r"https?://[^\s/{}()<>\[\]|\\`\"'^]+(/[^\s{}()<>\[\]|\\`\"'^]*)?")
_POSTGRES_URL = re.compile(r"postgres(ql)?://.*\{service\}.*", re.DOTALL)


class Settings(BaseSettings):
    """All settings of a process. Frozen; passed down as an argument."""

    model_config = SettingsConfigDict(env_prefix="SAGAKIT_", frozen=True, extra="ignore", populate_by_name=True)

    data: Path = Field(Path(".data"), description="Folder of the embedded databases, span files and logs")
    database: str = Field(
        "sqlite",
        description="'sqlite' for files in the data folder, or a PostgreSQL URL with {service} in it: a database per service",
    )
    bus: str = Field("memory", description="'memory' (one process only), or an AMQP URL of RabbitMQ")
    temporal_address: str | None = Field(
        None,
        validation_alias=AliasChoices("TEMPORAL_ADDRESS", "temporal_address"),
        description="host:port of a Temporal server; without it a dev server is started in the data folder",
    )
    temporal_namespace: str = Field(
        "default",
        validation_alias=AliasChoices("TEMPORAL_NAMESPACE", "temporal_namespace"),
        description="Temporal namespace",
    )
    temporal_binary: Path | None = Field(None, description="Temporal dev server or CLI to start, before any other is looked for")
    temporal_port: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="Port of the dev server; 0 takes a free one")
    temporal_ui_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0, description="Port of the dev server's UI; 0 takes a free one"
    )
    deployment_name: str = Field(
        "sagakit-{service}",
        description="What is released together: {service} becomes the service's name, without it all services are one deployment",
    )
    build_id: str | None = Field(
        None, description="Build that this process runs: its sagas are pinned to it; without it sagas have no versions"
    )
    trace_url: str | None = Field(
        None, description="Where a saga's details link its trace to, like http://127.0.0.1:16686/trace/{trace_id}"
    )
    stream_url: str | None = Field(
        None, description="Where they link an aggregate's stream to, with {stream} in it, and {service} where it is needed"
    )
    codec_keys: SecretStr | None = Field(
        None,
        description="Keys that what Temporal keeps is encrypted with: id:base64, the first one writes, all read; or @ and a file",
    )
    codec_token: SecretStr | None = Field(None, description="Bearer token that `codec serve` asks for")
    otlp_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
        description="OTLP/HTTP collector for spans; the local span files are written anyway",
    )
    group_commit: bool = Field(default=True, description="Let concurrent commands of a process share a commit")
    hash_chain: bool = Field(default=False, description="Hash each event with the one before it in its stream; `verify` checks")
    store_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        10.0, description="Seconds one statement may take, and for which a lost answer of PostgreSQL is looked up"
    )
    image_aggregates: Annotated[int, Field(ge=0)] = Field(
        10_000, description="Aggregates that a service keeps in memory at most; 0 reads each one anew"
    )
    image_bytes: Annotated[int, Field(ge=0)] = Field(64 * 1024 * 1024, description="Bytes of events they may stand for at most")
    command_retention_hours: Annotated[float, Field(gt=0)] = Field(
        720.0, description="Hours for which the outcome of a command is kept under its key"
    )
    longest_retry_hours: Annotated[float, Field(gt=0)] = Field(
        336.0, description="Hours after which no command is sent again: the longest outage, the longest parked saga"
    )
    inbox_retention_hours: Annotated[float, Field(gt=0)] = Field(
        720.0, description="Hours for which a consumer remembers that it handled an event"
    )
    longest_redelivery_hours: Annotated[float, Field(gt=0)] = Field(
        336.0, description="Hours after which no event is delivered again: the oldest queue, dead letter, replay or backup"
    )
    relay_batch: Annotated[int, Field(ge=1, le=1000)] = Field(200, description="Events that the relay has in flight at most")
    lease_seconds: Annotated[float, Field(ge=1, le=300)] = Field(
        5.0, description="Seconds after which a silent leader is replaced"
    )
    idle_transaction_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        30.0, description="Seconds a transaction may wait for its own process before PostgreSQL ends it and frees its locks"
    )
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        0.25, description="Seconds between looks at the log without a wake-up"
    )
    max_undelivered: Annotated[int, Field(ge=1000)] = Field(
        1_000_000, description="Undelivered events of a service above which its commands are refused until it has caught up"
    )
    publish_seconds: Annotated[float, Field(gt=0, le=60)] = Field(5.0, description="Seconds until a publish counts as unknown")
    attempts: Annotated[int, Field(ge=1, le=100)] = Field(5, description="Attempts at a message before its aggregate is parked")
    max_hops: Annotated[int, Field(ge=1, le=1000)] = Field(
        16, description="Reactions and sagas in a row before an event is parked as part of a circle"
    )
    retry_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        0.2, description="Seconds before the second attempt; doubled with each further one, up to a minute"
    )
    prefetch: Annotated[int, Field(ge=1, le=1000)] = Field(50, description="Messages a consumer holds at most")
    partitions: dict[str, Annotated[int, Field(ge=1, le=64)]] = Field(
        {}, description='Queues of a consumer where it is not 1, as JSON: {"reporting.projection.sales": 8}; RabbitMQ only'
    )
    publisher: Literal["aio-pika", "batched"] = Field(
        "aio-pika",
        description="How events are written to RabbitMQ; 'batched' is faster, and made for the versions it was tested with",
    )
    drain_seconds: Annotated[float, Field(ge=1, le=60)] = Field(15.0, description="Seconds that work in hand gets at SIGTERM")
    worker_concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        20, description="Sagas that a service's worker moves on at once, and as many commands of sagas"
    )
    batch_concurrency: Annotated[int, Field(ge=1, le=256)] = Field(32, description="Commands of one saga step in flight at most")

    @field_validator("database")
    @classmethod
    def _database_is_known(cls, value: str) -> str:
        if value == "sqlite":
            return value
        if not _POSTGRES_URL.fullmatch(value):
            raise ValueError("expected 'sqlite' or a URL like postgresql://user@host:5432/{service}")
        _require_port(value)
        return value

    @field_validator("bus")
    @classmethod
    def _bus_is_known(cls, value: str) -> str:
        if value == "memory":
            return value
        if not value.startswith(("amqp://", "amqps://")):
            raise ValueError("expected 'memory' or a URL like amqp://user:password@host:5672/")
        _require_port(value)
        return value

    @field_validator("temporal_address")
    @classmethod
    def _address_has_a_port(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if not re.fullmatch(r"[^\s/:]+:\d{1,5}", value):
            raise ValueError("expected host:port, like 127.0.0.1:7233")
        _require_port(f"//{value}")
        return value

    @field_validator("deployment_name")
    @classmethod
    def _deployment_can_be_named(cls, value: str) -> str:
        if not _DEPLOYMENT.fullmatch(value):
            raise ValueError(
                "expected 1 to 200 letters, digits, - and _, a letter or digit first; {service} becomes the service's name"
            )
        return value

    @field_validator("build_id")
    @classmethod
    def _build_can_be_named(cls, value: str | None) -> str | None:
        if value is not None and not is_build_id(value):
            raise ValueError("expected 1 to 128 letters, digits and . _ + -, a letter or digit first, like 1.4.2 or a commit")
        return value

    @field_validator("trace_url")
    @classmethod
    def _trace_url_is_a_template(cls, value: str | None) -> str | None:
        return _require_template(value, "trace_id")

    @field_validator("stream_url")
    @classmethod
    def _stream_url_is_a_template(cls, value: str | None) -> str | None:
        return _require_template(value, "stream", "service")

    @model_validator(mode="after")
    def _lease_outlives_a_publish(self) -> Settings:
        if self.poll_seconds >= self.lease_seconds:
            raise ValueError("SAGAKIT_POLL_SECONDS must be below SAGAKIT_LEASE_SECONDS")
        return self

    @model_validator(mode="after")
    def _outcomes_outlive_retries(self) -> Settings:
        if self.command_retention_hours <= self.longest_retry_hours:
            raise ValueError(
                "SAGAKIT_COMMAND_RETENTION_HOURS must be above SAGAKIT_LONGEST_RETRY_HOURS: "
                "a command that is sent again after its outcome was forgotten would take effect twice"
            )
        return self

    @model_validator(mode="after")
    def _inbox_outlives_redelivery(self) -> Settings:
        if self.inbox_retention_hours <= self.longest_redelivery_hours:
            raise ValueError(
                "SAGAKIT_INBOX_RETENTION_HOURS must be above SAGAKIT_LONGEST_REDELIVERY_HOURS: "
                "an event that is delivered again after it was forgotten would be parked as out of order"
            )
        return self

    @property
    def is_embedded_bus(self) -> bool:
        """True when events travel inside one process."""
        return self.bus == "memory"


def _require_port(url: str) -> None:
    # The reason of urlsplit is left out: it quotes a part of the URL, which may be a piece of a password.
    try:
        is_wrong = urlsplit(url).port == 0
    except ValueError:
        is_wrong = True
    if is_wrong:
        raise ValueError("the port is no number from 1 to 65535")


def _require_template(url: str | None, needed: str, *others: str) -> str | None:
    if url is None:
        return None
    rest = url
    for name in (needed, *others):
        rest = rest.replace(f"{{{name}}}", "x")
    if f"{{{needed}}}" not in url or not _WEB_URL.fullmatch(rest):
        optional = "".join(f", and {{{name}}} if wanted" for name in others)
        raise ValueError(
            f"expected an http or https URL with {{{needed}}} in it{optional}; encode any other brace, space, quote or bracket"
        )
    _require_port(rest)
    return url


def is_build_id(text: str) -> bool:
    """Tell whether a text may name a build; one that may needs no quoting anywhere."""
    return _BUILD.fullmatch(text) is not None


def variable_of(field: str) -> str:
    """Name the environment variable of a field."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return f"SAGAKIT_{field.upper()}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings. Raises `WrongSettings`, which lists every wrong one with its variable."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        # The value itself is left out: a URL may hold a password.
        problems = [f"{_place(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors(include_input=False)]
        raise WrongSettings("wrong settings: " + "; ".join(problems)) from None


def _place(location: tuple[int | str, ...]) -> str:
    if not location:
        return "settings"
    name = str(location[0])
    return variable_of(name) if name in Settings.model_fields else name
