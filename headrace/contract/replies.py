"""The base of all replies."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

TASK_ID = "550e8400-e29b-41d4-a716-446655440000"
"""The task id of the guide's examples."""


class Reply(BaseModel):
    """What all replies share: docstrings of fields become their descriptions.

    A client keeps the fields that only a newer server knows, as attributes and in `model_dump()`.
    """

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, frozen=True)


LiveWorkerCount = Annotated[
    int | None,
    Field(
        description="How many live workers serve its queue, as of a second ago, without those "
        "that drain. 0: it waits until a worker starts. Null: Redis is away."
    ),
]
