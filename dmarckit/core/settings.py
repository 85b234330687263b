"""The settings, and where they come from. Nothing is read at import.

Strongest first: arguments, environment variables ``DMARCKIT_<NAME>`` (nested names with
``__``), files named by ``DMARCKIT_<NAME>_FILE``, ``dmarckit.toml`` in the working directory or
the file given by ``--config`` (or ``DMARCKIT_CONFIG``). AWS's own settings are the AWS SDK's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Collection
from datetime import date
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic
import pydantic_settings
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, TomlConfigSettingsSource

from dmarckit.core.errors import SettingsError, one_line
from dmarckit.core.language import use
from dmarckit.core.text import did_you_mean, normalize_domain
from dmarckit.core.thresholds import Kind, Limits, Thresholds

Source = pydantic_settings.PydanticBaseSettingsSource


def _location(url: str) -> str:
    """Return the place without a slash at its end; ValueError for what is none."""
    is_url = url.startswith("s3:") or "://" in url
    if is_url and not re.match(r"s3://[^/]|file://.", url):
        raise ValueError("a place is s3://bucket/prefix, or a folder")
    return url.rstrip("/") or "/"


Location = Annotated[str, pydantic.AfterValidator(_location)]


class Strict(pydantic.BaseModel):
    """A value of several fields: no unknown ones, and none is changed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class DomainGroup(Strict):
    """Domains that belong to one owner, with the Slack channel that hears of them."""

    name: str
    domains: tuple[str, ...]
    owner: str | None = None
    slack_channel: str | None = None

    @field_validator("domains")
    @classmethod
    def _one_form(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(normalize_domain, names))


class DeclaredSender(Strict):
    """A sender that the company has decided about; it comes before every other way to tell."""

    name: str
    domain: str = ""
    """policy domain at which it holds; empty: at all"""
    denied: bool = False
    """it is not ours, whatever it looks like"""
    kind: Kind = "own"
    networks: tuple[str, ...] = ()
    dkim_domains: tuple[str, ...] = ()
    spf_domains: tuple[str, ...] = ()

    @field_validator("domain")
    @classmethod
    def _one_form(cls, name: str) -> str:
        return normalize_domain(name)


class Mute(Strict):
    """A finding that is known and accepted until a date."""

    fingerprint: str
    reason: str
    until: date


Mailbox = Annotated[str, pydantic.AfterValidator(lambda text: _mailbox(text))]
_WORD, _LABEL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", r"[A-Za-z0-9-]+"
_ADDRESS = re.compile(rf"{_WORD}(?:\.{_WORD})*@(?:{_LABEL}\.)+{_LABEL}")


def _mailbox(text: str) -> str:
    """Return ``ops@example.com`` or ``Name <ops@example.com>`` as it is; ValueError for others."""
    _name, address = parseaddr(text)
    if not text.isprintable() or address not in text or not _ADDRESS.fullmatch(address):
        raise ValueError("give an address like ops@example.com (a domain in its ASCII form)")
    return text


PREFIX = "DMARCKIT_"
CONFIG_VARIABLE = "DMARCKIT_CONFIG"
DEFAULT_FILE = "dmarckit.toml"
Names = Annotated[tuple[str, ...], NoDecode]
MAX_LINK_SECONDS = 7 * 24 * 3600  # SigV4 presigned URLs end after seven days at the latest


class Settings(BaseSettings):
    """All settings of an installation, checked. Secrets never show in a repr."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, extra="forbid",
        frozen=True,
    )  # fmt: skip

    home: Location = Field("./dmarckit-data", description="s3://bucket/prefix or a folder")
    mail: Location | None = Field(None, description="where the report mails are; <home>/mail")
    lake: Location | None = Field(None, description="the tables; <home>/lake")
    pages: Location | None = Field(None, description="the HTML pages; <home>/pages")
    exports_to: Location | None = Field(None, description="per-report files; <home>/exports")
    domains: Annotated[tuple[str | DomainGroup, ...], NoDecode] = Field(
        (), description="domains to report on, or groups of them; empty: all seen"
    )
    trust: Literal["pass", "not-fail", "any"] | None = Field(
        None, description="which mails count; pass for S3, any for a folder"
    )
    authserv_id: str = Field("amazonses.com", description="who writes the trusted results header")
    failures: bool = Field(False, description="keep failure (ruf) reports, redacted")
    failures_content: bool = Field(False, description="keep their subjects and bodies too")
    salt: SecretStr | None = Field(None, description="for hashed local parts; <home>/salt")
    reporters: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="name of a reporter → domains that it also writes from"
    )
    exports: Literal["all", "failing", "none"] = "failing"
    senders: tuple[DeclaredSender, ...] = ()
    mute: tuple[Mute, ...] = ()
    mmdb: Path | None = Field(None, description="MMDB file with network (ASN) names")
    slack_token: SecretStr | None = None
    slack_channel: str | None = None
    slack_url: str = Field("https://slack.com/api/", description="Slack's Web API")
    mail_to: Annotated[tuple[Mailbox, ...], NoDecode] = Field(
        (), max_length=50, description="addresses that get the messages by mail"
    )
    mail_from: Mailbox | None = Field(None, description="their sender; the first of mail_to")
    smtp_url: str | None = Field(
        None, description="smtps://user@host:465 or smtp://user@host:587; without it SES sends"
    )
    smtp_password: SecretStr | None = Field(None, description="of the user in smtp_url")
    webhook_url: SecretStr | None = Field(None, description="address that messages are posted to")
    webhook_secret: SecretStr | None = Field(None, description="signs what is posted there")
    webhook_format: Literal["auto", "json", "teams", "chat"] = Field(
        "auto", description="auto: by the host, teams (Microsoft), chat (Google) or json"
    )
    presign_key_id: str | None = None
    presign_secret: SecretStr | None = None
    presign_expires: int = Field(
        MAX_LINK_SECONDS, ge=60, le=MAX_LINK_SECONDS, description="seconds that links last"
    )
    page_base_url: str | None = Field(None, description="stable address of the pages")
    alert_forwarded: bool = Field(
        False, description="alert about failing reports whose failures are all forwarded mail"
    )
    language: Literal["en", "ja"] = Field("en", description="of pages and Slack")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: JSON lines when stderr is not a terminal"
    )
    emf: Literal["none", "totals", "domains"] = Field(
        "none",
        description="numbers about mail that a run prints for CloudWatch, which charges for each",
    )
    health_host: str = Field("127.0.0.1", description="where /health and /metrics listen")
    health_port: int = Field(9464, ge=0, le=65535, description="their port; 0: they are off")
    resolvers: Names = Field((), description="DNS servers to ask; empty: the system's")
    dns_timeout: float = Field(5.0, gt=0, le=60, description="seconds for one DNS answer")
    google_credentials: Path | SecretStr | None = Field(
        None, description="Google service account or authorised user: a JSON file, or its content"
    )
    google_subject: str | None = Field(
        None, description="user in whose name the service account asks (delegation)"
    )
    postmaster_domains: Names = Field(
        (), description="domains in Postmaster Tools; empty: those it lists"
    )
    postmaster_url: str = Field(
        "https://gmailpostmastertools.googleapis.com/", description="Postmaster Tools API"
    )
    keep_days: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="table → days its rows are kept; failures: 30"
    )
    messages_table: bool = Field(
        True, description="keep the table messages for Athena, Spark and others (maintain)"
    )
    watch_queue: str | None = Field(None, description="URL of the SQS queue of arrivals")
    dask: str | None = Field(None, description="address of a Dask scheduler to work on")
    workers: int = Field(0, ge=0, le=256, description="processes at once; 0: one a core")
    largest_mail: int = Field(
        0, ge=0, description="bytes of a mail above which it is left to a larger machine; 0: none"
    )
    limits: Limits = Limits()
    thresholds: Thresholds = Thresholds()

    @field_validator("domains", "mail_to", "resolvers", "postmaster_domains", mode="before")
    @classmethod
    def _names_from_text(cls, value: Any) -> Any:
        """Read names from the environment: with commas between, or JSON as for other lists."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [name.strip() for name in value.split(",") if name.strip()]

    @field_validator("domains")
    @classmethod
    def _are_domains(cls, entries: tuple[str | DomainGroup, ...]) -> tuple[str | DomainGroup, ...]:
        for name in (n for e in entries for n in ((e,) if isinstance(e, str) else e.domains)):
            if not re.fullmatch(r"[a-z0-9._-]+", normalize_domain(name)):
                raise ValueError(f"{one_line(name, 80)} is none; write a domain as example.com")
        return entries

    @field_validator("smtp_url", "webhook_url")
    @classmethod
    def _is_address(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Take addresses of the right kind, and no password in one that is no secret."""
        if value is None:
            return None
        mail, text = info.field_name == "smtp_url", str(getattr(value, "_secret_value", value))
        schemes = ("smtps", "smtp") if mail else ("https", "http")
        try:  # what these raise may hold the secret
            url = urlsplit(text)
            good = url.hostname and url.port != 0 and re.fullmatch(r"[\x21-\x7e]+", text)
        except ValueError:
            good = False
        if not good or url.scheme not in schemes or (mail and url.path.strip("/")):
            raise ValueError(f"give an address that begins with {schemes[0]}:// or {schemes[1]}://")
        if mail and url.password:
            raise ValueError("put the password into smtp_password")
        return value

    @field_validator("google_credentials", mode="before")
    @classmethod
    def _path_or_key(cls, value: Any) -> Any:
        """Take what begins as JSON for the key itself, a secret; all else for its file's path."""
        if not isinstance(value, str | Path):
            return value
        return SecretStr(str(value)) if str(value).lstrip().startswith("{") else Path(value)

    @pydantic.model_validator(mode="after")
    def _mails_lie_apart(self) -> Settings:
        """Refuse places where the next ingest would list what dmarckit writes as mails."""
        for name, url in (("lake", self.lake_url), ("pages", self.pages_url)):
            if f"{url}/".startswith(f"{self.mail_url}/"):
                raise ValueError(f"it holds the {name} ({url}); mails need a place of their own")
        return self

    @property
    def mail_url(self) -> str:
        """Return the place of the report mails."""
        return self.mail or f"{self.home}/mail"

    @property
    def lake_url(self) -> str:
        """Return the place of the tables."""
        return self.lake or f"{self.home}/lake"

    @property
    def pages_url(self) -> str:
        """Return the place of the pages."""
        return self.pages or f"{self.home}/pages"

    @property
    def exports_url(self) -> str:
        """Return the place of the per-report files."""
        return self.exports_to or f"{self.home}/exports"

    @property
    def trust_level(self) -> Literal["pass", "not-fail", "any"]:
        """Return `trust`, or its default: strict where anyone may mail, open for an own folder."""
        return self.trust or ("pass" if self.mail_url.startswith("s3://") else "any")

    @property
    def domain_names(self) -> tuple[str, ...]:
        """Return every domain to report on, lower case; empty: all that reports speak of."""
        names: list[str] = []
        for entry in self.domains:
            names += [normalize_domain(entry)] if isinstance(entry, str) else entry.domains
        return tuple(dict.fromkeys(names))

    def presign_keys(self) -> tuple[str, str] | None:
        """Return the IAM user's own keys for links, when both are given."""
        if self.presign_key_id and self.presign_secret:
            return self.presign_key_id, self.presign_secret.get_secret_value()
        return None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Source,
        env_settings: Source,
        dotenv_settings: Source,
        file_secret_settings: Source,
    ) -> tuple[Source, ...]:
        """Read arguments, then environment, then files that it names, then TOML."""
        toml = _config_file()
        sources = (init_settings, env_settings, _FileVariables(settings_cls))
        return (*sources, TomlConfigSettingsSource(settings_cls, toml)) if toml else sources


_PARTS = {  # names of the fields of settings that have some
    *(name for part in (DomainGroup, DeclaredSender, Mute) for name in part.model_fields),
    *(field.name for part in (Limits, Thresholds) for field in dataclasses.fields(part)),
}


class _FileVariables(Source):
    """``DMARCKIT_SLACK_TOKEN_FILE=/run/secrets/slack`` gives `slack_token`."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Return the stripped content of the file that the variable names, else None."""
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text("utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(f"{variable}: cannot read {one_line(path)}: {reason}") from error

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in Settings.model_fields.items():
            text = self.get_field_value(field, name)[0]
            if text is None:
                continue
            try:  # JSON where a setting has several values, as in a variable
                found[name] = self.prepare_field_value(name, field, text, value_is_complex=False)
            except ValueError as error:
                source = f"the file that {PREFIX}{name.upper()}_FILE names"
                raise _no_json(name, source, error) from None
        return found


def _config_file() -> Path | None:
    path = Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
    return path if os.environ.get(CONFIG_VARIABLE) or path.is_file() else None


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force; texts are in their `language` from now on.

    `overrides` are settings by name; they win over everything else. Raises SettingsError, which
    names the setting, the value and what is allowed.
    """
    path = _config_file()
    try:
        if path is not None:
            tomllib.loads(path.read_text("utf-8"))
        settings = Settings(**overrides)
    except OSError as error:
        raise SettingsError(f"cannot read settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not valid TOML: {error}") from error
    except pydantic_settings.SettingsError as error:
        name = str(error).partition('"')[2].partition('"')[0]
        raise _no_json(name, f"{PREFIX}{name.upper()}", error.__cause__) from None
    except pydantic.ValidationError as error:
        raise SettingsError(_explain(error, path, overrides)) from None
    use(settings.language)
    return settings


def shipped_files(folder: str, pattern: str, *, own: bool = True) -> dict[str, Path]:
    """Return name without ending → file of `folder` that matches `pattern`, sorted by name.

    Files in the user's working directory come before those of the same name that dmarckit
    ships (in a wheel they are below the package, in a checkout beside it), unless not `own`.
    """
    package = Path(__file__).parent.parent
    inside = package / "_shipped" / folder
    shipped = inside if inside.is_dir() else package.parent / folder
    places = (shipped, Path(folder)) if own else (shipped,)
    found = {path.stem: path for at in places for path in at.glob(pattern)}
    return dict(sorted(found.items()))


def _no_json(name: str, source: str, error: BaseException | None) -> SettingsError:
    return SettingsError(f"setting {name}: {source} must hold JSON: {error}")


def _explain(error: pydantic.ValidationError, path: Path | None, given: Collection[str]) -> str:
    """Return the first problem in one line; a secret's value is never shown."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = [str(part) for part in problem["loc"]] or ["mail"]  # the one that spans several
    name = ".".join(where)
    variable = f"{PREFIX}{where[0].upper()}"
    from_environment = path is None or any(v.startswith(variable) for v in os.environ)
    source = f" (from the environment: {variable})" if from_environment else f" in {path}"
    source = "" if where[0] in given else source
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = did_you_mean(where[-1], _PARTS if len(where) > 1 else Settings.model_fields)
        listed = near or "; all are listed by: dmarckit help settings"
        return f"unknown setting {one_line(name)!r}{source}{listed}"
    field = Settings.model_fields.get(where[0])
    secret = "SecretStr" in str(field and field.annotation) or name == "smtp_url"
    shown = f": {one_line(repr(problem['input']), 80)}" if problem["loc"] and not secret else ""
    return f"setting {name}{shown}: {problem['msg'].removeprefix('Value error, ')}{source}"
