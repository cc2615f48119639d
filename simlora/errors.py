"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in the input, told in one sentence; the command line exits with code 2.

    The sentence names the file, the line and the field where they are known, what was given and
    what is allowed.
    """
