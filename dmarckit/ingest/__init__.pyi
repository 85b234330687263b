from .arrivals import BatchResult as BatchResult, QueueIngest as QueueIngest
from .commit import (
    OUTCOMES as OUTCOMES,
    IngestResult as IngestResult,
    Progress as Progress,
    left_text as left_text,
)
from .distributed import check_cluster as check_cluster, cluster_of as cluster_of
from .ingest import Selection as Selection, ingest_mails as ingest_mails
from .queue import BATCH_SIZE as BATCH_SIZE, Queue as Queue, QueueMessage as QueueMessage
from .read import SETUP_NOTE as SETUP_NOTE, keep_pandas_out as keep_pandas_out
