"""A count with its noun, as a sentence needs it."""


def counted(number: int, what: str) -> str:
    """
    >>> counted(1, "query head"), counted(0, "token"), counted(8192, "byte")
    ('1 query head', '0 tokens', '8,192 bytes')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
