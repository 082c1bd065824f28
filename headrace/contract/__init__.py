"""The HTTP replies and the kinds of errors, once: the API serves them, a client reads them.

Each kind of error has a name in `headrace.contract.problems`.
"""

from headrace.contract.bulk import (
    BulkDetail,
    BulkDryRun,
    BulkFailureReply,
    BulkPage,
    BulkReply,
)
from headrace.contract.health import (
    HealthReply,
    ReadyReply,
)
from headrace.contract.problems import (
    ErrorItem,
    ProblemReply,
    ProblemType,
)
from headrace.contract.replies import (
    TASK_ID,
    Reply,
)
from headrace.contract.stats import (
    DrainReply,
    HistoryReply,
    MinuteReply,
    QueueReply,
    RunningReply,
    StatsDisabled,
    StatsReply,
    StatsUnavailable,
    WorkerReply,
    WorkersReply,
)
from headrace.contract.tasks import (
    AttemptReply,
    BatchSubmitted,
    CancelReply,
    InlineReply,
    Progress,
    RetryReply,
    TaskDetail,
    TaskPage,
    TaskReply,
    TaskSubmitted,
    TaskTypeReply,
    TaskTypesReply,
    WaitReply,
    is_task_id,
)
from headrace.contract.workflows import (
    BrokenDefinition,
    WorkflowDetail,
    WorkflowExecuted,
    WorkflowsReply,
    WorkflowSubmitted,
    WorkflowSummary,
)

__all__ = [
    "TASK_ID",
    "AttemptReply",
    "BatchSubmitted",
    "BrokenDefinition",
    "BulkDetail",
    "BulkDryRun",
    "BulkFailureReply",
    "BulkPage",
    "BulkReply",
    "CancelReply",
    "DrainReply",
    "ErrorItem",
    "HealthReply",
    "HistoryReply",
    "InlineReply",
    "MinuteReply",
    "ProblemReply",
    "ProblemType",
    "Progress",
    "QueueReply",
    "ReadyReply",
    "Reply",
    "RetryReply",
    "RunningReply",
    "StatsDisabled",
    "StatsReply",
    "StatsUnavailable",
    "TaskDetail",
    "TaskPage",
    "TaskReply",
    "TaskSubmitted",
    "TaskTypeReply",
    "TaskTypesReply",
    "WaitReply",
    "WorkerReply",
    "WorkersReply",
    "WorkflowDetail",
    "WorkflowExecuted",
    "WorkflowSubmitted",
    "WorkflowSummary",
    "WorkflowsReply",
    "is_task_id",
]
