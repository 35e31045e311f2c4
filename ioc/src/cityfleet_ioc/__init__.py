"""Questions to a cityfleet store, by name: `City(url, user, password).ask("ward_rain_now", ward="00025").rows()`."""

from cityfleet_ioc.answer import Answer
from cityfleet_ioc.city import City, Step
from cityfleet_ioc.errors import (
    AccessError,
    BadQuestionError,
    CityError,
    LimitError,
    StaleAnswerError,
    UnavailableError,
    UnknownQuestionError,
)

__all__ = [
    "AccessError",
    "Answer",
    "BadQuestionError",
    "City",
    "CityError",
    "LimitError",
    "StaleAnswerError",
    "Step",
    "UnavailableError",
    "UnknownQuestionError",
]
