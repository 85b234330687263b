from .aws import (
    aws_client as aws_client,
    aws_errors as aws_errors,
    aws_reason as aws_reason,
    aws_session as aws_session,
    code_hint as code_hint,
    error_code as error_code,
)
from .cluster import Cluster as Cluster, connected as connected, without_secrets as without_secrets
from .errors import (
    AwsError as AwsError,
    ClusterError as ClusterError,
    DmarckitError as DmarckitError,
    EncryptedObject as EncryptedObject,
    JobBusy as JobBusy,
    JobTimeout as JobTimeout,
    LakeError as LakeError,
    LeaseLost as LeaseLost,
    LimitExceeded as LimitExceeded,
    MessageRefused as MessageRefused,
    MissingExtra as MissingExtra,
    MissingObject as MissingObject,
    NotAReport as NotAReport,
    NotebookFailed as NotebookFailed,
    PageError as PageError,
    PostmasterAccess as PostmasterAccess,
    PostmasterError as PostmasterError,
    QueueError as QueueError,
    RefusedObject as RefusedObject,
    SentNotRecorded as SentNotRecorded,
    SettingsError as SettingsError,
    SlackError as SlackError,
    SlackUnavailable as SlackUnavailable,
    StorageError as StorageError,
    UnreadableReport as UnreadableReport,
    one_line as one_line,
)
from .language import (
    DOMAIN as DOMAIN,
    FOLDER as FOLDER,
    _ as _,
    current_language as current_language,
    later as later,
    ngettext as ngettext,
    speaking as speaking,
    use as use,
)
from .lease import (
    Lease as Lease,
    heartbeat as heartbeat,
    new_holder as new_holder,
    repeated as repeated,
    take_lease as take_lease,
)
from .logs import (
    clean as clean,
    log_failure as log_failure,
    log_step as log_step,
    new_run as new_run,
    run_info as run_info,
    start_command as start_command,
)
from .redact import (
    redacted as redacted,
    secret_names as secret_names,
    secrets_in as secrets_in,
    secrets_of as secrets_of,
    withheld_variables as withheld_variables,
)
from .retry import PAUSES as PAUSES, with_retries as with_retries
from .settings import (
    CONFIG_VARIABLE as CONFIG_VARIABLE,
    DEFAULT_FILE as DEFAULT_FILE,
    KINDS as KINDS,
    PREFIX as PREFIX,
    DeclaredSender as DeclaredSender,
    DomainGroup as DomainGroup,
    Mute as Mute,
    Settings as Settings,
    Strict as Strict,
    load_settings as load_settings,
    shipped_files as shipped_files,
)
from .storage import (
    ARCHIVED as ARCHIVED,
    POOL as POOL,
    FolderStorage as FolderStorage,
    S3Storage as S3Storage,
    Storage as Storage,
    StoredObject as StoredObject,
    open_storage as open_storage,
)
from .text import (
    NotARate as NotARate,
    Rate as Rate,
    change as change,
    count as count,
    day as day,
    is_missing as is_missing,
    minute as minute,
    n_days as n_days,
    n_messages as n_messages,
    n_reports as n_reports,
    normalize_domain as normalize_domain,
    percent as percent,
    period as period,
    plural as plural,
    points as points,
    rate_text as rate_text,
    show_domain as show_domain,
    unknown_name as unknown_name,
)
from .thresholds import Limits as Limits, Thresholds as Thresholds
from .window import Window as Window, last_days as last_days
