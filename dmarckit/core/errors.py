"""The errors that dmarckit raises; every one of them is a `DmarckitError`.

A message names the thing, the value that was found and what to do about it. It is a
single line: what comes from a mail is passed through `one_line` first.
"""

from __future__ import annotations


class DmarckitError(Exception):
    """Anything that dmarckit reports to its user in one line instead of a traceback."""


class SettingsError(DmarckitError):
    """A setting is missing, unknown or has a wrong value."""


class StorageError(DmarckitError):
    """A bucket, folder or object cannot be read or written."""


class MissingObject(StorageError):
    """The object is not there (or no longer)."""


class RefusedObject(StorageError):
    """The storage refuses this one object: it is archived, forbidden, or its key is.

    Args:
        what: what failed, such as ``cannot read s3://bucket/key``.
        reason: why, and what to do about it.
        code: the storage's own code; the same for the same cause.
    """

    def __init__(self, what: str, reason: str, code: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.reason = reason
        self.code = code


class EncryptedObject(StorageError):
    """The object was encrypted before it was stored, and only its writer's key opens it."""


class LakeError(DmarckitError):
    """A table of the lake cannot be read or written."""


class UnreadableReport(DmarckitError):
    """Bytes that should hold a report, but cannot be read."""


class NotAReport(UnreadableReport):
    """The bytes hold something other than a report."""


class LimitExceeded(UnreadableReport):
    """Reading on would take more memory, disk or time than the limits allow."""


class MailLimitExceeded(DmarckitError):
    """A mail as a whole takes more than the limits allow; nothing that was read of it counts."""


class PageError(DmarckitError):
    """A notebook failed, or its page could not be made."""


class NotebookFailed(PageError):
    """A cell raised or hung, or the kernel died."""

    def __init__(self, reason: str, kept: str) -> None:
        super().__init__(f"{reason} (kept: {kept})")
        self.reason = reason  # what happened, in one line
        self.kept = kept  # where the executed notebook with its traceback is


class DeliveryError(DmarckitError):
    """A channel (Slack, mail, a webhook) refused a message, or could not be reached."""


class MessageRefused(DeliveryError):
    """The channel takes no such message (its form, its size); others may pass."""


class ChannelUnavailable(DeliveryError):
    """The channel is down, busy or out of reach: the same message may pass later."""


class SentNotRecorded(DeliveryError):
    """A message went out, and the lake could not record that: nothing more may go out now."""


class QueueError(DmarckitError):
    """The queue of arrivals (SQS) cannot be read."""


class PostmasterError(DmarckitError):
    """Google Postmaster Tools refused something of one domain; others may go on."""


class PostmasterAccess(PostmasterError):
    """Google Postmaster Tools refused everything, or could not be reached."""


class ClusterError(DmarckitError):
    """The Dask cluster cannot be used (as it is), or was lost in the middle of the work."""


class AwsError(DmarckitError):
    """AWS refused a change of the stack, or the change came out otherwise."""


class JobBusy(DmarckitError):
    """The job runs already, here or on another machine."""


class LeaseLost(DmarckitError):
    """Another machine has taken over the job that runs here."""


class JobTimeout(DmarckitError):
    """A run took longer than its schedule allows."""


class MissingExtra(DmarckitError):
    """An optional library is not installed."""


def one_line(text: object, limit: int = 200) -> str:
    r"""Return outside text made fit for a log line, a terminal and an error message.

    Control characters, line breaks, terminal escapes and bidirectional overrides are
    shown as ``\xNN`` or ``\uNNNN``; what is longer than `limit` is cut with an ellipsis.

    >>> one_line("a\nb\x1b[31m")
    'a\\x0ab\\x1b[31m'
    """
    shown = str(text)
    clean = shown[:limit]
    if not clean.isprintable():
        clean = "".join(c if c.isprintable() else _escaped(c) for c in clean)
    return clean + "…" if len(shown) > limit else clean


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
