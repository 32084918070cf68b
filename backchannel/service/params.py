"""The parameters of a query, validated: what a query does not know is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from backchannel.protocol.catalog import bad_message


class Params(BaseModel):
    """What a query may say. Fields it does not know are an error, so that a slip of the pen shows."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)


P = TypeVar("P", bound=Params)


def understood(kind: type[P], params: Mapping[str, Any]) -> P:
    """
    Raises:
        BadMessage: a parameter is missing, wrong or unknown.
    """
    try:
        return kind.model_validate(params)
    except ValidationError as error:
        raise bad_message(error) from None
