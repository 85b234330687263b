"""A Dask cluster that does the work: connecting, and tasks that outlive their workers.

Tasks may run twice, or half and then elsewhere, without a trace: what is kept is written by the
caller. Nothing of Dask is imported before a cluster is asked for.
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from importlib.util import find_spec
from itertools import islice
from typing import Any, ParamSpec, TypeVar

from dmarckit.core.errors import ClusterError, MissingExtra, one_line
from dmarckit.core.redact import secret_names
from dmarckit.core.settings import Settings

CONNECT = 20.0  # seconds for the scheduler to answer, and for a first worker to be there
POLL = 5.0  # seconds between two looks at whether there still are workers
PATIENCE = 120.0  # seconds without any worker after which nobody waits on
GATHER = 600.0  # seconds for one result to come over the network

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def without_secrets(settings: Settings) -> Settings:
    """Return the settings that workers get; they have credentials of their own."""
    return settings.model_copy(update=dict.fromkeys(secret_names()))


@contextlib.contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Yield the cluster of the scheduler at `address` (``tcp://host:8786``, ``tls://…``).

    Dask's own configuration applies, such as the certificates for ``tls://``. Raises MissingExtra
    without dask and distributed, ClusterError when no scheduler answers, or it has no worker.
    """
    if find_spec("distributed") is None:
        raise MissingExtra(
            f"a Dask cluster is asked for (dask = {one_line(address)}), but the library is not "
            'installed; install it with: pip install "dmarckit[dask]"'
        )
    for name in ("distributed", "distributed.client"):  # errors say it in one line instead
        logging.getLogger(name).setLevel(logging.CRITICAL)
    where = f"dask {one_line(address)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions are checked, with an error
            client = _dask().Client(address, timeout=CONNECT, set_as_default=False, name="dmarckit")
    except Exception as error:  # OSError, and whatever a wrong address or certificate raises
        why = one_line(error) or type(error).__name__
        raise ClusterError(f"{where}: no scheduler answers there; check it ({why})") from error
    try:
        try:
            client.wait_for_workers(1, timeout=CONNECT)
        except Exception as error:
            raise ClusterError(
                f"{where}: the scheduler has no workers; start some: dask worker {address}"
            ) from error
        yield Cluster(client, where)
    finally:
        with contextlib.suppress(Exception):  # a scheduler that is gone has nothing to give up
            client.close(timeout=POLL)


def _dask() -> Any:
    import distributed

    return distributed


class Cluster(Executor):
    """An executor on the workers of a Dask cluster.

    Results stay on the workers until they are asked for, so that this process holds one at a
    time. Tasks of a lost worker run again elsewhere. A task that ended several workers is a
    BrokenExecutor. A lost scheduler, or no worker for two minutes, is a ClusterError.
    """

    def __init__(self, client: Any, where: str) -> None:
        self.client = client
        self.where = where  # how errors name it
        self.threads = max(sum(client.nthreads().values()), 1)  # tasks that it does at once

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have the workers call the function; the result can be asked for once or more."""
        return _Remote(self, self._submitted(fn, *args, **kwargs))

    def each(
        self, function: Callable[[T], R], tasks: Iterable[T]
    ) -> Iterator[tuple[T, R | Exception]]:
        """Yield each task with its result, or with what it raised, in the order they are done."""
        source = iter(tasks)
        running: dict[Any, T] = {}
        while True:
            for task in islice(source, 2 * self.threads - len(running)):
                running[self._submitted(function, task)] = task
            if not running:
                return
            self._wait(list(running))
            for future in [future for future in running if future.done()]:
                task = running.pop(future)
                try:
                    yield task, self.outcome(future)
                except ClusterError:
                    raise
                except Exception as error:
                    yield task, error

    def outcome(self, future: Any) -> Any:
        """Return the result of a Dask future, fetched now; raises what its task raised."""
        killed = _dask().scheduler.KilledWorker
        while True:
            self._wait([future])
            try:
                return future.result(timeout=GATHER)
            except killed as error:
                ended = error.allowed_failures + 1
                raise BrokenExecutor(f"workers that it ended: {ended}") from None
            except CancelledError as error:
                raise self.lost(error) from None
            except Exception as error:
                if future.status == "error":
                    raise
                if not isinstance(error, TimeoutError):
                    raise self.lost(error) from error

    def lost(self, error: BaseException) -> ClusterError:
        """Return the error that says that there is no scheduler any more."""
        why = getattr(error, "reason", None) or one_line(error) or type(error).__name__
        return ClusterError(
            f"{self.where}: the scheduler was lost ({why}); what was stored stays: run it again, "
            "and it goes on from there"
        )

    def _wait(self, futures: list[Any]) -> None:
        """Wait until one is done. Raises ClusterError when the cluster, or all of it, is lost."""
        alone: float | None = None  # since when there is no worker
        while True:
            try:
                with self.client.as_current():
                    _dask().wait(futures, timeout=POLL, return_when="FIRST_COMPLETED")
                return
            except CancelledError as error:
                raise self.lost(error) from None
            except TimeoutError:
                alone = (alone or time.monotonic()) if self._has_no_workers() else None
            if alone and time.monotonic() - alone >= PATIENCE:
                raise ClusterError(
                    f"{self.where}: no worker is left; what was stored stays: start workers, "
                    "run it again, and it goes on from there"
                )

    def _has_no_workers(self) -> bool:
        try:
            return not self.client.nthreads()
        except Exception as error:
            raise self.lost(error) from error

    def _submitted(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return self.client.submit(function, *args, pure=False, **kwargs)
        except Exception as error:  # a closed client raises several kinds
            raise self.lost(error) from error


class _Remote(Future[Any]):
    """A result that stays on its worker until it is asked for."""

    def __init__(self, cluster: Cluster, future: Any) -> None:
        super().__init__()
        self._cluster, self._future = cluster, future

    def done(self) -> bool:
        return bool(self._future.done())

    def result(self, timeout: float | None = None) -> Any:
        return self._cluster.outcome(self._future)  # as long as there are workers
