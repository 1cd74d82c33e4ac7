"""Jobs: work that one worker asks of another, as a block that cancels the work when it is left."""

from ._group import JobGroup
from ._handlers import job, job_handlers_of
from ._job import Job
from ._open import open_job, open_job_group
from ._request import JobRequest
from ._server import JobServer
from ._statistics import JobServerStatistics
from ._stream_in import JobStream
from ._stream_out import JobOut

__all__ = [
    "Job",
    "JobGroup",
    "JobOut",
    "JobRequest",
    "JobServer",
    "JobServerStatistics",
    "JobStream",
    "job",
    "job_handlers_of",
    "open_job",
    "open_job_group",
]
