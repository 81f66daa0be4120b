"""The one exception that stands for a mistake the user can mend."""


class UserError(Exception):
    """One clear sentence: what is wrong and what to do about it.

    `ivg.main` prints it as `error: ...` and exits with code 2; nothing else in `ivg` catches it.
    """
