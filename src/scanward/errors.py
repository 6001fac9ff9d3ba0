"""Everything that Scanward raises on purpose.

ScanwardError                 one sentence that names the file and the mend
├── InputError                the user's file or argument cannot be used
│   ├── UnreadableError       not a file we can read: truncated, no permission, unknown format
│   ├── UnsupportedError      readable, but not something Scanward works on (RGB photograph, CT today)
│   │   └── UnjudgedError     no method that was asked looks at such an image (a CT without lungs)
│   └── ArgumentError         an option's or argument's value is of another kind, out of its range or names nothing
├── WeightsError              weights missing, or their hash differs from the manifest's
├── MissingExtraError         an optional dependency is not installed
├── FullError                 the inbox has no room for another object (inbox/folders.py)
├── Refused                   a receiver will never take it (delivery/spool.py)
│   ├── NotFound              404 or 410 (delivery/webclient.py, as those below)
│   ├── Unauthorised          401 or 403
│   └── Declined              another 4xx
├── Unreachable               a receiver could not take it now (delivery/spool.py)
│   └── Faulty                500 (delivery/webclient.py)
├── NotSignedInError          a page needs somebody who is signed in (review/door.py)
└── RequestError              a reader's request that no page answers (readerstudy/app.py)

Those with a file's name are defined there.
"""


class ScanwardError(Exception):
    """Base of the tree. The message is a whole sentence for the user; the CLI prints it and exits with 2."""


class InputError(ScanwardError):
    """The user's file or argument cannot be used."""


class UnreadableError(InputError):
    """The file is truncated, forbidden, or of no known format."""


class UnsupportedError(InputError):
    """The file was read, but Scanward has no method for what it holds."""


class UnjudgedError(UnsupportedError):
    """Nobody who was asked looks at what the image shows."""


class ArgumentError(InputError):
    """The value of an option or an argument is of another kind, is out of its range, or names nothing."""


class WeightsError(ScanwardError):
    """Weights are missing, or differ from what the manifest promises."""


class MissingExtraError(ScanwardError):
    """An optional dependency is not installed."""
