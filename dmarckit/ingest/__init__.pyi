from .arrivals import Batch as Batch, Taker as Taker
from .commit import OUTCOMES as OUTCOMES, IngestResult as IngestResult, Progress as Progress
from .distributed import check as check, cluster_of as cluster_of
from .ingest import ingest_mails as ingest_mails
from .queue import FULL as FULL, Queue as Queue
