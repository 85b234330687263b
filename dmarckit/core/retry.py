"""A step that the storage, the lake or a cluster failed is done again after a pause."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from dmarckit.core.errors import ClusterError, LakeError, MissingObject, StorageError

Result = TypeVar("Result")
PAUSES = (2.0, 5.0, 15.0, 30.0)  # seconds, after those of the AWS SDK's own tries

log = logging.getLogger("dmarckit")


def again(
    action: Callable[[], Result],
    pauses: Sequence[float],
    sleep: Callable[[float], None],
    before: Callable[[], None] = lambda: None,
) -> Result:
    """The action's result, which must be safe to do twice; its error after the last pause.

    `before` is called before each further time. Other errors than those of such places
    do not pass by waiting, and are raised at once.
    """
    for pause in pauses:
        try:
            return action()
        except MissingObject:
            raise
        except (StorageError, LakeError, ClusterError) as error:
            log.warning("trying again in %g s: %s", pause, error)
            sleep(pause)
            before()
    return action()
