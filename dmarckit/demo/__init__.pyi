from .company import demo_mails as demo_mails, demo_settings as demo_settings
from .mails import GeneratedMail as GeneratedMail
from .outside import ask as ask
from .server import S3Server as S3Server, available as available, s3_server as s3_server
from .traffic import GeneratedReport as GeneratedReport
