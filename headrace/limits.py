"""Names, sizes and retries: each bound once, for everything that takes tasks in or runs them."""

from __future__ import annotations

# Names, as regular expressions that the whole name matches

NAMESPACE = r"[A-Za-z0-9_.-]{1,64}"
"""An installation's namespace: a part of every key."""

RESERVED_TASK_TYPES = ("bulk", "counts", "wait", "live", "events")
"""No task type has such a name: they stand in the API's addresses where a type's name could."""
TASK_TYPE_NAME = rf"(?!(?:{'|'.join(RESERVED_TASK_TYPES)})\Z)[a-z][a-z0-9_.-]{{0,63}}"
"""A task type's name: it stands in URLs, key names, metrics and the comma list of `QUEUES`."""
TASK_TYPE_NAME_RULE = (
    "up to 64 of a-z, 0-9, '_', '.' and '-', and a letter first; "
    f"{', '.join(RESERVED_TASK_TYPES)} are reserved"
)

TASK_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
"""A task's id: a UUID as it is usually written, in small letters."""
RANDOM_TASK_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
"""An id that a caller may choose: of version 4, so that it is that of no idempotency key."""

HEADER_NAME = r"[a-z][a-z0-9-]{0,63}"
HEADER_NAME_RULE = "up to 64 of a-z, 0-9 and '-', and a letter first"
OWN_HEADER_PREFIX = "headrace-"
"""The API's own headers begin so; it takes none of them from its callers."""

TAG = r"[\w.:/=@+-]{1,64}"
TAG_RULE = "1 to 64 letters, digits and ._:/=@+-"

# Retries

DEFAULT_MAX_RETRIES = 3
MAX_RETRIES_LIMIT = 100
"""The highest `max_retries`."""
MAX_CRASHES = 3
"""A task whose worker crashed more often than this is failed: it is taken for the cause."""

# Sizes

DEFAULT_MAX_PAYLOAD_BYTES = 1_048_576
"""The largest payload, and the largest result, unless MAX_PAYLOAD_BYTES says otherwise."""
MAX_STATE_BYTES = 16 * 1_048_576
"""The largest state that a park or a checkpoint keeps."""
MAX_JOURNAL_BYTES = 16 * 1_048_576
"""So much is appended to a task's journal at most, until its state is written again."""
MAX_JOURNAL_ENTRIES = 10_000
"""The same in entries."""
MAX_INBOX_ITEMS = 100
"""How many items a task's inbox holds."""
MAX_CHILDREN = 1000
"""How many children a task may have that have not ended. The ends of children come into its inbox
beside the items that are counted above."""
DEFAULT_MAX_DEPTH = 16
"""How deep children may have children, unless QUEUE_MAX_DEPTH says otherwise."""
MAX_INBOX_ITEM_BYTES = 65_536
"""The largest item in a task's inbox."""
MAX_RAISED_CHARACTERS = 2_000
"""What is said of an error that a handler raised is cut behind so many."""
MAX_PROBLEM_BYTES = 16_384
"""A larger JSON document of an error is not kept."""
MAX_ERROR_CHARACTERS = 10_000
"""A record keeps so much of an error's text, whoever wrote it."""
MAX_PROGRESS_MESSAGE = 200
"""A longer progress message is cut, in characters."""

MAX_ERROR_TYPE_CHARACTERS = 200
"""The name of an error's class is cut behind so many."""
MAX_TRACEBACK_BYTES = 8_192
"""Of a longer traceback the beginning and the end are kept."""
MAX_ATTEMPTS = 20
"""So many attempts of a task are kept, the newest."""
MAX_OPTIONS_BYTES = 4_096
"""The headers and tags of a task have so many bytes at most, packed."""

# Batches

MAX_BATCH = 1000
"""A script handles so many tasks at once, so that others do not wait long for it."""
ENOUGH_BYTES = 4 * 1_048_576
"""A call carries so many bytes and the task that goes beyond: more may outlast the time-out."""
