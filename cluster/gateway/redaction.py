"""Takes credentials out of text before anyone sees it."""

import re
from typing import Final

# Greedy up to the last @ before a blank: a password may itself hold @, : or /. It may hide too much, never too little.
_USER_INFO: Final = re.compile(r"(?<=://)\S*@")
_QUERY: Final = re.compile(
    r"(?i)(?<=[?&;])(user(?:name)?|usr|login|pass(?:word|wd)?|pwd|psw|token|key|auth|secret)=[^&\s'\"]*"
)


def redact(text: str) -> str:
    """Replace user:password@ and query parameters such as password= by ***."""
    return _QUERY.sub(r"\1=***", _USER_INFO.sub("***@", text))
