"""What can go wrong, told apart by what the asker can do about it.

Raised deep, translated at the surface: `web/errors.py` to a status, `actors/phrases.py` to a sentence for a merchant. A text is
one short English sentence that a client may read; what only an operator may read goes to the log. Knows nothing of HTTP.
"""


class EllaraError(Exception):
    """Every error of ours. `message` may be shown to a client."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refused(EllaraError):
    """The asker must change something: trying the same again gives the same."""


class Invalid(Refused):
    """A field, parameter or payload breaks a rule; the text names it and the rule."""


class NotFound(Refused):
    """No such row, or not the asker's: the two answer alike."""


class UnknownRoute(NotFound):
    """No such path."""


class Conflict(Refused):
    """It contradicts what is stored."""


class TooLarge(Refused):
    """More bytes than the limit; the text gives the limit."""


class WrongMediaType(Refused):
    """A body in another format than JSON."""


class TokenMissing(Refused):
    """No bearer token was sent."""


class TokenRejected(Refused):
    """A bearer token was sent and is not valid, or no longer."""


class TokenExpired(TokenRejected):
    """It was valid once, for this user."""

    def __init__(self, user_id: str) -> None:
        super().__init__("Token expired")
        self.user_id = user_id


class Reverted(Refused):
    """The contract refuses; the text is its decoded reason."""


class Unavailable(EllaraError):
    """Nothing is wrong with the question: try again after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """A bounded queue is full."""


class TimedOut(Unavailable):
    """The outside did not answer within its deadline."""


class Stopping(Unavailable):
    """The daemon is shutting down."""


class Crashed(Unavailable):
    """The actor that held the request crashed; what it had committed stands."""


class AssistantFailed(Unavailable):
    """OpenAI gave no whole answer. `kind` is a name of llm/faults.py, for the log, the metrics and phrases.py."""

    def __init__(self, kind: str, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.kind = kind


class ChainUnavailable(Unavailable):
    """The RPC cannot be reached, or says nothing that can be believed."""


class ProtocolError(EllaraError):
    """A peer's bytes break Engine.IO, Socket.IO or the bounds of JSON; ends at most the connection they came on."""


class BadSettings(EllaraError):
    """The configuration is refused. `faults`: all of them, each naming file or variable, key and what was expected."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class CannotStart(EllaraError):
    """Start-up is refused (a foreign database, a second daemon on one state folder, a port in use); it says what to do."""


class GaveUp(EllaraError):
    """An actor crashed more often than its restart limit allows: the process must end."""
