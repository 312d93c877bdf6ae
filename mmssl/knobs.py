"""What a knob's value may be: the types that the sections of a recipe are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# What a table's whole numbers and a tensor's sizes can hold with room to spare.
MOST = 2**31 - 1


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


def number(value: Any) -> Any:
    if isinstance(value, (bool, str)):
        raise ValueError(f"a number is expected, not {value!r}")
    return value


Probability = Annotated[float, BeforeValidator(number), Field(ge=0, le=1)]
Weight = Annotated[float, BeforeValidator(number), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(number), Field(gt=0)]
Whole = Annotated[int, BeforeValidator(number), Field(ge=0, le=MOST)]
Count = Annotated[int, BeforeValidator(number), Field(ge=1, le=MOST)]
Names = tuple[Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)], ...]
