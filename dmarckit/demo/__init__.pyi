from .company import demo_mails as demo_mails, demo_settings as demo_settings
from .mails import GeneratedMail as GeneratedMail
from .outside import fill_outside_tables as fill_outside_tables
from .server import (
    S3Server as S3Server,
    available as available,
    s3_server as s3_server,
    terminate_as_exit as terminate_as_exit,
)
from .traffic import GeneratedReport as GeneratedReport
