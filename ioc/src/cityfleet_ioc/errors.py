"""What can go wrong, by what to do next."""

from datetime import datetime


class CityError(Exception):
    """Everything raised on purpose. `code`: ClickHouse's number of the error, 0 if it has none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class UnavailableError(CityError):
    """The store does not answer, or not in time: ask again later."""


class AccessError(CityError):
    """The user or password is wrong, or the account may not ask this: a person must see to it."""


class LimitError(CityError):
    """The account's limit is reached: ask for less, or later."""


class UnknownQuestionError(CityError):
    """No view has this name: `City.questions()` tells which there are."""


class BadQuestionError(CityError):
    """The question is wrong as it is asked: a column or parameter that it does not have, a value of the wrong type."""


class StaleAnswerError(CityError):
    """The answer rests on readings that are too old. `as_of`: the newest; None if there is none at all."""

    def __init__(self, question: str, as_of: datetime | None, max_age_s: float) -> None:
        said = f"its newest reading is of {as_of.isoformat()}" if as_of else "there are no readings"
        super().__init__(f"{question}: {said}, wanted none older than {max_age_s:g} s")
        self.question = question
        self.as_of = as_of
        self.max_age_s = max_age_s


# ClickHouse's numbers of errors.
_BY_CODE: dict[int, type[CityError]] = {
    60: UnknownQuestionError,  # UNKNOWN_TABLE
    46: UnknownQuestionError,  # UNKNOWN_FUNCTION: a name that takes no parameters and was given some
    81: UnknownQuestionError,  # UNKNOWN_DATABASE
    164: AccessError,  # READONLY
    192: AccessError,  # UNKNOWN_USER
    193: AccessError,  # WRONG_PASSWORD
    194: AccessError,  # REQUIRED_PASSWORD
    497: AccessError,  # ACCESS_DENIED
    516: AccessError,  # AUTHENTICATION_FAILED
    158: LimitError,  # TOO_MANY_ROWS
    159: LimitError,  # TIMEOUT_EXCEEDED
    160: LimitError,  # TOO_SLOW
    201: LimitError,  # QUOTA_EXCEEDED
    202: LimitError,  # TOO_MANY_SIMULTANEOUS_QUERIES
    241: LimitError,  # MEMORY_LIMIT_EXCEEDED
    307: LimitError,  # TOO_MANY_BYTES
    396: LimitError,  # TOO_MANY_ROWS_OR_BYTES
    209: UnavailableError,  # SOCKET_TIMEOUT
    210: UnavailableError,  # NETWORK_ERROR
}


def error_of(text: str, code: int) -> CityError:
    """The error that ClickHouse's number tells; 0: the store did not say one."""
    return _BY_CODE.get(code, BadQuestionError if code else UnavailableError)(text.strip(), code)
