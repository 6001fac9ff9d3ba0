"""An Orthanc of a test's own."""

from orthancs import orthanc, start_orthanc  # noqa: F401  (fixtures)
