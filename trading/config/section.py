"""The base of every section of the configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Section"]


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors."""

    # Validators are built when first used: actors get a configuration that is already valid, and spare 4 MB each.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        # YAML reads yes, no, on and off as truth values, which would pass as 1 and 0.
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, bool) and key in cls.model_fields and cls.model_fields[key].annotation is not bool:
                raise ValueError(f"{key} is a truth value (YAML reads yes, no, on and off so): write a number or text")
        return data
